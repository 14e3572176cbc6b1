"""Own tables, read as people have them."""

import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import xlwt
from openpyxl import Workbook, load_workbook
from openpyxl.styles import Font

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


HEADER = ("subject", "label", "flow_path")
ROWS = (HEADER, ("s1", "sad", "a.npy"), ("s2", "happy", "a.npy"))


def workbook(folder: Path, *sheets: tuple[tuple[object, ...], ...], merged: str = "") -> Path:
    book = Workbook()
    assert book.active is not None
    book.remove(book.active)
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(f"Sheet{number}")
        for row in rows:
            sheet.append(list(row))
        if merged:
            sheet.merge_cells(merged)
    (folder / "a.npy").touch()
    book.save(folder / "own.xlsx")
    return folder / "own.xlsx"


class TestWorkbook:
    def test_a_header_below_notes_and_thousands_of_blank_rows_are_read(self, tmp_path: Path):
        path = workbook(tmp_path, (("Notes", "of 2020"), (), *ROWS))
        book = load_workbook(path)
        book.active["A9000"].font = Font(bold=True)
        book.save(path)
        assert list(read(path).clips["subject"]) == ["own/s1", "own/s2"]

    def test_two_sheets_of_clips_are_not_read_half(self, tmp_path: Path):
        with pytest.raises(DadnetError, match="expected one sheet with clips, got Sheet0, Sheet1"):
            read(workbook(tmp_path, ROWS, ROWS))
        assert len(read(workbook(tmp_path, ROWS, (("a", "note"),))).clips) == 2

    def test_merged_subjects_are_read_as_they_are_shown(self, tmp_path: Path):
        rows = (HEADER, ("s1", "sad", "a.npy"), (None, "happy", "b.npy"), ("s2", "sad", "a.npy"))
        (tmp_path / "b.npy").touch()
        index = read(workbook(tmp_path, rows, merged="A2:A3"))
        assert list(index.clips["subject"]) == ["own/s1", "own/s1", "own/s2"]
        assert index.rejected == ()
        index = read(workbook(tmp_path, rows))
        assert index.rejected[0].reason == "subject is blank"
        assert index.rejected[0].clip_id == "own: row 3 of own.xlsx"

    @pytest.mark.parametrize(
        ("cell", "reason"),
        [
            ('="s"&1', 'subject: the formula ="s"&1 has no stored value'),
            ("#N/A", "subject: the cell shows the error #N/A"),
            (datetime(2020, 2, 1), "subject: got the date 2020-02-01"),
            ("s\ufffd1", "was damaged by a wrong encoding"),
            (None, "subject is blank"),
        ],
    )
    def test_a_damaged_cell_is_told(self, tmp_path: Path, cell: object, reason: str):
        index = read(workbook(tmp_path, (*ROWS, (cell, "sad", "a.npy"))))
        assert len(index.clips) == 2
        assert reason in index.rejected[0].reason

    def test_numbers_are_names_without_a_point_and_truth_values_stay_words(self, tmp_path: Path):
        clips = read(workbook(tmp_path, (HEADER, (12.0, True, "a.npy"), (7, "1.0", "a.npy")))).clips
        assert list(clips["subject"]) == ["own/12", "own/7"]
        assert list(clips["emotion"]) == ["true", "1"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("content.xml", "is an OpenDocument table"),
            ("xl/workbook.bin", "is a binary workbook"),
            ("Index/Document.iwa", "is a table of Numbers"),
            ("photo.jpg", "is an archive, not a table"),
            (b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"), "protected by a pass"),
            (b"<html><table></table></html>", "is a web page or XML"),
            (b"\x00\x01\x02\x00\xff" * 9, "zero bytes"),
            (b" \n\n", "it is empty"),
            (b"subject,label,flow_path\n", "the table has no rows"),
            (b"PK\x03\x04 torn", "cannot be read as .xlsx or .xls"),
        ],
    )
    def test_files_of_another_kind_are_named(self, tmp_path: Path, content, message: str):
        path = tmp_path / "own.xlsx"
        if isinstance(content, str):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(content, "")
        else:
            path.write_bytes(content)
        with pytest.raises(DadnetError, match=message) as caught:
            read(path)
        assert len(str(caught.value).splitlines()) == 1

    def test_an_old_workbook_is_read_with_its_merged_cells(self, tmp_path: Path):
        book = xlwt.Workbook()
        sheet = book.add_sheet("a")
        for y, row in enumerate((HEADER, ("", "sad", "a.npy"), ("", "happy", "b.npy"))):
            for x, cell in enumerate(row):
                if cell:
                    sheet.write(y, x, cell)
        sheet.write_merge(1, 2, 0, 0, 4)
        book.save(str(tmp_path / "own.xls"))
        (tmp_path / "a.npy").touch()
        (tmp_path / "b.npy").touch()
        assert list(read(tmp_path / "own.xls").clips["subject"]) == ["own/4", "own/4"]


class TestColumns:
    def test_other_names_count_only_where_ours_are_missing(self, tmp_path: Path):
        text = "subject,label,flow_path,emotion,clip\n1,sad,a.npy,happy,x\n"
        index = read(write_csv(tmp_path, text, ("a.npy",)))
        assert index.clips[["clip_id", "emotion"]].to_numpy().tolist() == [["my-set/1/a", "sad"]]
        assert index.notes == ("the column clip is not used; --columns clip_id=clip would use it",)
        text = "Participant ID,Estimated Emotion,Flow-File,clip\n1,sad,a.npy,x\n"
        index = read(write_csv(tmp_path, text, ("a.npy",)))
        assert list(index.clips["clip_id"]) == ["my-set/1/x"]

    @pytest.mark.parametrize(
        ("header", "columns", "message"),
        [
            ("subject,label,label,flow_path", {}, "a column is given twice: label; --columns"),
            ("sub,class,emotion,flow", {}, "a column is given twice: label; --columns label="),
            ("a,b,c", {"subject": "who"}, "--columns names who, which the table lacks; found a"),
            ("a,b,c", {}, "expected the columns subject, label and either"),
        ],
    )
    def test_columns_are_not_guessed(self, tmp_path: Path, header: str, columns, message: str):
        path = write_csv(tmp_path, f"{header}\n1,sad,a.npy,x\n", ("a.npy",))
        with pytest.raises(DadnetError, match=message):
            read(path, columns=columns)

    def test_cells_beyond_the_header_and_lost_quotation_marks_are_told(self, tmp_path: Path):
        text = 'subject,label,flow_path\n1,sad,a.npy,5\n2,"sad\n3",a.npy\n4,sad\n'
        index = read(write_csv(tmp_path, text, ("a.npy",)))
        assert index.clips.empty
        reasons = [r.reason for r in index.rejected]
        assert reasons[0].startswith("expected 3 cells as in the header, got 1 more")
        assert reasons[1].startswith("label: got a line break")
        assert reasons[2] == "onset_path is blank"
        assert [r.clip_id.split(": ")[1].split()[1] for r in index.rejected] == ["2", "3", "5"]

    @pytest.mark.parametrize(
        ("first", "second"),
        [("1", "01"), ("s1", "S1"), ("1", "1.0"), ("s 1", "s\u00a01 "), ("s1", "\uff53\uff11"),
         ("sub01_2", "sub1_02")],
    )  # fmt: skip
    def test_one_person_under_two_names_is_refused(self, tmp_path: Path, first: str, second: str):
        text = f"subject,label,flow_path\n{first},sad,a.npy\n{second},happy,b.npy\n"
        path = write_csv(tmp_path, text, ("a.npy", "b.npy"))
        if " ".join(first.split()) == " ".join(second.split()):
            assert read(path).clips["subject"].nunique() == 1
            return
        with pytest.raises(DadnetError, match="may be one person; expected one way of writing"):
            read(path)

    @pytest.mark.parametrize(("first", "second"), [("1", "10"), ("s1", "s11"), ("a1b", "a1c")])
    def test_different_persons_stay_apart(self, tmp_path: Path, first: str, second: str):
        text = f"subject,label,flow_path\n{first},sad,a.npy\n{second},happy,a.npy\n"
        assert read(write_csv(tmp_path, text, ("a.npy",))).clips["subject"].nunique() == 2
