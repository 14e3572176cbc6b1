"""Compare a dataset on disk with the counts of the literature.

    python -m dadnet.doctor --dataset casme2 --root /data/CASME2

It reads tables, folders and one frame per subject, and writes nothing. Every problem is a line of
the report. Exit status: 0 all as in the literature, 3 something differs, 2 nothing can be read.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dadnet.config.commands import DOCTOR, DoctorFlags

if __name__ == "__main__":
    DOCTOR.parse_first(__doc__)

from dadnet.base.errors import DadnetError
from dadnet.datasets.index import ClipIndex, Rejected
from dadnet.datasets.literature import LITERATURE, Known
from dadnet.datasets.official.layout import Options
from dadnet.datasets.official.registry import read_dataset
from dadnet.flow.compute import decode_image
from dadnet.labels.class_sets import class_sets_of, get_class_set
from dadnet.labels.label_sets import LabelSet
from dadnet.labels.tasks import names_in

_RELEASE = "another release of the set"
_OTHER_ROWS = "another release of the table, or rows that were added or lost"
Verdict = Literal["ok", "differs", "note", "fail"]
ALL_RIGHT, CANNOT_READ, DIFFERS = 0, 2, 3


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        verdict: ``ok``, ``differs`` from the literature, ``note`` (nothing to compare with) or
            ``fail``.
        what: subject of the line.
        found: value on disk.
        expected: value in the literature, with its source, or "".
        reason: the likely reason of a difference, or "".
    """

    verdict: Verdict
    what: str
    found: str
    expected: str = ""
    reason: str = ""

    def __str__(self) -> str:
        line = f"{self.verdict:8}{self.what:26}{self.found}"
        line += f"; literature: {self.expected}" if self.expected else ""
        return line + (f"; likely: {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Report:
    """The findings, in order from files to classes."""

    findings: tuple[Finding, ...] = ()

    @property
    def status(self) -> int:
        """The exit status."""
        verdicts = {finding.verdict for finding in self.findings}
        if "fail" in verdicts:
            return CANNOT_READ
        return DIFFERS if "differs" in verdicts else ALL_RIGHT


def examine(dataset: str, root: Path, options: Options | None = None) -> Report:
    """Compare a dataset on disk with the literature.

    Args:
        dataset: a key of ``LAYOUTS``.
        root: its folder.
        options: as for the ingest; default: the middle frame if the apex is not annotated, so that
            no row is rejected for it.
    """
    try:
        index = read_dataset(dataset, root, options or Options(apex="midpoint"))
    except (DadnetError, OSError) as error:
        return Report((Finding("fail", "files", " ".join(str(error).split())),))
    known = LITERATURE.get(dataset, Known(rows={}))
    findings = [
        *_tables(index, known),
        *_counts(index, known, dataset),
        *_frames(index),
        *_rejections(index.rejected),
        *(Finding("note", "in print", remark) for remark in known.remarks),
    ]
    return Report(tuple(findings))


def _tables(index: ClipIndex, known: Known) -> Iterator[Finding]:
    yield Finding("ok" if index.files else "note", "annotation", ", ".join(index.files) or "none")
    rows = len(index.clips) + len(index.rejected)
    releases = ", ".join(f"{n} ({which})" for n, which in known.rows.items())
    if rows in known.rows or not known.rows:
        yield Finding("ok" if known.rows else "note", "rows", str(rows), releases)
    else:
        copy = rows < 0.9 * min(known.rows, key=lambda n: abs(n - rows))
        why = "a part of the set, or a copy of it for tests" if copy else _OTHER_ROWS
        yield Finding("differs", "rows", str(rows), releases, why)
    for correction in index.corrections:
        yield Finding("note", "corrected", correction)
    for note in index.notes:
        yield Finding("note", "while reading", note)


def _counts(index: ClipIndex, known: Known, dataset: str) -> Iterator[Finding]:
    lost = sum(not r.expected for r in index.rejected)
    rows = len(index.clips) + len(index.rejected)

    def why(missing: int) -> str:
        if known.rows and rows not in known.rows:
            return "see the number of rows"
        return f"{_number(lost, 'rejected row')} (below)" if 0 < missing <= lost else _RELEASE

    clips = index.clips
    yield _compare("usable clips", len(clips), None, "", why)
    yield _compare("subjects", clips["subject"].nunique(), known.subjects, "", why)
    if known.parts:
        parts = Counter(clips["part"])
        for part, number in known.parts.items():
            yield _compare(f"part {part}", parts[part], number, "the official split", why)
    emotions = Counter(clips["emotion"])
    for name in sorted({*emotions, *known.emotions}):
        expected = known.emotions.get(name, 0) if known.emotions else None
        if expected == 0:
            reason = "another spelling, or a label of another release"
            yield Finding("differs", f"emotion {name}", str(emotions[name]), "0", reason)
        else:
            source = known.emotions_source
            yield _compare(f"emotion {name}", emotions[name], expected, source, why)
    for name in class_sets_of(dataset):
        yield from _class_set(clips.to_dict("records"), name, dataset, known, why)


def _number(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _compare(
    what: str, found: int, expected: int | None, source: str, why: Callable[[int], str]
) -> Finding:
    if expected is None:
        return Finding("note", what, str(found))
    text = f"{expected} ({source})" if source else str(expected)
    if found == expected:
        return Finding("ok", what, str(found), text)
    return Finding("differs", what, str(found), text, why(expected - found))


def _class_set(
    records: Sequence[Mapping[Any, Any]],
    name: str,
    dataset: str,
    known: Known,
    why: Callable[[int], str],
) -> Iterator[Finding]:
    chosen, expected = get_class_set(name, dataset), known.class_sets.get(name)
    column = chosen.column
    usable = [r for r in records if not chosen.unknown([r[column]])]
    labels = [(r["subject"], chosen.label(r[column], r["clip_id"])) for r in usable]
    used = [(subject, label) for subject, label in labels if label is not None]
    counts = Counter(name for _, label in used for name in names_in(label))
    subjects = len({subject for subject, _ in used})
    found = _list({c: counts[c] for c in chosen.classes}, len(used), subjects)
    if len(usable) < len(records):
        what = column.replace("_", " ").removesuffix("s")
        found += f" ({_number(len(records) - len(usable), 'clip')} of unknown {what})"
    if isinstance(chosen, LabelSet):
        unsure = [f"{r['clip_id']} {r[column]!r}" for r in usable if chosen.uncertain(r[column])]
        if unsure:
            found += f" ({_number(len(unsure), 'clip')} without a certain unit: "
            found += f"{', '.join(unsure)})"
    if expected is None:
        # Without counts in the literature, a class set that lacks clips here is not reported; a
        # label set with rare labels is.
        whole = len(usable) == len(records) and all(counts[c] for c in chosen.classes)
        if counts if chosen.multi_label else whole:
            yield Finding("note", f"class set {name}", found)
        return
    number = sum(expected.counts.values())
    text = f"{_list(expected.counts, number, expected.subjects)} ({expected.source})"
    same = dict(expected.counts) == {c: counts[c] for c in chosen.classes}
    if same and expected.subjects in (None, subjects):
        yield Finding("ok", f"class set {name}", found, text)
    else:
        missing = number - counts.total()
        yield Finding("differs", f"class set {name}", found, text, why(missing))


def _list(counts: Mapping[str, int], clips: int, subjects: int | None) -> str:
    shown = ", ".join(f"{name} {n}" for name, n in counts.items())
    by = f" of {_number(subjects, 'subject')}" if subjects is not None else ""
    return f"{clips}{by}: {shown}"


def _frames(index: ClipIndex) -> Iterator[Finding]:
    """Decode the onset of one clip per subject."""
    sizes: Counter[str] = Counter()
    for path in index.clips.groupby("subject")["onset_path"].first():
        try:
            height, width = decode_image(str(path)).shape
        except DadnetError as error:
            yield Finding("differs", "frames", f"{error} ({path})", reason="a broken copy")
        else:
            sizes[f"{width} x {height}"] += 1
    if sizes:
        text = ", ".join(f"{size} of {n} subjects" for size, n in sizes.most_common(5))
        more = f" and {len(sizes) - 5} other sizes" if len(sizes) > 5 else ""
        yield Finding("ok", "frames", f"{text}{more}")


# Part of a reason for rejection -> likely cause.
_LIKELY = (
    ("no folder of frames", "an archive that was not unpacked, or another copy of the frames"),
    ("no frame ", "frames that were lost, or the frames of another release"),
    ("no frames", "an archive that was unpacked in part"),
    ("apex", "an error of the annotation; nothing is known that would correct it"),
    ("duplicate", "the table names one clip twice; which row is right cannot be known"),
    ("emotion", "an error of the annotation, or a label that was not given out"),
    ("expected", "a table that was changed by hand"),
)


def _rejections(rejected: Sequence[Rejected]) -> Iterator[Finding]:
    """One line per kind of rejection, with the first clip as example."""
    kinds: dict[tuple[bool, str], list[Rejected]] = {}
    for one in rejected:
        kind = re.sub(r"[0-9]+|'.*?'|\S*/\S*", "*", one.reason).split(";")[0]
        kinds.setdefault((one.expected, kind[:60]), []).append(one)
    for (expected, _), those in kinds.items():
        first = f"{len(those)}, such as {those[0].clip_id}: {those[0].reason}"
        if expected:
            yield Finding("note", "left out, as elsewhere", first)
        else:
            likely = next((why for word, why in _LIKELY if word in those[0].reason), "")
            yield Finding("differs", "rejected", first, reason=likely)


def print_report(flags: DoctorFlags) -> int:
    """Print the report; returns the exit status."""
    options = Options("midpoint", flags.frames, flags.annotation)
    report = examine(flags.dataset, flags.root, options)
    print(f"{flags.dataset} in {flags.root}")
    for finding in report.findings:
        print(finding)
    differing = sum(f.verdict == "differs" for f in report.findings)
    if report.status == ALL_RIGHT:
        print("all as in the literature")
    elif report.status == DIFFERS:
        print(f"{differing} lines differ from the literature or name rows that cannot be used")
    else:
        print("nothing can be read")
    return report.status


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return DOCTOR.run(print_report, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
