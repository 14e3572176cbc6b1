"""Official tables with what real ones have: odd units, merged cells, CSV, GBK, an unusable apex."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from dadnet import doctor
from dadnet.flow.store import load_flow_store, read_card
from orchestration import ingest, run_loso
from tests.build.own_tables import FAST, write_text, write_video, write_xlsx

CASME2 = (
    "Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units",
    "Estimated Emotion",
)  # fmt: skip
SAMM = (
    "Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame",
    "Duration", "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes",
)  # fmt: skip
UNITS = ("1", "2", "4", "7", "12", "14", "15", "17", "1+2")
NAME = "CASME2-coding-20140508.xlsx"
# As the real tables have them; the units of the class set that are certain.
ODD = {
    "4+AD38": "4", "10A/B+2": "2", "A/L12": "12", "4+M58": "4", "R14+17+soft focus": "14+17",
    "23+AD31+7": "7", "ref(24)+12A": "12",
}  # fmt: skip
UNCERTAIN = ("?", "ref(24)", "AD38")


def casme2_rows(root: Path, units: Sequence[str], subjects: int = 4) -> list[tuple[object, ...]]:
    """A small CASME II with these units in turn, six clips per subject."""
    emotions = ("disgust", "repression", "happiness", "surprise")
    listed: list[tuple[object, ...]] = [CASME2]
    for k in range(6 * subjects):
        subject, onset = k // 6 + 1, 46 + 20 * (k % 6)
        name = f"EP02_{k % 6 + 1:02d}f"
        folder = root / "CASME2_RAW_selected" / f"sub{subject:02d}" / name
        write_video(folder, (onset, onset + 2, onset + 4), seed=k)
        unit, emotion = units[k % len(units)], emotions[k % len(emotions)]
        frames = (onset, onset + 2, onset + 4)
        listed.append((subject, name, None, *frames, None, unit, emotion))
    return listed


def ingested(root: Path, *words: str) -> int:
    given = ["--dataset", "casme2", "--root", str(root), "--out", str(root / "store")]
    return ingest.main([*given, *FAST, *words])


def run(root: Path, *words: str) -> int:
    given = ["--dataset", "casme2", "--flows", str(root / "store"), "--ledger", str(root / "runs")]
    given += ["--model-type", "majority", "--input-size", "32", "--workers", "0"]
    return run_loso.main([*given, *words])


def test_units_are_read_where_they_are_certain_and_doctor_and_run_agree(tmp_path: Path, capsys):
    units = (*UNITS, *ODD, *UNCERTAIN, "")
    listed = casme2_rows(tmp_path, units, 5)
    write_xlsx(tmp_path / NAME, listed)
    assert ingested(tmp_path) == 0
    assert run(tmp_path, "--class-set", "action-units") == 0
    out = capsys.readouterr().out
    # 30 clips: the 20 texts once, the first ten again; three uncertain ones and a blank are out.
    clips = 30 - len(UNCERTAIN) - 1
    assert f"\n{clips} clips (" in out
    assert "; the class set drops no certain unit 3, no unit coded 1" in out
    unsure = "casme2/sub03/EP02_05f '?', casme2/sub03/EP02_06f 'ref(24)', casme2/sub04/EP02_01f"
    assert f"no certain unit: {unsure} 'AD38'" in out
    counts = dict.fromkeys((1, 2, 4, 7, 12, 14, 15, 17), 0)
    for text in [units[k % len(units)] for k in range(30)]:
        for unit in ODD.get(text, "" if text in UNCERTAIN else text).split("+"):
            if unit:
                counts[int(unit)] += 1
    shown = ", ".join(f"AU{unit} {number}" for unit, number in counts.items())
    assert f"({shown})" in out
    assert doctor.main(["--dataset", "casme2", "--root", str(tmp_path)]) == 3
    [line] = [x for x in capsys.readouterr().out.splitlines() if "class set action-units " in x]
    assert f"{clips} of 5 subjects: {shown} (3 clips without a certain unit: {unsure}" in line


def test_merged_subjects_are_read_as_excel_shows_them(tmp_path: Path):
    listed = casme2_rows(tmp_path, UNITS)
    shown = [(row[0] if k % 6 == 1 or k == 0 else None, *row[1:]) for k, row in enumerate(listed)]
    merged = [f"A{2 + 6 * k}:A{7 + 6 * k}" for k in range(4)]
    write_xlsx(tmp_path / NAME, shown, merged)
    assert ingested(tmp_path) == 0
    subjects = read_card(tmp_path / "store")["counts"]["per_subject"]
    assert subjects == {f"casme2/sub{k:02d}": 6 for k in range(1, 5)}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_an_official_list_may_be_csv(tmp_path: Path, capsys, separator: str):
    root = tmp_path / "casme2"
    table = write_text(tmp_path / "list.csv", casme2_rows(root, UNITS), separator)
    assert ingested(root, "--annotation", str(table)) == 0
    assert read_card(root / "store")["counts"]["clips"] == 24
    table.write_bytes(table.read_text().replace("disgust", "厌恶").encode("gbk"))
    capsys.readouterr()
    assert ingested(root, "--annotation", str(table)) == 2
    assert "it looks like GBK" in capsys.readouterr().err


def test_an_annotated_apex_that_cannot_be_used_follows_the_rule(tmp_path: Path, capsys):
    listed = casme2_rows(tmp_path, UNITS)
    listed[1] = (*listed[1][:4], 46, *listed[1][5:])
    write_xlsx(tmp_path / NAME, listed)
    assert ingested(tmp_path) == 2
    assert "the apex 46 is not after the onset 46 and up to" in capsys.readouterr().err
    assert ingested(tmp_path, "--apex", "midpoint") == 0
    assert "1 clip: the annotated apex cannot be used: midpoint: casme2/sub01/EP02_01f" in (
        capsys.readouterr().out
    )
    assert load_flow_store(tmp_path / "store").clips["apex"].iloc[0] == 48
    # The literature counts without such clips.
    assert doctor.main(["--dataset", "casme2", "--root", str(tmp_path)]) == 3
    assert "the apex 46 is not after the onset 46" in capsys.readouterr().out


def test_the_complete_table_of_samm_is_right(tmp_path: Path, capsys):
    counts = {"Anger": 57, "Happiness": 26, "Surprise": 15, "Contempt": 12, "Disgust": 9,
              "Fear": 8, "Sadness": 6}  # fmt: skip
    emotions = [emotion for emotion, number in counts.items() for _ in range(number)]
    people = [(101 + k % 28, emotion) for k, emotion in enumerate(emotions)]
    people += [(129, "Other")] * 26
    listed: list[tuple[object, ...]] = [SAMM]
    write_video(tmp_path / "one", (100,), name="{}.jpg")
    frame = (tmp_path / "one" / "100.jpg").read_bytes()
    for k, (subject, emotion) in enumerate(people):
        name = f"{subject}_{k}_1"
        folder = tmp_path / "SAMM" / str(subject) / name
        folder.mkdir(parents=True)
        for number in (100, 110, 120):
            (folder / f"{subject}_{number:05d}.jpg").write_bytes(frame)
        frames = (100, 110, 120, 21)
        listed.append((subject, name, 1, *frames, "Micro - 1/2", "4", emotion, 1, None))
    write_xlsx(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", listed)
    assert doctor.main(["--dataset", "samm", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "all as in the literature" in out
    assert "29; literature: 29" in out
    assert "4 of 4 known corrections are not needed: these rows are right" in out
