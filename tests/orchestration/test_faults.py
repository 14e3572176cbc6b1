"""Faults that the other tests of runs do not have; `DADNET_FAULTS` is the number of rounds.

The loss of a node is tried with `DADNET_FAULTS` set only: its cluster wants Ray's ports for itself,
and failed to start beside another Ray of this machine.
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
    "fault", ["sigterm", "raylet"] if "DADNET_FAULTS" in os.environ else ["sigterm"]
)
def test_the_ledger_is_as_if_nothing_had_happened(bench, fault):
    for number in range(int(os.environ.get("DADNET_FAULTS", "1"))):
        row = faults.disturb(*bench, fault, number)
        assert row["held"]
        assert row["retries"] >= 1
