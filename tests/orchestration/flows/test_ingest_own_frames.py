"""The checks of the frames of own tables: order, apex, sizes; several events of one video."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dadnet.flow.store import load_flow_store, read_card
from orchestration.ingest import main
from tests.build.own_tables import (
    ingest_table,
    store_of,
    write_text,
    write_video,
    write_videos,
    write_xlsx,
)

HEADER = ("subject", "label", "onset_path", "apex_path")
NUMBERED = (*HEADER, "onset", "apex", "offset")
IMG = "frames/0/img{}.jpg"


def reasons(table: Path) -> str:
    return " | ".join(r["reason"] for r in read_card(table.parent / "store")["rejected"])


def row(onset: int, apex: int | str, *numbers: object, subject: str = "s0") -> tuple[object, ...]:
    path = IMG.format(apex) if isinstance(apex, int) else apex
    return (subject, "negative", IMG.format(onset), path, *numbers)


@pytest.mark.parametrize(
    ("header", "bad", "reason"),
    [
        (HEADER, row(5, 1), "the apex 1 is not after the onset 5"),
        (HEADER, row(5, 5), "onset and apex are the same frame"),
        (NUMBERED, row(1, 5, 9, 5, 20), "the apex 5 is not after the onset 9"),
        (NUMBERED, row(1, 5, 1, 5, 3), "the apex 5 is not after the onset 1 and up to"),
        (NUMBERED, row(1, 9, "", "", 5), "the apex 9 is not after the onset 1 and up"),
        (NUMBERED, row(5, 9, 5, 9, 1), "the offset 1 is not after the onset 5"),
        (NUMBERED, row(1, 5, "x", 5, 9), "onset: expected a frame number, got 'x'"),
        (NUMBERED, row(1, 5, 1, "soon", 9), "the apex ? is not after the onset 1"),
        (NUMBERED, row(1, "", 1, "", 9), "the apex is unknown; --apex midpoint would"),
        (HEADER, row(1, ""), "apex_path is blank"),
    ],
)  # fmt: skip
def test_frames_out_of_order_are_rejected_with_the_reason(tmp_path: Path, header, bad, reason):
    write_videos(tmp_path, 1)
    good = row(1, 5, *(1, 5, 9)[: len(header) - 4], subject="good")
    table = write_text(tmp_path / "own.csv", [header, good, bad])
    assert ingest_table(table, "--max-rejected", "1") == 0
    assert reasons(table).startswith(reason)
    assert list(store_of(table).clips["subject"]) == ["own/good"]


@pytest.mark.parametrize(("rule", "apex"), [("midpoint", 5), ("flow-peak", 5)])
@pytest.mark.parametrize(
    "bad",
    [row(1, 1, 1, 1, 9), row(1, 9, 1, 12, 9), row(1, "", 1, "/", 9), row(1, 9, 1, 1, 9),
     row(1, "", 1, "", "9,0"), row(1, 1, "", "", 9)],
)  # fmt: skip
def test_an_apex_that_cannot_be_used_follows_the_rule_and_is_listed(
    tmp_path: Path, capsys, rule: str, apex: int, bad
):
    write_videos(tmp_path, 1)
    table = write_text(tmp_path / "own.csv", [NUMBERED, bad], ";")
    assert ingest_table(table, "--apex", rule) == 0
    clip = store_of(table).clips.iloc[0]
    assert clip["onset"] < clip["apex"] <= clip["offset"] == 9
    assert clip["apex"] == apex
    out = capsys.readouterr().out
    if bad[3] or bad[5] not in ("", "/"):
        assert f"note: 1 clip: the annotated apex cannot be used: {rule}: own: line 2" in out
    else:
        assert f"note: 1 clip: the apex is not annotated: {rule}" in out


def test_frames_of_other_videos_in_the_folder_are_not_taken(tmp_path: Path):
    for seed, name in enumerate(("a{}.jpg", "b{}.jpg")):
        write_video(tmp_path / "frames", (1, 9) if seed else (1, 4, 9), seed, name)
    write_video(tmp_path / "frames", (5,), 1, "c{}.jpg")
    paths = ("s0", "negative", "frames/a1.jpg", "")
    table = write_text(tmp_path / "own.csv", [NUMBERED, (*paths, 1, "", 9)])
    assert ingest_table(table, "--apex", "midpoint") == 0
    assert store_of(table).clips["apex"].tolist() == [4]
    assert ingest_table(table, "--apex", "flow-peak", out=tmp_path / "peak") == 0
    assert load_flow_store(tmp_path / "peak").clips["apex"].tolist() in ([4], [9])


def test_names_that_do_not_number_one_video_have_no_order(tmp_path: Path):
    """``onset/s1.jpg`` and ``apex/s1.jpg``: the 1 is the subject."""
    write_video(tmp_path / "onset", (1,), name="s{}.jpg")
    write_video(tmp_path / "apex", (4,), name="s{}.jpg")
    (tmp_path / "apex" / "s4.jpg").rename(tmp_path / "apex" / "s1.jpg")
    listed = [HEADER, ("s1", "negative", "onset/s1.jpg", "apex/s1.jpg")]
    table = write_text(tmp_path / "own.csv", listed)
    assert ingest_table(table) == 0
    assert store_of(table).clips[["onset", "apex"]].to_numpy().tolist() == [[-1, -1]]


def test_frames_of_two_sizes_are_rejected(tmp_path: Path):
    write_videos(tmp_path, 2)
    cv2.imwrite(str(tmp_path / "frames/0/img5.jpg"), np.full((60, 40), 90, np.uint8))
    listed = [HEADER, row(1, 5), ("s1", "negative", "frames/1/img1.jpg", "frames/1/img5.jpg")]
    table = write_text(tmp_path / "own.csv", listed)
    assert ingest_table(table, "--max-rejected", "1") == 0
    assert reasons(table) == "frames differ in size: onset 48 x 48, later 40 x 60"


def test_a_flow_that_leaves_its_field_and_numbers_out_of_order_are_rejected(tmp_path: Path):
    np.save(tmp_path / "far.npy", np.full((2, 32, 32), 90.5))
    np.save(tmp_path / "fine.npy", np.random.default_rng(0).normal(size=(2, 32, 32)))
    listed = [
        ("subject", "label", "flow_path", "onset", "apex"),
        ("s0", "negative", "fine.npy", 1, 5),
        ("s1", "negative", "far.npy", 1, 5),
        ("s2", "negative", "fine.npy", 5, 1),
    ]
    table = write_text(tmp_path / "own.csv", listed)
    assert ingest_table(table, "--max-rejected", "2", "--apex", "midpoint") == 0
    assert list(store_of(table).clips["subject"]) == ["own/s0"]
    assert "moves up to 128 pixels in a field of 32 x 32" in reasons(table)
    assert "the apex 1 is not after the onset 5; a flow from a file cannot be made" in reasons(
        table
    )


def test_several_events_of_one_video_are_clips_of_their_own(tmp_path: Path, capsys):
    write_video(tmp_path / "v", (1, 5, 9, 13, 17))
    listed = [
        ("subject", "label", "clip_id", "folder", "onset", "apex", "offset"),
        ("s0", "negative", "EP02", "v", 1, 5, 9),
        ("s0", "positive", "EP02", "v", 9, 13, 17),
        ("s0", "positive", "EP03", "v", 5, 13, 17),
    ]
    table = write_xlsx(tmp_path / "own.xlsx", listed)
    assert ingest_table(table) == 0
    assert sorted(store_of(table).clips["clip_id"]) == [
        "own/s0/EP02@1", "own/s0/EP02@9", "own/s0/EP03",
    ]  # fmt: skip
    assert "note: 2 clips: one of several events of a video" in capsys.readouterr().out


def test_two_rows_of_one_event_are_told(tmp_path: Path, capsys):
    write_videos(tmp_path, 1)
    table = write_text(tmp_path / "own.csv", [HEADER, row(1, 5), row(1, 5)])
    assert ingest_table(table) == 2
    expected = "own/s0/0@1 and 1 like it: duplicate clip: 2 rows have this id"
    assert expected in capsys.readouterr().err


def film(path: Path) -> None:
    """A video of ten frames, counted from 0."""
    write_video(path.parent / "shots", range(10))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (48, 48))
    for number in range(10):
        writer.write(cv2.imread(str(path.parent / "shots" / f"img{number}.jpg")))
    writer.release()


@pytest.mark.parametrize(
    ("column", "blank"),
    [
        ("onset_path", "onset: expected the number of a frame of clip.avi, got none"),
        ("folder", "onset_path is blank"),
    ],
)
def test_frames_of_a_video_are_named_by_their_numbers(tmp_path: Path, column: str, blank: str):
    film(tmp_path / "clip.avi")
    listed = [
        ("subject", "label", column, "onset", "apex", "offset"),
        ("s0", "negative", "clip.avi", 1, 4, 9),
        ("s1", "negative", "clip.avi", 1, "", 9),
        ("s2", "negative", "clip.avi", 5, 4, 9),
        ("s3", "negative", "clip.avi", 5, 4, 3),
        ("s4", "negative", "clip.avi", "", 4, 9),
        ("s5", "negative", "clip.avi", 1, 40, ""),
    ]
    table = write_text(tmp_path / "own.csv", listed)
    assert ingest_table(table, "--max-rejected", "3", "--apex", "midpoint") == 0
    clips = store_of(table).clips
    assert clips[["subject", "onset", "apex"]].to_numpy().tolist() == [
        ["own/s0", 1, 4], ["own/s1", 1, 5], ["own/s2", 5, 7],
    ]  # fmt: skip
    assert "the offset 3 is not after the onset 5" in reasons(table)
    assert blank in reasons(table)
    assert "no frame 40 in clip.avi" in reasons(table)


def test_the_frames_of_a_clip_are_of_one_video(tmp_path: Path, capsys):
    film(tmp_path / "clip.avi")
    listed = [(*HEADER, "onset", "apex"), ("s0", "negative", "clip.avi", "shots/img4.jpg", 1, 4)]
    assert ingest_table(write_text(tmp_path / "own.csv", listed)) == 2
    assert "expected all frames in one video" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "..", ".hidden", "a\\b", "a\x07", "a\u202eb", "a,b"]
)
def test_a_dataset_name_cannot_lead_the_store_elsewhere(tmp_path, monkeypatch, name, capsys):
    (inside := tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(inside)
    np.save("flow.npy", np.zeros((2, 8, 8), np.float32))
    table = [["subject", "label", "flow_path"], ["s1", "happiness", "flow.npy"]]
    write_text(inside / "mine.csv", table)
    words = ["--index", "mine.csv", "--size", "8", "--workers", "0"]
    assert main([*words, "--dataset", name]) == 2
    assert "dataset: expected a plain name" in capsys.readouterr().err
    quoted = f'"{name}"' if "," in name else name
    write_text(inside / "mine.csv", [[*table[0], "dataset"], [*table[1], quoted]])
    assert main(words) == 2
    assert "dataset: " in capsys.readouterr().err
    made = {path.relative_to(tmp_path).parts[:3] for path in tmp_path.rglob("*")}
    assert made <= {("a",), ("a", "b"), *(("a", "b", n) for n in ("flow.npy", "mine.csv", "flows"))}
