"""The live table of a notebook, in a shell of IPython whose displays are captured."""

from types import SimpleNamespace

import pytest
from IPython.core.interactiveshell import InteractiveShell
from rich.console import Console
from rich.text import Text

from orchestration.reporting.notebook import NotebookLive, in_notebook
from orchestration.reporting.progress import Progress


@pytest.fixture
def shown(monkeypatch):
    """What is published, in order: (whether it replaces something, HTML)."""
    published = []

    def publish(data, metadata=None, *, update=False, **_):
        published.append((update, data["text/html"]))

    shell = InteractiveShell.instance()
    shell.kernel = SimpleNamespace()
    monkeypatch.setattr(shell.display_pub, "publish", publish)
    yield published
    InteractiveShell.clear_instance()


def test_one_display_is_replaced_and_left_empty(shown):
    times = iter([0.0, 0.0, 0.2, 0.6, 0.6])
    live = NotebookLive(clock=lambda: next(times))
    live.start()
    live.update(Text("first"), refresh=True)
    live.update(Text("too soon"), refresh=True)
    live.update(Text("second"), refresh=True)
    live.stop()
    assert [update for update, _ in shown] == [False, True, True, True]
    assert "first" in shown[1][1]
    assert "second" in shown[2][1]
    assert shown[3][1] == ""


def test_in_a_notebook_the_progress_is_a_table_and_no_line_per_fold(shown, tmp_path, capsys):
    assert in_notebook()
    counts = {"done": 1, "running": 1, "waiting": 0, "failed": 0}
    row = {"name": "casme2/sub02", "info": {"epoch": 3}, "worker": "driver", "tries": 1}
    event = {"event": "finished", "fold": "casme2/sub01", "info": {}}
    console = Console(force_jupyter=False)
    with Progress(tmp_path / "events.jsonl", 6, "DAD-Net", console) as progress:
        progress.show({"events": [event], "counts": counts, "running": [row]})
    assert "1 of 2 folds done" in shown[1][1]
    assert "casme2/sub02" in shown[1][1]
    assert capsys.readouterr().out == ""


def test_where_nothing_is_wanted_nothing_is_shown(shown, tmp_path):
    with Progress(tmp_path / "events.jsonl", 6, "DAD-Net", Console(quiet=True)) as progress:
        progress.show({"events": [], "counts": {"done": 0, "failed": 0}, "running": []})
    assert shown == []


def test_a_script_is_no_notebook():
    assert not in_notebook()
