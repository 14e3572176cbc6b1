"""A few inputs of every kind; `python -m benchmarks.fuzz --inputs 20000` makes many."""

import pytest

from tests.fuzz.input_targets import TARGETS as INPUTS
from tests.fuzz.ledger_targets import TARGETS as LEDGER
from tests.fuzz.running import fuzz


@pytest.mark.timeout(120)
@pytest.mark.parametrize("target", [*INPUTS, *LEDGER], ids=lambda target: target.name)
def test_no_input_gives_a_traceback_a_hang_or_a_file_outside(target, tmp_path):
    counts = fuzz(target, tmp_path, 25)
    assert counts.inputs == 25
    assert counts.bad == 0, "\n".join(counts.examples)
