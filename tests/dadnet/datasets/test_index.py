from pathlib import Path

import pandas as pd
import pytest

from dadnet.base.errors import DadnetError
from dadnet.datasets.frames import FrameFolders, frame_number
from dadnet.datasets.index import INDEX_COLUMNS, ClipIndex, build_index


def row(clip_id: str) -> dict[str, object]:
    known = {"clip_id": clip_id, "dataset": "d", "subject": "d/1", "onset": 1, "apex": 2}
    return dict.fromkeys(INDEX_COLUMNS, "") | known | {"offset": 3}


class TestIndex:
    def test_every_row_of_a_duplicate_clip_is_rejected(self):
        checked = build_index([row("a"), row("b"), row("a")])
        assert list(checked.clips["clip_id"]) == ["b"]
        assert [r.clip_id for r in checked.rejected] == ["a", "a"]
        assert "2 rows" in checked.rejected[0].reason

    def test_names_get_one_unicode_form(self):
        accent = "d/Rene\N{COMBINING ACUTE ACCENT}\u200b "
        checked = build_index([row(f"{accent}/c") | {"subject": accent}])
        assert checked.clips.loc[0, "subject"] == "d/Ren\N{LATIN SMALL LETTER E WITH ACUTE}"
        composed = [row("d/\u00e9"), row("d/e\N{COMBINING ACUTE ACCENT}")]
        assert [r.clip_id for r in build_index(composed).rejected] == ["d/\u00e9"] * 2

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
