import json
import os

import pytest

from results.ledger.events import EventReader, read_events
from results.ledger.ledger import LedgerWarning

TABLE = {"a": ["n>n"], "b": ["p>p"]}


def line(fold: str) -> str:
    return json.dumps({"at": "2026-01-01T00:00:00+00:00", "event": "finished", "fold": fold}) + "\n"


def test_events_may_end_half_written_and_no_more(ledger, fill):
    experiment = fill(TABLE)
    path = ledger.events_path(experiment)
    assert read_events(ledger, experiment) == []
    path.write_text(line("a") + '{"at"')
    assert [event["fold"] for event in read_events(ledger, experiment)] == ["a"]


BAD = [
    b'{"at"',
    b"\xff\x00",
    b"[" * 100_000,
    b"1" * 5_000,
    b"null",
    b'{"event": "ended"}',
    line("a").replace("2026-01-01", "2026-99-01").encode(),
    line("a").replace("finished", "epochs").replace('"a"', "null").encode(),
    line("a").replace('"fold"', '"epochs": 1' + "0" * 400 + ', "fold"').encode(),
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_line_that_is_no_event_costs_one_warning(ledger, fill, bad):
    experiment = fill(TABLE)
    path = ledger.events_path(experiment)
    path.write_bytes(line("a").encode() + bad.strip() + b"\n" + line("b").encode())
    with pytest.warns(LedgerWarning, match="^1 lines of .* left out: line 2 is") as caught:
        assert [event["fold"] for event in read_events(ledger, experiment)] == ["a", "b"]
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)


def test_a_figure_that_is_not_finite_is_an_event_all_the_same(ledger, fill):
    experiment = fill(TABLE)
    text = line("a").replace("}", ', "info": {"epoch": 3, "val_uf1": NaN}}')
    ledger.events_path(experiment).write_text(text)
    assert len(read_events(ledger, experiment)) == 1


def test_a_log_that_is_no_file_costs_one_warning_and_no_wait(ledger, fill):
    experiment = fill(TABLE)
    os.mkfifo(ledger.events_path(experiment))
    reader = EventReader(ledger.events_path(experiment))
    with pytest.warns(LedgerWarning, match="expected a regular file .* got a named pipe"):
        reader.read(print)
    reader.read(print)  # a second warning would be an error


def test_a_reader_goes_on_where_it_was_and_counts_lines(tmp_path):
    path, seen = tmp_path / "events.jsonl", []
    reader = EventReader(path)
    reader.read(seen.append)
    for text in (line("a") + line("b")[:9], line("b")[9:], "no event\n"):
        with path.open("a") as stream:
            stream.write(text)
        if text.startswith("no"):
            with pytest.warns(LedgerWarning, match="left out: line 3 is 'no event'"):
                reader.read(seen.append)
        else:
            reader.read(seen.append)
    assert [event["fold"] for event in seen] == ["a", "b"]
