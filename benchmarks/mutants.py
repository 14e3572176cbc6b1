"""Whether the fast tests notice a change of a line in the modules that make numbers.

`python -m benchmarks.mutants` takes a random sample of the changes of each module, runs the tests
of the module against each, and writes `docs/mutants.md`. It goes on where it stopped, and
`--minutes` ends it early. `benchmarks/mutants.yml` says which tests belong to a module, and which
changes compute the same.
"""

import argparse
import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from benchmarks.mutant_changes import Mutant, mutants_of
from benchmarks.mutant_tests import SURVIVED, baseline, outcome, warm

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "benchmarks/mutants.yml"
# Size and seed of the sample that tests are written against, and of the one that they are not.
FIRST, SECOND = (40, 0), (15, 1)
RESULTS = ROOT / "benchmarks/results/mutants.json"
PAGE = ROOT / "docs/mutants.md"
_HEAD = """\
# Mutants: would a test notice?

`make mutants` changes one line at a time in the modules that make numbers (`+` to `-`, `<` to `<=`,
1 to 2, an argument left out, a name in a table; the operators of
[mutmut](https://github.com/boxed/mutmut)) and runs the fast tests of the module. A change that no
test notices *survives*. A change that computes the same is *equivalent*: these are listed with
their reason in `benchmarks/mutants.yml` and count apart. Texts of errors, annotations, decorators
and imports are not changed.

The run is not part of CI. It takes a random sample of each module (`--per-module N`, `--seed S`, or
`--all`), stops after `--minutes M`, and goes on from `benchmarks/results/mutants.json`.
`--only PARTS` chooses modules by parts of their paths, `--again` repeats the survivors, `--fresh`
everything, `--report` writes this page alone.

The first sample (`--per-module 40 --seed 0`) is the one that the tests were written against: its
score says that nothing known is left, not how the tests do on other changes. That is what a second
sample says (`--per-module 15 --seed 1 --no-page`, without the changes of the first).
Modules without a row there are still to be run.

Only the fast tests count, and only in their own process: a change that a slow test or a test that
starts a program would notice survives here.
"""


@dataclass(frozen=True)
class Module:
    """A module, its area and its tests; changes that compute the same, with the reason."""

    area: str
    path: str
    tests: tuple[str, ...]
    equivalent: dict[str, str]


def modules(parts: str = "") -> list[Module]:
    """The modules whose area or path contains one of some texts, with commas between."""
    settings = yaml.safe_load(SETTINGS.read_text())
    found = []
    for area, paths in settings["areas"].items():
        for path, tests in paths.items():
            same = {
                change: reason
                for reason, changes in settings["equivalent"].get(path, {}).items()
                for change in changes
            }
            found.append(Module(area, path, tuple(tests), same))
    return [m for m in found if any(part in f"{m.area} {m.path}" for part in parts.split(","))]


@contextmanager
def stored() -> Iterator[dict[str, dict[str, str]]]:
    """The outcomes by module and change, for reading and writing by one process at a time."""
    RESULTS.touch()
    with RESULTS.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        content = json.loads(file.read() or "{}")
        yield content
        file.seek(0)
        file.truncate()
        json.dump(content, file, indent=0, sort_keys=True, ensure_ascii=False)
        file.write("\n")


def run(module: Module, chosen: argparse.Namespace, end: float) -> None:
    """The tests of a module against its sample, as far as the time goes."""
    sample, _ = mutants_of(ROOT, module.path, chosen.most, chosen.seed)
    with stored() as content:
        known = dict(content.get(module.path, {}))
    again = {SURVIVED} if chosen.again else set()
    left = [
        mutant
        for mutant in sample
        if (chosen.fresh or mutant.key not in known or known[mutant.key] in again)
        and mutant.key not in module.equivalent
    ]
    if not left or time.monotonic() > end:
        return
    seconds, names = baseline(ROOT, module.tests)
    warm(names)
    unchanged = Mutant(module.path, 1, "", "", 0, (ROOT / module.path).read_text())
    if outcome(ROOT, unchanged, module.tests, seconds) != SURVIVED:
        raise SystemExit(f"{module.path}: expected the unchanged module to survive its tests")
    for mutant in left:
        if time.monotonic() > end:
            break
        started = time.monotonic()
        result = outcome(ROOT, mutant, module.tests, seconds)
        with stored() as content:
            content.setdefault(module.path, {})[mutant.key] = result
        print(f"{result} ({time.monotonic() - started:.1f} s) {module.path}:{mutant.line}")
        if result == SURVIVED:
            print(f"  - {mutant.before}\n  + {mutant.after}", flush=True)


@dataclass(frozen=True)
class Score:
    """What came of a module's sample."""

    module: Module
    total: int
    sample: list[Mutant]
    outcomes: dict[str, str]

    @property
    def tested(self) -> int:
        """Changes of the sample that were tried, without equivalent ones."""
        return sum(mutant.key in self.outcomes for mutant in self.counted)

    @property
    def counted(self) -> list[Mutant]:
        """The sample without equivalent changes."""
        return [mutant for mutant in self.sample if mutant.key not in self.module.equivalent]

    @property
    def equivalent(self) -> int:
        """Changes of the sample that compute the same."""
        return len(self.sample) - len(self.counted)

    @property
    def survivors(self) -> list[Mutant]:
        """Changes that no test noticed."""
        return [m for m in self.counted if self.outcomes.get(m.key) == SURVIVED]


def scores(most: int, seed: int) -> list[Score]:
    """The scores of all modules, from the stored outcomes."""
    content = json.loads(RESULTS.read_text() or "{}") if RESULTS.exists() else {}
    found = []
    for module in modules():
        sample, total = mutants_of(ROOT, module.path, most, seed)
        found.append(Score(module, total, sample, content.get(module.path, {})))
    return found


def without(found: list[Score], others: list[Score]) -> list[Score]:
    """Scores without the changes of other samples of the same modules."""
    keys = {score.module.path: {mutant.key for mutant in score.sample} for score in others}
    return [
        replace(s, sample=[m for m in s.sample if m.key not in keys[s.module.path]]) for s in found
    ]


def report(first: list[Score], second: list[Score]) -> str:
    """The page: both samples, a row for each module, a line for each survivor."""
    lines = [_HEAD]
    for title, found in (("The first sample", first), ("The second sample", second)):
        lines += [f"## {title}", "", *_table(found), "", "Survivors:", ""]
        lines += [_survivor(s.module, mutant) for s in found for mutant in s.survivors] or ["none"]
        lines += [""]
    return "\n".join(lines)


def _table(found: list[Score]) -> list[str]:
    lines = ["| area | module | changes | tried | equivalent | killed | score |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [_row(s.module.area, f"`{s.module.path}`", [s]) for s in found if s.tested]
    lines += [_row("**all**", "", found), ""]
    tried = sum(s.tested + s.equivalent for s in found)
    killed = sum(s.tested - len(s.survivors) for s in found)
    lines += [f"The score leaves equivalent changes out; with them it is {_share(killed, tried)}."]
    return lines


def _row(area: str, path: str, found: list[Score]) -> str:
    tested, same = sum(s.tested for s in found), sum(s.equivalent for s in found)
    killed = tested - sum(len(s.survivors) for s in found)
    total = sum(s.total for s in found)
    share = _share(killed, tested)
    return f"| {area} | {path} | {total} | {tested + same} | {same} | {killed} | {share} |"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def _survivor(module: Module, mutant: Mutant) -> str:
    both = mutant.before, mutant.after
    texts = (text if len(text) < 160 else f"{text[:157]}..." for text in both)
    before, after = (f"`` {text} ``" for text in texts)
    reason = yaml.safe_load(SETTINGS.read_text())["survivors"].get(module.path, {})
    said = next((why for why, keys in reason.items() if mutant.key in keys), "no test yet")
    return f"- `{module.path}`, line {mutant.line}: {before} to {after}: {said}"


def main() -> None:
    """Run what is left of the sample; write the page when nothing is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--per-module", type=int, default=FIRST[0], metavar="N", help="size of a sample"
    )
    parser.add_argument("--all", action="store_true", help="every change")
    parser.add_argument("--minutes", type=float, default=9.0, help="stop after this time")
    parser.add_argument(
        "--only", default="", metavar="PARTS", help="parts of paths or areas, commas between"
    )
    parser.add_argument("--seed", type=int, default=FIRST[1], help="of the sample")
    parser.add_argument("--again", action="store_true", help="repeat the survivors")
    parser.add_argument("--fresh", action="store_true", help="repeat everything")
    parser.add_argument("--report", action="store_true", help="only write the page")
    parser.add_argument("--no-page", action="store_true", help="only store the outcomes")
    chosen = parser.parse_args()
    chosen.most = None if chosen.all else chosen.per_module
    end = time.monotonic() + 60 * chosen.minutes
    for module in [] if chosen.report else modules(chosen.only):
        run(module, chosen, end)
        if time.monotonic() > end:
            return
    if chosen.no_page:
        return
    first = scores(*FIRST)
    PAGE.write_text(report(first, without(scores(*SECOND), first)))


if __name__ == "__main__":
    main()
