"""Own tables, read as people have them."""

from pathlib import Path
from typing import Any

import pytest

from dadnet.base.errors import DadnetError
from dadnet.datasets.index import ClipIndex
from dadnet.datasets.own_table import OwnTable, read_own_table


def read(path: Path, **options: Any) -> ClipIndex:
    return read_own_table(OwnTable(path, **options))


def write_csv(folder: Path, text: str, files: tuple[str, ...] = ()) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    path = folder / "My-Set.csv"
    path.write_text(text, encoding="utf-8")
    return path


class TestTable:
    def test_flow_paths_are_relative_to_the_csv(self, tmp_path: Path):
        path = write_csv(tmp_path, "subject,label,flow_path\n006,Sad,f/x1.npy\n", ("f/x1.npy",))
        index = read(path, dataset="samm")
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
        index = read(write_csv(tmp_path, text, files))
        assert list(index.clips["clip_id"]) == ["my-set/1/v@3", "my-set/1/v@20"]
        assert list(index.clips["apex"]) == [9, 31]

    def test_optional_columns_are_taken(self, tmp_path: Path):
        text = (
            "dataset,clip_id,part,subject,label,flow_path\n"
            "dfme,dfme/s1/c1,train,s1,Fear,a.npy\ndfme,c2,testA,s1,NA,a.npy\n"
        )
        clips = read(write_csv(tmp_path, text, ("a.npy",))).clips
        assert list(clips["clip_id"]) == ["dfme/s1/c1", "dfme/s1/c2"]
        assert list(clips["part"]) == ["train", "testA"]
        assert list(clips["emotion"]) == ["fear", "na"]

    def test_bad_rows_are_rejected_with_reasons(self, tmp_path: Path):
        text = (
            "subject,label,flow_path\n1,sad,gone.npy\n,sad,a.npy\n1,,a.npy\n1,sad,\n1,sad,a.npy\n"
        )
        index = read(write_csv(tmp_path, text, ("a.npy",)))
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
            read(write_csv(tmp_path, header + "\n"))

    def test_a_contradictory_dataset_is_refused(self, tmp_path: Path):
        text = "dataset,subject,label,flow_path\nsamm,1,sad,a.npy\n"
        with pytest.raises(DadnetError, match="dataset is casme3 but the file names samm"):
            read(write_csv(tmp_path, text), dataset="casme3")

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b'a,b\n"'])
    def test_a_file_that_is_no_csv_is_one_line(self, tmp_path: Path, content: bytes):
        path = tmp_path / "x.csv"
        path.write_bytes(content)
        with pytest.raises(DadnetError) as caught:
            read(path)
        assert len(str(caught.value).splitlines()) == 1

    def test_a_missing_csv_is_a_user_error(self, tmp_path: Path):
        with pytest.raises(DadnetError, match="cannot be read"):
            read(tmp_path / "none.csv")
