"""Own tables as people have them, through the real commands."""

from pathlib import Path

import pytest

from dadnet.flow.store import read_card
from orchestration import run_loso
from tests.build.own_tables import (
    WORDS,
    ingest_table,
    store_of,
    write_text,
    write_video,
    write_videos,
    write_xlsx,
)

HEADER = ("subject", "label", "onset_path", "apex_path")
RUN = ("--input-size", "32", "--model-type", "majority", "--workers", "0")


def run(ledger: Path, *words: str) -> int:
    return run_loso.main([*words, *RUN, "--ledger", str(ledger)])


def rows(root: Path, labels: tuple[object, ...], number: int = 6) -> list[tuple[object, ...]]:
    paths = write_videos(root, number)
    return [HEADER, *((f"s{k}", labels[k % len(labels)], *paths[k]) for k in range(number))]


def test_integer_labels_are_translated(tmp_path: Path, capsys):
    table = write_text(tmp_path / "own.csv", rows(tmp_path, (0, 1, 2)))
    assert ingest_table(table) == 2
    error = capsys.readouterr().err
    assert "unknown label '0', '1', '2' (--labels WORD=KNOWN,... translates" in error
    assert "--labels WORD=KNOWN,... translates, --labels own keeps" in error
    assert ingest_table(table, "--labels", "0=negative,1=positive,2=surprise") == 0
    assert read_card(tmp_path / "store")["counts"]["per_emotion"] == dict.fromkeys(WORDS, 2)
    words = ["--dataset", "own", "--flows", str(tmp_path / "store")]
    assert run(tmp_path / "runs", *words) == 0
    assert "6 clips (negative 2, positive 2, surprise 2)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("0", "labels: expected WORD=MEANING,... or own, got '0'"),
        ("0=", "labels: expected WORD=MEANING"),
        ("0=negative,0.0=positive", "0 is given twice: negative and positive"),
        ("0=negative,1=positive", "unknown label '2'"),
    ],
)
def test_a_wrong_translation_is_one_line(tmp_path: Path, capsys, labels: str, message: str):
    table = write_text(tmp_path / "own.csv", rows(tmp_path, (0, 1, 2)))
    assert ingest_table(table, "--labels", labels) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "store" / "card.json").exists()


@pytest.mark.parametrize("dataset", ["casme2", "samm", "smic", "casme3", "dfme", "fourdme", "mine"])
def test_the_words_of_three_classes_are_accepted_for_every_dataset(tmp_path: Path, dataset: str):
    table = write_text(tmp_path / "own.csv", rows(tmp_path, WORDS))
    assert ingest_table(table, "--dataset", dataset) == 0
    assert run(tmp_path / "runs", "--dataset", dataset, "--flows", str(tmp_path / "store")) == 0


@pytest.mark.parametrize("labels", [("tense", "Smile"), ("紧张", "微笑"), ("0", "1.0")])
def test_the_words_of_the_table_become_the_classes(tmp_path: Path, capsys, labels):
    table = write_text(tmp_path / "own.csv", rows(tmp_path, labels))
    assert ingest_table(table, "--labels", "own") == 0
    words = ["--dataset", "own", "--flows", str(tmp_path / "store"), "--class-set", "own"]
    assert run(tmp_path / "runs", *words) == 0
    names = sorted(label.lower().removesuffix(".0") for label in labels)
    assert f"6 clips ({names[0]} 3, {names[1]} 3)" in capsys.readouterr().out


MOOD = "classes:\n  tense: [紧张, stressed]\n  smile: smile\ndropped: [other]\n"


def test_a_class_set_of_a_file_is_part_of_the_experiment(tmp_path: Path, capsys):
    labels = ("紧张", "smile", "stressed", "smile", "other", "stressed")
    table = write_text(tmp_path / "own.csv", rows(tmp_path, labels))
    assert ingest_table(table, "--labels", "own") == 0
    (tmp_path / "mood.yaml").write_text(MOOD, encoding="utf-8")
    words = ["--dataset", "own", "--flows", str(tmp_path / "store"), "--class-set"]
    capsys.readouterr()
    assert run(tmp_path / "runs", *words, str(tmp_path / "mood.yaml")) == 0
    first = capsys.readouterr().out
    assert "loso, mood, selection" in first
    assert "5 clips (tense 3, smile 2); the class set drops other 1" in first
    # The file may move; another content is another experiment.
    (tmp_path / "mood.yaml").rename(tmp_path / "elsewhere.yml")
    text = f"name: mood\n{MOOD}"
    (tmp_path / "elsewhere.yml").write_text(text, encoding="utf-8")
    assert run(tmp_path / "runs", *words, str(tmp_path / "elsewhere.yml")) == 0
    again = capsys.readouterr().out
    assert again.splitlines()[0] == first.splitlines()[0]
    assert "5 of 5 folds are in" in again
    text = MOOD.replace("smile: smile", "smile: [smile, other]").replace("dropped: [other]", "")
    (tmp_path / "mood.yaml").write_text(text, encoding="utf-8")
    assert run(tmp_path / "runs", *words, str(tmp_path / "mood.yaml")) == 0
    third = capsys.readouterr().out
    assert third.splitlines()[0] != first.splitlines()[0]
    assert "6 clips (tense 3, smile 3)" in third


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("classes: {a: x}", "expected two or more classes"),
        ("classes: {a: x, b: x}", "a word has two places: x"),
        ("classes: {no: x, b: y}", "YAML reads yes and no as truth values"),
        ("classes: {a: x, b: y}\nname: 3class", "3class is the name of another one"),
        ("classes: {a: x, none: y}", "a class may not be none"),
        ("classes: [", "expected YAML or JSON"),
        ("words", "expected classes:"),
        ("classes: {a: x, b: y}\nmapping: 1", "got also mapping"),
    ],
)
def test_a_wrong_class_set_is_one_line(tmp_path: Path, capsys, content: str, message: str):
    table = write_text(tmp_path / "own.csv", rows(tmp_path, WORDS))
    assert ingest_table(table) == 0
    (tmp_path / "mine.yaml").write_text(content)
    words = ["--dataset", "own", "--flows", str(tmp_path / "store"), "--class-set"]
    capsys.readouterr()
    assert run(tmp_path / "runs", *words, str(tmp_path / "mine.yaml")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


PUBLIC = (
    "data", "sub", "clip", "emotion", "onset_frame", "apex_frame", "offset_frame",
    "onset_frame_path", "apex_frame_path", "offset_frame_path",
)  # fmt: skip


def public_rows(root: Path) -> list[tuple[object, ...]]:
    """A public list: three datasets, other names of columns, paths below a data folder."""
    listed: list[tuple[object, ...]] = [PUBLIC]
    for seed, name in enumerate(("CASME II", "samm", "SMIC")):
        for k in range(6):
            folder = f"{name}/s{k}"
            write_video(root / folder, (1, 5, 9), seed=10 * seed + k)
            paths = [f"{folder}/img{n}.jpg" for n in (1, 5, 9)]
            listed.append((name, f"{k % 2 + 1:02d}", f"clip{k}", WORDS[k % 3], 1, 5, 9, *paths))
    return listed


@pytest.mark.parametrize("kind", ["csv", "xlsx", "semicolon", "columns"])
def test_one_table_of_several_datasets_becomes_a_composite(tmp_path: Path, capsys, kind: str):
    data = tmp_path / "data"
    listed = public_rows(data)
    words: list[str] = ["--root", str(data), "--dataset", "megc2019"]
    if kind == "columns":
        listed[0] = ("set", "who", *listed[0][2:])
        words += ["--columns", "dataset=set,subject=Who"]
    if kind == "xlsx":
        table = write_xlsx(tmp_path / "list.xlsx", listed)
    else:
        table = write_text(tmp_path / "list.csv", listed, ";" if kind == "semicolon" else ",")
    assert ingest_table(table, *words) == 0
    out = capsys.readouterr().out
    assert "3 datasets: run them together by --dataset megc2019 --protocol cde --flows" in out
    assert "note: 6 clips: the dataset CASME II is read as casme2" in out
    folders = sorted(path.name for path in (tmp_path / "store").iterdir())
    assert folders == ["casme2", "samm", "smic"]
    flows = ["--flows", str(tmp_path / "store"), "--protocol", "cde"]
    assert run(tmp_path / "runs", "--dataset", "megc2019", *flows) == 0
    out = capsys.readouterr().out
    assert "majority class, megc2019, cde, 3class" in out
    assert "audit passed: 6 folds, 6 subjects, 18 clips" in out
    assert run(tmp_path / "runs", "--dataset", "another", *flows) == 2
    assert "dataset: expected casme2+samm+smic or megc2019" in capsys.readouterr().err
    assert ingest_table(table, *words) == 0
    assert capsys.readouterr().out.count("is complete: 6 clips") == 3


def test_a_composite_may_have_any_datasets_and_any_name(tmp_path: Path):
    listed = public_rows(tmp_path)
    mine = [tuple({"samm": "lab A", "SMIC": "lab B"}.get(str(c), c) for c in row) for row in listed]
    table = write_text(tmp_path / "list.csv", mine)
    assert ingest_table(table, "--dataset", "megc2019", out=tmp_path / "mine") == 0
    flows = ["--flows", str(tmp_path / "mine"), "--protocol", "cde"]
    assert run(tmp_path / "runs", "--dataset", "megc2019", *flows) == 0
    assert ingest_table(table, "--dataset", "lab A", out=tmp_path / "no") == 2


def test_rows_of_a_dataset_without_any_clip_are_listed(tmp_path: Path, capsys):
    listed = public_rows(tmp_path)
    gone = [(*row[:7], "gone.jpg", *row[8:]) if row[0] == "SMIC" else row for row in listed]
    table = write_text(tmp_path / "list.csv", gone)
    assert ingest_table(table, "--max-rejected", "6") == 0
    cards = [read_card(path) for path in sorted((tmp_path / "store").iterdir())]
    assert [card["counts"]["clips"] for card in cards] == [6, 6]
    assert [len(card["rejected"]) for card in cards] == [6, 0]
    assert capsys.readouterr().out.count("rejected smic/clip") == 6


def test_the_rejected_clips_of_all_datasets_count_together(tmp_path: Path, capsys):
    table = write_text(tmp_path / "list.csv", public_rows(tmp_path))
    for name in ("CASME II", "SMIC"):
        (tmp_path / name / "s0" / "img5.jpg").write_bytes(b"torn")
    assert ingest_table(table, "--max-rejected", "1") == 2
    assert "2 clips rejected, --max-rejected allows 1" in capsys.readouterr().err
    assert ingest_table(table, "--max-rejected", "2") == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_encodings_and_separators_are_seen_in_the_content(tmp_path: Path, encoding, separator):
    listed = [(f"受试{row[0]}" if k else row[0], *row[1:])
              for k, row in enumerate(rows(tmp_path, WORDS, 3))]  # fmt: skip
    text = "\r\n".join(separator.join(map(str, row)) for row in listed)
    (tmp_path / "own.csv").write_bytes(text.encode(encoding))
    assert ingest_table(tmp_path / "own.csv") == 0
    assert sorted(store_of(tmp_path / "own.csv").clips["subject"]) == [
        f"own/受试s{k}" for k in range(3)
    ]


def test_gbk_is_named_and_read_when_it_is_asked_for(tmp_path: Path, capsys):
    listed = rows(tmp_path, WORDS, 3)
    (tmp_path / "frames").rename(tmp_path / "图像")
    text = "\n".join(",".join(map(str, row)) for row in listed).replace("frames", "图像")
    (tmp_path / "own.csv").write_bytes(text.encode("gbk"))
    assert ingest_table(tmp_path / "own.csv") == 2
    error = capsys.readouterr().err
    assert "own.csv is not in UTF-8; it looks like GBK: save it as CSV in UTF-8, or" in error
    assert ingest_table(tmp_path / "own.csv", "--encoding", "klingon") == 2
    assert ingest_table(tmp_path / "own.csv", "--encoding", "gbk") == 0
    (tmp_path / "latin.csv").write_bytes("subject,label\nJosé,negative\n".encode("latin-1"))
    assert ingest_table(tmp_path / "latin.csv") == 2
    assert "it looks like Windows-1252 or Latin-1" in capsys.readouterr().err


def test_paths_of_windows_and_of_the_home_folder_are_found(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = write_videos(tmp_path, 3)
    listed = [
        HEADER,
        ("s0", "negative", "~/frames/0/img1.jpg", "~/frames/0/img5.jpg"),
        ("s1", "negative", "frames\\1\\img1.jpg", '"frames\\1\\img5.jpg"'),
        ("s2", "negative", *paths[2]),
    ]
    table = write_xlsx(tmp_path / "own.xlsx", listed)
    assert ingest_table(table) == 0
    assert len(store_of(table).clips) == 3
