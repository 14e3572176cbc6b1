"""The event log of a run: lines at its end, in a regular file only."""

import pytest

from dadnet.base.disk import IrregularFileError
from orchestration.reporting.events import EventWriter
from tests.build.listing import IRREGULAR, listing, put_irregular


def test_lines_are_added_to_those_of_earlier_runs(tmp_path):
    path = tmp_path / "experiment" / "events.jsonl"
    EventWriter(path).append("first")
    EventWriter(path).append("second")
    assert path.read_text() == "first\nsecond\n"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", IRREGULAR)
def test_a_log_that_is_no_regular_file_is_refused_without_waiting(tmp_path, kind):
    put_irregular(tmp_path / "events.jsonl", kind)
    before = listing(tmp_path)
    with pytest.raises(IrregularFileError, match="expected a regular file at .*events.jsonl"):
        EventWriter(tmp_path / "events.jsonl").append("line")
    assert listing(tmp_path) == before
