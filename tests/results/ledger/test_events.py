import json

import pytest

from dadnet.base.errors import DadnetError
from results.ledger.events import EventReader, read_events

TABLE = {"a": ["n>n"], "b": ["p>p"]}


def line(fold: str) -> str:
    return json.dumps({"at": "2026-01-01T00:00:00+00:00", "event": "finished", "fold": fold}) + "\n"


def test_events_may_end_half_written_and_no_more(ledger, fill):
    experiment = fill(TABLE)
    path = ledger.events_path(experiment)
    assert read_events(ledger, experiment) == []
    path.write_text(line("a") + '{"at"')
    assert [event["fold"] for event in read_events(ledger, experiment)] == ["a"]
    path.write_text('{"at"\n' + line("a"))
    with pytest.raises(DadnetError, match="line 1"):
        read_events(ledger, experiment)


def test_a_reader_goes_on_where_it_was_and_counts_lines(tmp_path):
    path, seen = tmp_path / "events.jsonl", []
    reader = EventReader(path)
    reader.read(seen.append)
    for text in (line("a") + line("b")[:9], line("b")[9:], "no event\n"):
        with path.open("a") as stream:
            stream.write(text)
        if text.startswith("no"):
            with pytest.raises(DadnetError, match="in line 3 of .*, got: no event"):
                reader.read(seen.append)
        else:
            reader.read(seen.append)
    assert [event["fold"] for event in seen] == ["a", "b"]
