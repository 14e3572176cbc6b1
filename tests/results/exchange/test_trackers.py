import json
import sys

import pytest

from dadnet.base.errors import DadnetError
from results.__main__ import main
from results.exchange.trackers import TensorBoard, feed, finished_folds

TABLE = {"a/1": ["n>n", "p>p"], "..": ["s>s", "n>p"], "c": ["p>p", "s>n"]}


def told(*folds: str) -> str:
    at = "2026-01-01T00:00:00+00:00"
    events = ({"at": at, "event": "finished", "fold": fold} for fold in folds)
    return "".join(json.dumps(event) + "\n" for event in events)


def test_folds_come_in_the_order_of_their_events_and_once(ledger, fill, make_record):
    experiment = fill(TABLE, without=["a/1"])
    ledger.events_path(experiment).write_text(told("c") + '{"event": "fin')
    seen: set[str] = set()
    assert [r.fold for r in finished_folds(ledger, experiment, seen)] == ["c", ".."]
    assert list(finished_folds(ledger, experiment, seen)) == []
    ledger.put(experiment, make_record(experiment, "a/1", TABLE["a/1"]))
    assert [r.fold for r in finished_folds(ledger, experiment, seen)] == ["a/1"]


class Noting:
    def __init__(self) -> None:
        self.said: list[str] = []

    def fold(self, record) -> None:
        self.said.append(record.fold)

    def figures(self, summary) -> None:
        self.said.append(f"{summary.accuracy.value:.3f}")

    def close(self) -> None:
        pass


def test_the_figures_come_with_the_last_fold(ledger, fill, make_record):
    experiment = fill(TABLE, without=["c"])
    noting, seen = Noting(), set()
    assert not feed(ledger, experiment, [noting], seen)
    ledger.put(experiment, make_record(experiment, "c", TABLE["c"]))
    assert feed(ledger, experiment, [noting], seen)
    assert feed(ledger, experiment, [noting], seen)
    assert noting.said == ["a/1", "..", "c", "0.667"]


def test_tensorboard_files_hold_the_curves(ledger, fill, tmp_path, capsys):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    experiment = fill(TABLE)
    out = tmp_path / "tb"
    words = ["track", experiment.digest, "--ledger", str(ledger.root), "--tensorboard", str(out)]
    assert main(words) == 0
    assert "3 of 3 folds" in capsys.readouterr().out
    files = sorted(path for path in out.rglob("*") if path.is_file())
    assert len(files) == 4
    assert all(out.resolve() in path.resolve().parents for path in files)
    (file,) = (out / "synthetic" / experiment.digest / "c").iterdir()
    data, place, values = file.read_bytes(), 0, {}
    while place < len(data):  # length, its checksum, event, its checksum
        size = int.from_bytes(data[place : place + 8], "little")
        event = Event.FromString(data[place + 12 : place + 12 + size])
        place += 16 + size
        for value in event.summary.value:
            values[value.tag, event.step] = value.simple_value
    assert values == {("train_loss", 1): 1.25, ("train_loss", 2): 0.5, ("val_uf1", 1): 0.25}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of mlflow's own libraries
def test_mlflow_shows_config_folds_and_figures(ledger, fill, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    experiment = fill(TABLE)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert main(["track", experiment.digest, "--ledger", str(ledger.root), "--mlflow", uri]) == 0
    client = mlflow.MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name("synthetic").experiment_id
    (run,) = client.search_runs([place])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.size"] == "micro"
    assert run.data.metrics["accuracy"] == pytest.approx(4 / 6)
    steps = client.get_metric_history(run.info.run_id, "fold_test_right")
    assert [(item.step, item.value) for item in steps] == [(0, 2), (1, 1), (2, 1)]


def test_a_missing_package_is_one_line(ledger, fill, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(DadnetError, match=r"pip install 'dadnet-loso\[track\]'"):
        TensorBoard(tmp_path, fill(TABLE))
