"""The audit of pinned packages: what is known fails, what was not looked at is counted."""

import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("audit", Path(__file__).parents[1] / ".ci/audit.py")
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)

CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
KNOWN = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}
BAD = {"name": "c", "version": "1", "vulns": [KNOWN]}


@pytest.mark.parametrize(
    ("packages", "status", "lines"),
    [
        ([CLEAN], 0, ["1 packages audited, 0 vulnerabilities known"]),
        (
            [CLEAN, BAD],
            1,
            ["c 1: PYSEC-1, fixed in 2", "2 packages audited, 1 vulnerabilities known"],
        ),
        ([CLEAN, SKIPPED], 0, ["warning: 1 of 2 packages were not audited (not found)"]),
    ],
)
def test_what_is_known_fails_and_what_was_not_looked_at_is_counted(packages, status, lines):
    assert audit.judge(packages) == (status, lines)


def test_what_is_accepted_by_name_passes(monkeypatch):
    monkeypatch.setitem(audit.ACCEPTED, "CVE-1", "not our use of it")
    assert audit.judge([BAD])[0] == 0
