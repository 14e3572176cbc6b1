from pathlib import Path

import pandas as pd
import pytest

from dadnet.base.errors import DadnetError
from dadnet.datasets.frames import FrameFolders, frame_number
from dadnet.datasets.index import INDEX_COLUMNS, ClipIndex, build_index, read_index_csv


def row(clip_id: str) -> dict[str, object]:
    known = {"clip_id": clip_id, "dataset": "d", "subject": "d/1", "onset": 1, "apex": 2}
    return dict.fromkeys(INDEX_COLUMNS, "") | known | {"offset": 3}


def write_csv(folder: Path, text: str, files: tuple[str, ...] = ()) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    path = folder / "My-Set.csv"
    path.write_text(text, encoding="utf-8")
    return path


class TestIndex:
    def test_every_row_of_a_duplicate_clip_is_rejected(self):
        checked = build_index([row("a"), row("b"), row("a")])
        assert list(checked.clips["clip_id"]) == ["b"]
        assert [r.clip_id for r in checked.rejected] == ["a", "a"]
        assert "2 rows" in checked.rejected[0].reason

    def test_columns_come_in_the_fixed_order(self):
        backwards = dict(reversed(row("a").items()))
        assert tuple(build_index([backwards]).clips.columns) == INDEX_COLUMNS

    def test_missing_and_unknown_columns_are_named(self):
        table = pd.DataFrame([row("a")]).rename(columns={"apex": "peak"})
        with pytest.raises(DadnetError, match=r"missing columns: apex; unknown columns: peak"):
            ClipIndex(table, ())

    def test_an_index_cannot_hold_a_clip_twice(self):
        with pytest.raises(DadnetError, match="given twice: a"):
            ClipIndex(pd.DataFrame([row("a"), row("a")]), ())


class TestReadIndexCsv:
    def test_flow_paths_are_relative_to_the_csv(self, tmp_path: Path):
        path = write_csv(tmp_path, "subject,label,flow_path\n006,Sad,f/x1.npy\n", ("f/x1.npy",))
        index = read_index_csv(path, dataset="samm")
        assert index.rejected == ()
        clip = index.clips.iloc[0]
        assert clip["clip_id"] == "samm/006/x1"
        assert clip["subject"] == "samm/006"
        assert clip["emotion"] == "sad"
        assert Path(clip["flow_path"]) == (tmp_path / "f/x1.npy").resolve()
        assert (clip["onset"], clip["apex"], clip["offset"]) == (-1, -1, -1)

    def test_frame_paths_give_the_frame_numbers(self, tmp_path: Path):
        files = ("v/img3.jpg", "v/img9.jpg", "v/img20.jpg", "v/img31.jpg")
        text = "subject,label,onset_path,apex_path\n1,happy,{},{}\n1,sad,{},{}\n".format(*files)
        index = read_index_csv(write_csv(tmp_path, text, files))
        assert list(index.clips["clip_id"]) == ["my-set/1/v@3", "my-set/1/v@20"]
        assert list(index.clips["apex"]) == [9, 31]

    def test_optional_columns_are_taken(self, tmp_path: Path):
        text = (
            "dataset,clip_id,part,subject,label,flow_path\n"
            "dfme,dfme/s1/c1,train,s1,Fear,a.npy\ndfme,c2,testA,s1,NA,a.npy\n"
        )
        clips = read_index_csv(write_csv(tmp_path, text, ("a.npy",))).clips
        assert list(clips["clip_id"]) == ["dfme/s1/c1", "dfme/s1/c2"]
        assert list(clips["part"]) == ["train", "testA"]
        assert list(clips["emotion"]) == ["fear", "na"]

    def test_bad_rows_are_rejected_with_reasons(self, tmp_path: Path):
        text = (
            "subject,label,flow_path\n1,sad,gone.npy\n,sad,a.npy\n1,,a.npy\n1,sad,\n1,sad,a.npy\n"
        )
        index = read_index_csv(write_csv(tmp_path, text, ("a.npy",)))
        assert len(index.clips) == 1
        reasons = " | ".join(r.reason for r in index.rejected)
        assert len(index.rejected) == 4
        assert "no such file" in reasons
        assert "subject is blank" in reasons
        assert "label is blank" in reasons
        assert "onset_path is blank" in reasons
        assert "line 2" in index.rejected[0].clip_id

    @pytest.mark.parametrize(
        "header", ["subject,label", "subject,flow_path", "subject,label,onset_path"]
    )
    def test_missing_columns_are_named(self, tmp_path: Path, header: str):
        with pytest.raises(DadnetError, match="expected the columns subject, label and either"):
            read_index_csv(write_csv(tmp_path, header + "\n"))

    def test_a_contradictory_dataset_is_refused(self, tmp_path: Path):
        text = "dataset,subject,label,flow_path\nsamm,1,sad,a.npy\n"
        with pytest.raises(DadnetError, match="dataset is casme3 but the file names samm"):
            read_index_csv(write_csv(tmp_path, text), dataset="casme3")

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b'a,b\n"'])
    def test_a_file_that_is_no_csv_is_one_line(self, tmp_path: Path, content: bytes):
        path = tmp_path / "x.csv"
        path.write_bytes(content)
        with pytest.raises(DadnetError) as caught:
            read_index_csv(path)
        assert len(str(caught.value).splitlines()) == 1

    def test_a_missing_csv_is_a_user_error(self, tmp_path: Path):
        with pytest.raises(DadnetError, match="cannot be read"):
            read_index_csv(tmp_path / "none.csv")


class TestFrames:
    @pytest.mark.parametrize(
        ("name", "number"),
        [
            ("img46.jpg", 46),
            ("reg_img46.JPG", 46),
            ("006_05562.jpg", 5562),
            ("image000123.bmp", 123),
            ("00000.png", 0),
            (".img1.jpg", None),
            ("._img1.jpg", None),
            ("Thumbs.db", None),
            ("Desktop 1 - Shortcut.lnk", None),
            ("cover.jpg", None),
        ],
    )
    def test_the_last_integer_is_the_number(self, name: str, number: int | None):
        assert frame_number(Path("s2/v3") / name) == number

    def test_frames_are_in_the_order_of_their_numbers(self, tmp_path: Path):
        for name in ("img10.png", "img9.png", "img100.jpeg", "Thumbs.db", "img1.jpg.lnk"):
            (tmp_path / name).touch()
        assert sorted(FrameFolders().frames(tmp_path)) == [9, 10, 100]
        assert FrameFolders().find(tmp_path, 100).name == "img100.jpeg"

    def test_a_missing_frame_says_what_there_is(self, tmp_path: Path):
        (tmp_path / "img5.png").touch()
        with pytest.raises(DadnetError, match=r"no frame 4 .* it has 5 to 5"):
            FrameFolders().find(tmp_path, 4)
        with pytest.raises(DadnetError, match="none cannot be listed"):
            FrameFolders().find(tmp_path / "none", 4)

    def test_two_files_of_one_number_are_not_guessed(self, tmp_path: Path):
        for name in ("img5.png", "reg_img5.png"):
            (tmp_path / name).touch()
        with pytest.raises(DadnetError, match="several files are frame 5"):
            FrameFolders().find(tmp_path, 5)

    def test_folders_are_found_in_any_case_and_below_others(self, tmp_path: Path):
        (tmp_path / "spNO.1" / "A" / "color").mkdir(parents=True)
        (tmp_path / ".hidden").mkdir()
        folders = FrameFolders()
        assert folders.below(tmp_path, ("SPno.1", "a", "Color")) == tmp_path / "spNO.1/A/color"
        assert folders.below(tmp_path, ("spNO.2", "a")) is None
        assert folders.named(tmp_path, "COLOR") == [tmp_path / "spNO.1/A/color"]
        assert sorted(folders.children(tmp_path)) == ["spno.1"]
