"""Made-up own tables: never a traceback, never a silent drop, never frames out of order."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dadnet.base.errors import DadnetError
from dadnet.datasets.frames import frame_number, series
from dadnet.datasets.index import ClipIndex
from dadnet.datasets.own_table import COLUMNS, OwnTable, read_own_table
from tests.build.own_tables import write_xlsx

pytestmark = pytest.mark.slow

FAST = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,  # the same cases on every machine
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FRAMES = [f"v{k}/img{n}.jpg" for k in (1, 2) for n in (1, 3, 5, 9)]
GOOD = {
    "subject": ("s1", "s2", "7"),
    "label": ("sad", "happy", "紧张", "0"),
    "dataset": ("casme2", "SAMM", "mine"),
    "clip_id": ("", "EP01", "EP02"),
    "onset_path": (*FRAMES, "v1\\img1.jpg", ""),
    "apex_path": (*FRAMES, ""),
    "offset_path": (*FRAMES, ""),
    "flow_path": ("", "", "f.npy"),
    "folder": ("v1", "v2", ""),
    "onset": ("1", "3", "5", "", "1.0"),
    "apex": ("3", "5", "9", "", "/"),
    "offset": ("5", "9", "", "9,0"),
    "action_units": ("4", "?", ""),
    "part": ("", "train"),
}
odd = st.one_of(
    st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), max_size=8),
    st.sampled_from(
        ("..", "~", "~nobody/x", "a/b", "\\", "=A1", "#REF!", "nan", "-1", "1e9", "4.5", "\uff11",
         "x" * 300, "\ufffd", '"', "2020-01-02 00:00:00")
    ),
)  # fmt: skip


@contextmanager
def folder_with_frames() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in (*FRAMES, "f.npy"):
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).touch()
        yield folder


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    optional = [name for name in COLUMNS if name not in ("subject", "label", "onset_path")]
    columns = ["subject", "label", "onset_path"]
    columns += draw(st.lists(st.sampled_from(optional), unique=True, max_size=8))
    whole = st.tuples(*(st.sampled_from(GOOD[name]) for name in columns))
    mixed = st.tuples(*(st.one_of(st.sampled_from(GOOD[n]), st.sampled_from(GOOD[n]), odd)
                        for n in columns))  # fmt: skip
    rows = draw(st.lists(st.one_of(whole, mixed), min_size=1, max_size=8))
    return [columns, *(list(row) for row in rows)]


def read_or_one_line(path: Path, rule: str) -> ClipIndex | None:
    """The index, or None where an error of one line was raised."""
    index, message = None, "nothing was raised"
    try:
        index = read_own_table(OwnTable(path, apex=rule))  # type: ignore[arg-type]
    except DadnetError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    return index


def check_order(row: dict[str, object]) -> None:
    """What the index accepted is onset < apex <= offset, by number and by file."""
    onset, apex, offset = (int(str(row[name])) for name in ("onset", "apex", "offset"))
    if onset != -1 and apex != -1:
        assert onset < apex
    if apex != -1 and offset != -1:
        assert apex <= offset
    first, second = Path(str(row["onset_path"])), Path(str(row["apex_path"]))
    if row["apex_path"]:
        assert first != second
        if series(first) == series(second):
            assert (frame_number(first) or 0) < (frame_number(second) or 0)
    elif not row["flow_path"]:
        assert apex == -1
        assert -1 < onset < offset


@FAST
@given(table=tables(), rule=st.sampled_from(("drop", "midpoint", "flow-peak")),
       workbook=st.booleans(), separator=st.sampled_from((",", ";", "\t")))  # fmt: skip
def test_every_row_is_a_clip_in_order_or_has_a_reason(table, rule, workbook, separator):
    with folder_with_frames() as folder:
        if workbook:
            path = write_xlsx(folder / "own.xlsx", table)
        else:
            path = folder / "own.csv"
            quoted = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in table]
            path.write_text("\n".join(separator.join(row) for row in quoted), encoding="utf-8")
        index = read_or_one_line(path, rule)
        if index is None:
            return
        filled = [row for row in table[1:] if any(cell.strip() for cell in row)]
        assert len(index.clips) + len(index.rejected) == len(filled)
        assert all(r.reason and len(r.reason.splitlines()) == 1 for r in index.rejected)
        for row in index.clips.to_dict("records"):
            check_order({str(name): value for name, value in row.items()})


@FAST
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode),
                         st.text(max_size=80).map(lambda t: t.encode("utf-16"))),
       head=st.sampled_from((b"", b"subject,label,flow_path\n", b"PK\x03\x04",
                             b"\xd0\xcf\x11\xe0")))  # fmt: skip
def test_any_file_is_read_or_fails_with_one_line(content: bytes, head: bytes):
    with folder_with_frames() as folder:
        (folder / "own.csv").write_bytes(head + content)
        read_or_one_line(folder / "own.csv", "drop")
