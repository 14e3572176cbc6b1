"""Made-up tables, folders and damage: never anything but a `DadnetError`, never a silent drop."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dadnet import doctor
from dadnet.base.errors import DadnetError
from dadnet.datasets.copies import COPIES, write_copy
from dadnet.datasets.copies.sheets import write_table
from dadnet.datasets.index import ClipIndex
from dadnet.datasets.official.layout import Options
from dadnet.datasets.official.registry import read_dataset
from dadnet.flow.store import load_flow_store
from tests.build.flows import make_clips, write_store

pytestmark = pytest.mark.slow

FAST = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,  # the same cases on every machine
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# Dataset -> annotation, header, sheet, good cells of each column.
TABLES = {
    "casme2": (
        "CASME2-coding-20140508.xlsx",
        ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion"),
        ((1, "sub01"), ("EP02_01f",), (46,), (48, "/"), (50,), ("disgust", "happiness")),
    ),
    "samm": (
        "SAMM_Micro_FACS_Codes_v2.xlsx",
        ("Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Estimated Emotion"),
        (("001", 1), ("001_1_1",), (562,), (564,), (566,), ("Anger", "Other")),
    ),
    "casme3": (
        "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
        ("Subject", "Filename", "Onset", "Apex", "Offset", "emotion"),
        (("spNO.1",), ("a",), (355,), (357,), (359,), ("sad", "Others")),
    ),
    "smic-videos": (
        "SMIC-HS-E_annotation_2019.xlsx",
        ("Subject", "Filename", "OnsetF", "ApexF", "OffsetF", "Emotion"),
        (("s01", "s1"), ("s01_ne_01",), (123,), (125,), (127,), ("negative", "ne")),
    ),
    "fourdme": (
        "4DME_Labelling_Micro_release v1.xlsx",
        ("sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset"),
        (("S1",), ("S1_1st_001_01_1",), ("Negative", "Surprise+Positive"), (173,), (175,), (177,)),
    ),
    "dfme": (
        "full_release_annotation/training_full_with_AU.xlsx",
        ("Filename", "Subject", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion"),
        (("sub0001_01",), ("sub0001",), (0,), (2, "/"), (4,), ("Fear", "Disgust")),
    ),
}  # fmt: skip

names = st.text(alphabet=st.characters(min_codepoint=32, blacklist_categories=("Cs",)), max_size=12)
odd = st.one_of(
    st.none(),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    names,
    st.sampled_from(
        (
            "/",
            "..",
            "../..",
            "a/b",
            "a\\b",
            ".",
            "0",
            "-1",
            "1e9",
            "46.5",
            "nan",
            "\uff11",
            "x" * 300,
        )
    ),
)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copies")
    for name in COPIES:
        write_copy(name, root / name, size=0)
    return root


@contextmanager
def copied(source: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(source, Path(folder) / "set")
        yield Path(folder) / "set"


def read_or_one_line(dataset: str, root: Path) -> ClipIndex | None:
    """The index, or None where an error of one line was raised; the doctor never raises."""
    index, message = None, "nothing was raised"
    try:
        index = read_dataset(dataset, root, Options(apex="midpoint"))
    except DadnetError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    report = doctor.examine(dataset, root)
    assert (report.status == doctor.CANNOT_READ) == (index is None)
    assert all(len(str(finding).splitlines()) == 1 for finding in report.findings)
    return index


@st.composite
def rows(draw: st.DrawFn, name: str) -> list[list[object]]:
    good = TABLES[name][2]
    cells = [st.one_of(st.sampled_from(options), odd) for options in good]
    whole = st.tuples(*(st.sampled_from(options) for options in good))
    table = draw(st.lists(st.one_of(whole, st.tuples(*cells)), min_size=1, max_size=8))
    return [list(row) for row in table]


@pytest.mark.parametrize("name", list(TABLES))
@FAST
@given(data=st.data())
def test_every_row_of_any_table_is_a_clip_or_has_a_reason(copies: Path, name: str, data):
    table = data.draw(rows(name))
    file, header, _ = TABLES[name]
    with copied(copies / name) as root:
        for path in root.rglob("*.xls*"):
            path.unlink()
        write_table(root / file, {"Sheet1": [header, *table]})
        index = read_or_one_line(COPIES[name][0], root)
        filled = [row for row in table if any(str(c).strip() for c in row if c is not None)]
        if index is None:
            assert not filled
            return
        assert len(index.clips) + len(index.rejected) == len(filled)
        assert all(r.reason and len(r.reason.splitlines()) == 1 for r in index.rejected)
        inside = [Path(p).resolve() for p in index.clips["onset_path"]]
        assert all(p.is_relative_to(root.resolve()) for p in inside)


@pytest.mark.parametrize("name", ["casme2", "casme3-clips", "samm", "dfme"])
@FAST
@given(flips=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), max_size=6),
       keep=st.floats(0.05, 1.0))  # fmt: skip
def test_a_damaged_annotation_is_read_or_fails_with_one_line(copies: Path, name: str, flips, keep):
    with copied(copies / name) as root:
        [path, *_] = sorted(p for p in root.rglob("*.xls*") if not p.name.startswith("~"))
        content = bytearray(path.read_bytes())
        for place, value in flips:
            content[int(place * len(content))] = value
        path.write_bytes(content[: max(1, int(keep * len(content)))])
        read_or_one_line(COPIES[name][0], root)


@pytest.mark.parametrize("name", ["smic", "ckplus", "casme2", "fourdme", "dfme"])
@FAST
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(("remove", "empty", "rename", "add")),
                  names.filter(lambda n: n.strip(". /\\") and "/" not in n and len(n) < 40)),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_any_folder_tree_is_read_or_fails_with_one_line(copies: Path, name: str, edits):
    with copied(copies / name) as root:
        for number, edit, word in edits:
            places = sorted(root.rglob("*"))
            if not places:
                break
            place = places[number % len(places)]
            if edit == "remove":
                shutil.rmtree(place) if place.is_dir() else place.unlink()
            elif edit == "empty" and place.is_file():
                place.write_bytes(b"")
            elif edit == "rename" and not (place.parent / word).exists():
                place.rename(place.parent / word)
            elif place.is_dir() and not (place / word).exists():
                (place / word).mkdir()
        read_or_one_line(COPIES[name][0], root)


@FAST
@given(flips=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_damaged_flow_store_is_whole_or_fails_with_one_line(flips):
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "s", make_clips(2, 2), size=8)
        good = load_flow_store(store)
        for path in (store / "flows-00000.parquet", store / "card.json"):
            whole = path.read_bytes()
            content = bytearray(whole)
            for place, value in flips:
                content[int(place * len(content))] = value
            path.write_bytes(content)
            found, message = good, "nothing was raised"
            try:
                found = load_flow_store(store)
            except DadnetError as error:
                message = str(error)
            assert len(message.splitlines()) == 1
            assert (found.flows == good.flows).all()
            assert list(found.clips["emotion"]) == list(good.clips["emotion"])
            path.write_bytes(whole)
