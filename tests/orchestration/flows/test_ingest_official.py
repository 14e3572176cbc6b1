"""The ingest of official layouts: apex by flow, alignment, contact sheets, damage, resumption."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from dadnet.datasets.copies import write_copy
from dadnet.flow.clip import FlowOptions, make_clip_flow
from dadnet.flow.faces import POINT_COLUMNS, TEMPLATE
from dadnet.flow.store import load_flow_store, read_card
from orchestration import ingest


@pytest.fixture(scope="session")
def casme2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copies") / "casme2"
    write_copy("casme2", root, size=64)
    return root


@pytest.fixture
def own(casme2: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(casme2, tmp_path / "casme2")
    return tmp_path / "casme2"


def run(root: Path, out: Path, *words: str, dataset: str = "casme2") -> int:
    given = ["--dataset", dataset, "--root", str(root), "--out", str(out), "--size", "48"]
    return ingest.main([*given, "--flow", "farneback", "--workers", "0", *words])


def rejected(out: Path) -> dict[str, str]:
    return {r["clip_id"]: r["reason"] for r in read_card(out)["rejected"]}


def test_the_card_says_files_notes_and_reasons(casme2, tmp_path, capsys):
    assert run(casme2, tmp_path / "f", "--max-rejected", "3") == 0
    card = read_card(tmp_path / "f")
    assert card["source"]["files"] == ["CASME2-coding-20140508.xlsx"]
    assert "known corrections do not match" in card["source"]["notes"][0]
    assert len(card["rejected"]) == 3
    assert card["counts"]["clips"] + len(card["rejected"]) == 28
    out = capsys.readouterr().out
    assert "clips per second" in out
    assert out.count("  rejected casme2/") == 3


def test_an_unknown_apex_becomes_the_peak_of_the_flow(casme2, tmp_path):
    assert run(casme2, tmp_path / "f", "--apex", "flow-peak", "--max-rejected", "2") == 0
    store = load_flow_store(tmp_path / "f")
    row = store.clips.set_index("clip_id").loc["casme2/sub01/EP18_01"]
    # The copy's third frame has the apex; the annotation has "/".
    assert row["apex"] == row["onset"] + 2
    middle = tmp_path / "middle"
    assert run(casme2, middle, "--apex", "midpoint", "--max-rejected", "2") == 0
    assert load_flow_store(middle).digest == store.digest


def test_frames_are_read_once(casme2, tmp_path, monkeypatch):
    from dadnet.flow import clip as clip_flow

    real, read = clip_flow.decode_image, []
    monkeypatch.setattr(
        clip_flow, "decode_image", lambda p, **k: read.append(str(p)) or real(p, **k)
    )
    words = ["--apex", "flow-peak", "--max-rejected", "2", "--preview"]
    assert run(casme2, tmp_path / "f", *words) == 0
    assert len(read) == len(set(read))
    # two per clip, and five of the one whose apex was sought
    assert len(read) == 25 * 2 + 5


class TestPreview:
    def test_every_clip_is_on_a_sheet(self, casme2, tmp_path):
        assert run(casme2, tmp_path / "f", "--preview", "--max-rejected", "3") == 0
        folder = tmp_path / "f" / "preview"
        page = (folder / "index.html").read_text(encoding="utf-8")
        assert page.count("<figure>") == len(list(folder.glob("0*.png"))) == 5
        for row in read_card(tmp_path / "f")["rejected"]:
            assert row["clip_id"] in page
        for clip_id in load_flow_store(tmp_path / "f").clips["clip_id"]:
            assert clip_id in page
        assert all(cv2.imread(str(p)) is not None for p in folder.glob("*.png"))
        assert "http" not in page

    def test_a_store_that_is_there_gets_the_same_sheets(self, casme2, tmp_path):
        assert run(casme2, tmp_path / "a", "--preview", "--max-rejected", "3") == 0
        assert run(casme2, tmp_path / "b", "--max-rejected", "3") == 0
        assert not (tmp_path / "b" / "preview").exists()
        assert run(casme2, tmp_path / "b", "--preview", "--max-rejected", "3") == 0
        names = sorted(p.name for p in (tmp_path / "a" / "preview").iterdir())
        assert names == sorted(p.name for p in (tmp_path / "b" / "preview").iterdir())
        for name in names:
            if name.endswith(".png"):
                one, other = (cv2.imread(str(tmp_path / f / "preview" / name)) for f in "ab")
                # Stored flows are of half precision.
                assert np.abs(one.astype(int) - other).mean() < 0.5
        assert not (tmp_path / "b" / ".partial").exists()

    def test_a_name_cannot_leave_the_page_or_its_folder(self, tmp_path):
        rng = np.random.default_rng(0)
        np.save(tmp_path / "a.npy", rng.normal(size=(2, 32, 32)))
        evil = "../../<script>alert(1)</script>"
        (tmp_path / "own.csv").write_text(f"subject,label,flow_path\n{evil},negative,a.npy\n")
        words = ["--index", str(tmp_path / "own.csv"), "--dataset", "own", "--size", "32"]
        out = tmp_path / "deep" / "er" / "f"
        assert ingest.main([*words, "--out", str(out), "--preview", "--workers", "0"]) == 0
        page = (out / "preview" / "index.html").read_text(encoding="utf-8")
        assert "<script" not in page
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npy", "deep", "own.csv"]


class TestAlign:
    def points(self, path: Path, ids: list[str], scale: float = 1.0) -> Path:
        rows = [[i, *(TEMPLATE * 64 * scale).ravel().tolist()] for i in ids]
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows([["clip_id", *POINT_COLUMNS], *rows])
        return path

    def test_given_points_move_both_frames_by_the_onsets_similarity(self, casme2, tmp_path):
        assert run(casme2, tmp_path / "plain", "--max-rejected", "3") == 0
        ids = list(load_flow_store(tmp_path / "plain").clips["clip_id"])
        # Points that are where the template has them: the aligned frame is the resized one.
        words = ["--align", "landmarks", "--max-rejected", "5", "--landmarks"]
        at_place = self.points(tmp_path / "points.csv", ids[:-1])
        assert run(casme2, tmp_path / "aligned", *words, str(at_place)) == 0
        card = read_card(tmp_path / "aligned")
        assert card["parameters"]["align"].startswith("points:")
        assert rejected(tmp_path / "aligned")[ids[-1]] == "no landmarks in points.csv"
        # A face drawn half as large is enlarged, and so is its motion.
        half = self.points(tmp_path / "half.csv", ids, 0.5)
        assert run(casme2, tmp_path / "half", *words, str(half)) == 0
        at, twice = (load_flow_store(tmp_path / n) for n in ("aligned", "half"))
        assert at.digest != twice.digest
        assert np.abs(twice.flows[0]).max() > np.abs(at.flows[0]).max()

    def test_other_points_are_another_store(self, casme2, tmp_path, capsys):
        ids = ["casme2/sub01/EP02_01f"]
        words = ["--align", "landmarks", "--max-rejected", "99", "--landmarks"]
        first = self.points(tmp_path / "a.csv", ids)
        assert run(casme2, tmp_path / "f", *words, str(first)) == 0
        other = self.points(tmp_path / "b.csv", ids, 0.9)
        assert run(casme2, tmp_path / "f", *words, str(other)) == 2
        assert "holds another flow store" in capsys.readouterr().err

    def test_a_model_is_asked_once_per_clip_and_its_absence_of_a_face_is_a_reason(
        self, casme2, monkeypatch
    ):
        from dadnet.base.errors import DadnetError
        from dadnet.datasets.official.registry import read_dataset
        from dadnet.flow import clip as clip_flow

        row = read_dataset("casme2", casme2).clips.iloc[0].to_dict()
        options = FlowOptions("farneback", 64, None, "model:x")
        asked = []

        def landmarker(image):
            asked.append(image.shape)
            return TEMPLATE * 64

        monkeypatch.setattr(clip_flow, "load_landmarker", lambda path: landmarker)
        by_model = make_clip_flow(row, options, Path("m.task"))
        assert asked == [(64, 64, 3)]
        plain = make_clip_flow(row, FlowOptions("farneback", 64, None))
        # The grey of a colour image is rounded another way, so nearly the same.
        assert np.abs(by_model.onset_image.astype(int) - plain.onset_image).max() <= 2

        def no_face(image):
            raise DadnetError("no face was found in the onset frame")

        monkeypatch.setattr(clip_flow, "load_landmarker", lambda path: no_face)
        with pytest.raises(DadnetError, match="no face was found"):
            make_clip_flow(row, options, Path("m.task"))

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--align", "landmarks"], "expected either --landmarks FILE.csv or --landmark-model"),
            (["--landmarks", "p.csv"], "landmarks without --align"),
            (["--align", "landmarks", "--landmarks", "no.csv"], "no.csv cannot be read"),
            (["--align", "landmarks", "--landmark-model", "no.task"], "no such file: no.task"),
            (
                ["--align", "landmarks", "--landmarks", "p.csv", "--crop", "0,0,9,9"],
                "expected --crop or --align landmarks, got both",
            ),
        ],
    )
    def test_bad_requests_are_one_line(self, casme2, tmp_path, capsys, words, message):
        assert run(casme2, tmp_path / "f", *words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not (tmp_path / "f").exists()


def frames_of(root: Path, clip: str) -> list[Path]:
    return sorted((root / "CASME2_RAW_selected" / clip).glob("*.jpg"))


@pytest.mark.parametrize("keep", [0, 1, 100, -50])
def test_a_torn_frame_is_a_rejected_clip(own, tmp_path, capfd, keep):
    onset = frames_of(own, "sub01/EP02_01f")[0]
    onset.write_bytes(onset.read_bytes()[:keep])
    assert run(own, tmp_path / "f", "--max-rejected", "3") == 2
    out, error = capfd.readouterr()
    assert error.count("error: ") == 1
    assert "4 clips rejected" in error
    listed = f"rejected casme2/sub01/EP02_01f: frame cannot be decoded: {onset.name}"
    assert listed in [line.strip() for line in out.splitlines()]
    assert not (tmp_path / "f" / "card.json").exists()
    assert not (tmp_path / "f" / "preview").exists()


def test_a_mended_frame_is_read_again(own, tmp_path, capfd):
    onset = frames_of(own, "sub01/EP02_01f")[0]
    whole = onset.read_bytes()
    onset.write_bytes(b"torn")
    assert run(own, tmp_path / "f", "--max-rejected", "3") == 2
    onset.write_bytes(whole)
    assert run(own, tmp_path / "f", "--max-rejected", "3") == 0
    assert "going on: 4 of 5 chunks are there" in capfd.readouterr().out
    assert "casme2/sub01/EP02_01f" not in rejected(tmp_path / "f")


@pytest.mark.parametrize("at", [0.02, 0.5, 0.98])
def test_a_damaged_store_is_one_line(casme2, tmp_path, at):
    from dadnet.base.errors import DadnetError

    assert run(casme2, tmp_path / "f", "--max-rejected", "3") == 0
    path = tmp_path / "f" / "flows-00000.parquet"
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DadnetError, match="flow store") as caught:
        load_flow_store(tmp_path / "f")
    assert len(str(caught.value).splitlines()) == 1
