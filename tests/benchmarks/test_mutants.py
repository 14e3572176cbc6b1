"""The changes of `make mutants`, and that its settings name what exists."""

from pathlib import Path

import yaml

from benchmarks.mutant_changes import mutants_of
from benchmarks.mutants import SETTINGS, modules
from tests.build.source import ROOT

SOURCE = '''"""A module."""

import math

Pair = tuple[int, int]
LIMITS = {"low": 1}


def area(side: float = 2.0, *, name: str = "x") -> float:
    """The area."""
    if side < 0:
        raise ValueError(f"expected {'more' + ' than 0'}, got {side}")
    return side * math.sqrt(
        side + (side - 1)
    )
'''


def test_changes_are_of_what_computes_and_name_their_line(tmp_path: Path):
    (tmp_path / "module.py").write_text(SOURCE)
    found, total = mutants_of(tmp_path, "module.py", None, 0)
    assert total == len(found) == len({mutant.key for mutant in found})
    keys = {(mutant.line, mutant.key) for mutant in found}
    assert (6, 'LIMITS = {"low": 1} -> LIMITS = {"low": 2}') in keys
    assert (6, 'LIMITS = {"low": 1} -> LIMITS = {"XXlowXX": 1}') in keys
    assert (11, "if side < 0: -> if side <= 0:") in keys
    assert (14, "side + (side - 1) -> side - (side - 1)") in keys
    assert (14, "side + (side - 1) -> side + (side + 1)") in keys
    assert {line for line, _ in keys} == {6, 9, 11, 13, 14}
    for mutant in found:
        compile(mutant.source, "module", "exec")
        assert mutant.source != SOURCE
    sample, _ = mutants_of(tmp_path, "module.py", 5, 0)
    assert sample == mutants_of(tmp_path, "module.py", 5, 0)[0]
    assert {m.key for m in sample} < {m.key for m in found}
    assert sample != mutants_of(tmp_path, "module.py", 5, 1)[0]
    # An edit above moves the lines and changes no name.
    (tmp_path / "module.py").write_text(SOURCE.replace("import math", "import math\n\nimport re"))
    later, _ = mutants_of(tmp_path, "module.py", 5, 0)
    assert [m.key for m in later] == [m.key for m in sample]


def test_the_settings_name_modules_tests_and_lines_that_exist():
    settings = yaml.safe_load(SETTINGS.read_text())
    paths = {module.path for module in modules()}
    for module in modules():
        assert (ROOT / module.path).is_file()
        assert module.tests
        assert not [name for name in module.tests if not (ROOT / name).is_file()]
    for part in ("equivalent", "survivors"):
        assert set(settings[part]) <= paths
        for path, reasons in settings[part].items():
            lines = {line.strip() for line in (ROOT / path).read_text().splitlines()}
            originals = [key.split(" -> ")[0] for keys in reasons.values() for key in keys]
            assert not [before for before in originals if before not in lines]
