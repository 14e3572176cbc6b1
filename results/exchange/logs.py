"""Files of predictions as other programs write them: tables, challenge logs, and printed lists.

A challenge log (Micro-Expressions Grand Challenge 2019) has a line ``dataset subject``, then lines
``clip truth prediction``. A printed log (STSTNet and its followers) has ``Subject: NAME`` and then
the lists ``Predicted`` and ``Ground Truth``. Both write the classes as numbers from 0.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dadnet.base.disk import read_regular
from dadnet.base.errors import DadnetError
from dadnet.datasets.sheets import read_sheets
from dadnet.datasets.subjects import canonical_dataset, canonical_subject, dataset_of_subject
from dadnet.labels.own_labels import plain_word

REQUIRED = ("subject", "clip", "label", "prediction")
PREFIX = "prob_"
FORMATS = ("auto", "csv", "megc-log", "list-log")

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .xls
_SUBJECT = re.compile(r"\s*subject\s*:\s*(?P<name>.*?)\s*", re.IGNORECASE)
_LIST = re.compile(
    r"\s*(?P<best>best\s+)?(?P<what>predict(?:ed|ions?)|ground\s+truth)\s*:\s*\[(?P<list>.*)\]\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Foreign:
    """The rows of a file.

    Attributes:
        format: what the file is, one of `FORMATS`.
        rows: cells by column; `REQUIRED` and, of tables, dataset and probabilities.
        where: place of each row in the file, for messages.
        best_epoch: whether the predictions are those of the best epoch on the test subject.
        notes: what the record has to say of how the file was read.
    """

    format: str
    rows: list[dict[str, str]]
    where: list[str]
    best_epoch: bool = False
    notes: list[str] = field(default_factory=list)

    def translated(self, meanings: Mapping[str, str], path: Path) -> Foreign:
        """The rows with the meaning of each class in the place of its word.

        Raises:
            DadnetError: if a word has no meaning.
        """

        def named(column: str, cell: str) -> str:
            if column not in ("label", "prediction"):
                return cell
            if (word := plain_word(cell)) not in {*meanings, *meanings.values()}:
                raise DadnetError(
                    f"labels: expected a meaning of {', '.join(meanings)} and {word}, which is in "
                    f"the column {column} of {path}"
                )
            return meanings.get(word, word)

        def header(column: str) -> str:
            word = plain_word(column.removeprefix(PREFIX))
            return f"{PREFIX}{meanings.get(word, word)}" if column.startswith(PREFIX) else column

        rows = [{header(c): named(c, cell) for c, cell in row.items()} for row in self.rows]
        shown = ", ".join(f"{word} is {meaning}" for word, meaning in meanings.items())
        return replace(self, rows=rows, notes=[*self.notes, f"labels: {shown}"])


def read_foreign(path: Path, form: str, dataset: str, composite: bool) -> Foreign:
    """Read a file of predictions.

    Args:
        path: the file.
        form: one of `FORMATS`; ``auto`` looks at the content.
        dataset: of subjects whose dataset the file does not name.
        composite: whether `dataset` is the name of several; then the subjects' ids say theirs.

    Raises:
        DadnetError: naming the line that does not fit.
    """
    data = _content(path)
    if data[:4] in _WORKBOOKS:
        lines = [list(line.cells) for line in read_sheets(path)[0].lines]
        return _table(path, lines)
    text = _text(path, data)
    form = _format(text) if form == "auto" else form
    if form == "csv":
        return _table(path, _csv_lines(path, text))

    def owner(subject: str) -> str:
        return dataset_of_subject(subject) if composite else dataset

    try:
        read = (_megc if form == "megc-log" else _lists)(text, owner)
    except DadnetError as error:
        raise DadnetError(f"{error} in {path}") from error
    return replace(read, where=[f"{place} of {path}" for place in read.where])


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, follow=True)
    except FileNotFoundError as error:
        raise DadnetError(f"expected a CSV file or a log, got: no file at {path}") from error
    except OSError as error:
        raise DadnetError(f"{path} cannot be read: {error.strerror}") from error


def _text(path: Path, data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeError as error:
        raise DadnetError(f"expected a CSV file in UTF-8, got: {path}: {error}") from error


def _format(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    header = lines[0].lower() if lines else ""
    if "subject" in header and ("label" in header or "clip" in header):
        return "csv"
    if any(_LIST.fullmatch(line) for line in lines):
        return "list-log"
    numbers = [line.split()[1:] for line in lines if len(line.split()) == 3]
    if any(all(cell.isdigit() for cell in cells) for cells in numbers):
        return "megc-log"
    return "csv"


def _csv_lines(path: Path, text: str) -> list[list[str]]:
    first = next(iter(text.splitlines()), "")
    delimiter = max(",;\t", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return [line for line in reader if line]
    except csv.Error as error:
        raise DadnetError(f"expected a CSV file in UTF-8, got: {path}: {error}") from error


def _table(path: Path, lines: Sequence[Sequence[str]]) -> Foreign:
    if len(lines) < 2:
        raise DadnetError(f"expected a header and at least one clip, got: {path} without rows")
    written, *body = [[cell.strip() for cell in line] for line in lines]
    names = (*REQUIRED, "dataset")
    header = [cell.lower() if cell.lower() in names else cell for cell in written]
    lacking = [name for name in REQUIRED if name not in header]
    if lacking == ["prediction"] and any(cell.startswith(PREFIX) for cell in header):
        lacking = []  # the most probable class is the prediction
    if lacking or len(set(header)) != len(header):
        raise DadnetError(
            f"expected columns {', '.join(REQUIRED)} once each, got: {', '.join(header)} in {path}"
        )
    for number, cells in enumerate(body, start=2):
        if len(cells) != len(header) or not all(cells):
            raise DadnetError(
                f"expected {len(header)} filled cells, got: {cells} in row {number} of {path}"
            )
    rows = [dict(zip(header, cells, strict=True)) for cells in body]
    return Foreign("csv", rows, [f"row {n} of {path}" for n in range(2, len(rows) + 2)])


def _megc(text: str, owner: Callable[[str], str]) -> Foreign:
    rows: list[dict[str, str]] = []
    where: list[str] = []
    header: tuple[str, str] | None = None
    header_line, filled = 0, True
    notes: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) <= 2:
            if not filled:
                raise DadnetError(f"expected clips below the header in line {header_line}")
            written = cells[-1]
            dataset = canonical_dataset(cells[0]) if len(cells) == 2 else owner(written)
            header = (dataset, canonical_subject(dataset, written))
            if header[1] != written:
                notes.append(f"subject {written} of {dataset} is read as {header[1]}")
            header_line, filled = number, False
        elif len(cells) == 3:
            if header is None:
                raise DadnetError(
                    f"expected a header `dataset subject` above the clips, got: line {number} "
                    f"{line.strip()!r} without one"
                )
            names = dict(zip(REQUIRED[1:], cells, strict=True))
            rows.append({"dataset": header[0], "subject": header[1], **names})
            where.append(f"line {number}")
            filled = True
        else:
            raise DadnetError(
                "expected `dataset subject` or `clip truth prediction`, got: line "
                f"{number} {line.strip()!r}"
            )
    if not filled:
        raise DadnetError(f"expected clips below the header in line {header_line}: it is the last")
    if not rows:
        raise DadnetError("expected a log of clips, got: none")
    return Foreign("megc-log", rows, where, notes=notes)


@dataclass
class _Block:
    """The lists of one subject."""

    subject: str
    line: int
    lists: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, values: list[str], line: int) -> None:
        if name in self.lists:
            raise DadnetError(
                f"expected one list `{name}` for subject {self.subject}, got: another in line "
                f"{line}"
            )
        self.lists[name] = values


def _lists(text: str, owner: Callable[[str], str]) -> Foreign:
    blocks: list[_Block] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _SUBJECT.fullmatch(line):
            if len(match["name"].split()) != 1:
                raise DadnetError(f"expected `Subject: NAME`, got: line {number} {line.strip()!r}")
            blocks.append(_Block(match["name"], number))
        elif match := _LIST.fullmatch(line):
            if not blocks:
                raise DadnetError(f"expected `Subject: NAME` above the list in line {number}")
            truth = match["what"].lower().startswith("ground")
            name = "Ground Truth" if truth else "Best Predicted" if match["best"] else "Predicted"
            cells = re.split(r"[,\s]+", match["list"].strip())
            blocks[-1].add(name, [cell.strip("'\"") for cell in cells if cell], number)
    best = _which_lists(blocks)
    rows: list[dict[str, str]] = []
    where: list[str] = []
    for block in blocks:
        truth, given = _pair(block, best)
        dataset = owner(block.subject)
        subject = canonical_subject(dataset, block.subject)
        for k, pair in enumerate(zip(truth, given, strict=True)):
            names = dict(zip(REQUIRED[1:], (str(k), *pair), strict=True))
            rows.append({"dataset": dataset, "subject": subject, **names})
            where.append(f"clip {k} of the subject in line {block.line}")
    notes = ["the log does not name the clips: they are numbered from 0 for each subject"]
    if best:
        notes.append("the log has the best epoch on the test subject: selection oracle")
    elif any("Best Predicted" in block.lists for block in blocks):
        notes.append("lists `Best Predicted` (the best epoch on the test subject) are left out")
    return Foreign("list-log", rows, where, best, notes)


def _which_lists(blocks: Sequence[_Block]) -> bool:
    """Whether only the best epoch's predictions are there."""
    if not blocks:
        raise DadnetError("expected `Subject: NAME` and lists, got: none")
    if repeated := {b.subject for b in blocks if sum(o.subject == b.subject for o in blocks) > 1}:
        raise DadnetError(f"expected each subject once, got: {sorted(repeated)[0]} again")
    return not any("Predicted" in block.lists for block in blocks)


def _pair(block: _Block, best: bool) -> tuple[list[str], list[str]]:
    wanted = ("Ground Truth", "Best Predicted" if best else "Predicted")
    for name in wanted:
        if not block.lists.get(name):
            raise DadnetError(
                f"expected a list `{name}` for subject {block.subject} in line {block.line}, got: "
                f"{', '.join(block.lists) or 'none'}"
            )
    truth, given = (block.lists[name] for name in wanted)
    if len(truth) != len(given):
        raise DadnetError(
            f"expected lists of one length for subject {block.subject} in line {block.line}, got: "
            f"{len(given)} predictions and {len(truth)} truths"
        )
    return truth, given
