"""Faults that the other tests of runs do not have; `DADNET_FAULTS` is the number of rounds.

Without it, a preemption, and a node that joins during the run, works and is lost.
"""

import os

import pytest

from benchmarks import faults

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def bench():
    with faults.bench() as found:
        yield found


@pytest.mark.parametrize(
    "fault", ["sigterm", "join", *(["raylet", "head"] if "DADNET_FAULTS" in os.environ else [])]
)
def test_the_ledger_is_as_if_nothing_had_happened(bench, fault):
    for number in range(int(os.environ.get("DADNET_FAULTS", "1"))):
        row = faults.disturb(*bench, fault, number)
        assert row["held"]
        assert fault == "head" or row["retries"] >= 1
