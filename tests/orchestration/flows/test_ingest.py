import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from dadnet.flow.clip import FlowOptions
from dadnet.flow.compute import compute_flow, decode_image, square
from dadnet.flow.store import FLOW_FILE, load_flow_store, read_card
from orchestration import ingest
from orchestration.flows import chunks as flows_module
from orchestration.flows.chunk import Chunk


def frame(path: Path, shift: float, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(0, 255, (64, 64)).astype(np.float32)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    moved = cv2.warpAffine(
        smooth, np.float32([[1, 0, shift], [0, 1, 0]]), (64, 64), borderMode=cv2.BORDER_REFLECT
    )
    cv2.imwrite(str(path), moved.astype(np.uint8))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Own table of 3 subjects x 4 clips with onset and apex frames."""
    rows = []
    for s in range(3):
        for c in range(4):
            stem = f"s{s}c{c}"
            frame(tmp_path / f"{stem}_1.png", 0.0, 10 * s + c)
            frame(tmp_path / f"{stem}_2.png", 1.0, 10 * s + c)
            label = ("negative", "positive", "surprise")[c % 3]
            rows.append((f"s{s}", label, f"{stem}_1.png", f"{stem}_2.png", stem))
    columns = ["subject", "label", "onset_path", "apex_path", "clip_id"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "own.csv", index=False)
    return tmp_path / "own.csv"


def run(table: Path, *words: str) -> int:
    out = table.parent / "flows"
    given = ["--index", str(table), "--dataset", "own", "--out", str(out), "--size", "32"]
    return ingest.main([*given, "--flow", "farneback", "--workers", "0", *words])


def test_the_store_holds_the_flow_of_every_clip(table):
    assert run(table) == 0
    store = load_flow_store(table.parent / "flows")
    assert store.clips["subject"].value_counts().to_dict() == {f"own/s{s}": 4 for s in range(3)}
    row = store.clips.iloc[5]
    name = row["clip_id"].rsplit("/", 1)[1]
    frames = [square(decode_image(table.parent / f"{name}_{k}.png"), 32, None) for k in (1, 2)]
    expected = compute_flow(*frames, method="farneback").astype(np.float16)
    np.testing.assert_array_equal(store.flows[5], expected)


def test_the_card_says_what_went_in(table):
    run(table)
    card = read_card(table.parent / "flows")
    assert card["counts"]["clips"] == 12
    assert card["counts"]["per_emotion"] == {"negative": 6, "positive": 3, "surprise": 3}
    assert card["parameters"]["method"] == "farneback"
    assert card["rejected"] == []


def test_given_again_it_is_recognised(table, capsys):
    run(table)
    before = (table.parent / "flows" / "card.json").stat().st_mtime_ns
    assert run(table) == 0
    assert "is complete: 12 clips" in capsys.readouterr().out
    assert (table.parent / "flows" / "card.json").stat().st_mtime_ns == before


def test_another_request_does_not_overwrite_a_store(table, capsys):
    run(table)
    assert run(table, "--crop", "0,0,32,32") == 2
    assert "holds another flow store" in capsys.readouterr().err


def test_an_interrupted_ingest_goes_on_and_equals_the_whole(table, monkeypatch, capsys):
    assert run(table) == 0
    whole = load_flow_store(table.parent / "flows")
    shutil.rmtree(table.parent / "flows")
    real, made = flows_module.make_chunk, []

    def interrupted(chunk):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(chunk.path)
        return real(chunk)

    monkeypatch.setattr(ingest, "make_chunk", interrupted)
    assert run(table) == 3
    assert "interrupted; what is finished is kept" in capsys.readouterr().err
    assert not (table.parent / "flows" / "card.json").exists()
    made[1].write_bytes(made[1].read_bytes()[:100])  # torn by the crash

    counted = []
    monkeypatch.setattr(ingest, "make_chunk", lambda c: counted.append(c) or real(c))
    capsys.readouterr()
    with pytest.warns(UserWarning, match="chunk 000001 set aside"):
        assert run(table) == 0
    assert "going on: 1 of 3 chunks are there" in capsys.readouterr().out
    assert len(counted) == 2
    again = load_flow_store(table.parent / "flows")
    assert again.digest == whole.digest
    np.testing.assert_array_equal(again.flows, whole.flows)
    assert not (table.parent / "flows" / ".partial").exists()


def plant(table: Path) -> None:
    """A corrupt frame, a missing one, equal frames, a NaN flow, a duplicate and a blank label."""
    folder = table.parent
    (folder / "s0c0_2.png").write_bytes(b"torn")
    (folder / "s0c1_2.png").unlink()
    shutil.copy(folder / "s0c2_1.png", folder / "s0c2_2.png")
    np.save(folder / "nan.npy", np.full((2, 32, 32), np.nan))
    clips = pd.read_csv(table, dtype=str)
    clips["flow_path"] = ""
    clips.loc[3, "flow_path"] = "nan.npy"
    clips.loc[4, "clip_id"] = clips.loc[5, "clip_id"]
    clips.loc[6, "label"] = ""
    clips.to_csv(table, index=False)


def test_every_bad_clip_is_rejected_with_its_reason(table):
    plant(table)
    assert run(table, "--max-rejected", "7") == 0
    card = read_card(table.parent / "flows")
    reasons = " | ".join(r["reason"] for r in card["rejected"])
    assert len(card["rejected"]) == 7
    assert card["counts"]["clips"] == 5
    for part in ("decoded", "no such file", "frames are equal", "not finite", "duplicate", "blank"):
        assert part in reasons, reasons


def test_too_many_rejections_stop_with_a_list(table, capsys):
    plant(table)
    assert run(table) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "rejected, --max-rejected allows 0" in error
    assert not (table.parent / "flows" / "card.json").exists()


def test_an_unknown_label_is_rejected(table, capsys):
    clips = pd.read_csv(table)
    clips.loc[2, "label"] = "puzzled"
    clips.to_csv(table, index=False)
    assert run(table) == 2
    assert "unknown label 'puzzled'" in capsys.readouterr().err


def test_given_flows_are_taken_in_both_layouts_and_resized(tmp_path):
    rng = np.random.default_rng(0)
    flow = rng.normal(size=(2, 64, 64)).astype(np.float32)
    np.save(tmp_path / "a.npy", flow)
    np.save(tmp_path / "b.npy", flow.transpose(1, 2, 0) * 2)
    rows = [("s1", "negative", "a.npy"), ("s2", "positive", "b.npy")]
    columns = ["subject", "label", "flow_path"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "own.csv", index=False)
    assert run(tmp_path / "own.csv") == 0
    flows = load_flow_store(tmp_path / "flows").flows.astype(np.float32)
    np.testing.assert_allclose(flows[1], 2 * flows[0], atol=2e-3)
    assert flows.std() < flow.std()


def test_a_pickle_in_a_flow_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "pwned",)

    np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    (tmp_path / "own.csv").write_text("subject,label,flow_path\ns1,negative,a.npy\n")
    assert run(tmp_path / "own.csv") == 2
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "casme9"], "expected one of casme2, casme3"),
        (["--dataset", "casme2"], "root: expected the folder of casme2"),
        (["--index", "/nowhere.csv"], "nowhere.csv"),
        (["--dataset", "casme2", "--columns", "subject=sub"], "--encoding with --index only"),
        (["--index", "a.csv", "--columns", "sub"], "columns: expected subject=HEADER"),
        (["--index", "a.csv", "--columns", "who=sub"], "columns: expected some of subject"),
        (["--index", "a.csv", "--labels", "0"], "a.csv cannot be read"),
        (["--dataset", "casme2", "--crop", "1,2"], "crop: expected left,top,width,height"),
        (["--dataset", "casme2", "--size", "4"], "size: expected at least 8"),
    ],
)
def test_bad_input_is_one_clear_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ingest.main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_ray_gives_the_same_stores_as_this_process_and_few_clips_need_none(table, tmp_path):
    assert run(table) == 0
    frames = ["--index", str(table), "--dataset", "own", "--flow", "farneback", "--size", "32"]
    rng = np.random.default_rng(0)
    rows = []
    for k in range(12):
        np.save(tmp_path / f"{k}.npy", rng.normal(size=(2, 16, 16)).astype(np.float32))
        rows.append((f"s{k % 3}", ("negative", "positive", "surprise")[k % 3], f"{k}.npy"))
    pd.DataFrame(rows, columns=["subject", "label", "flow_path"]).to_csv(tmp_path / "few.csv")
    few = ["--index", str(tmp_path / "few.csv"), "--dataset", "own", "--size", "16"]
    program = (
        "import sys, json; from orchestration import ingest\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    status = ingest.main(words)\n"
        "    print('ray' in sys.modules)\n"
        "    print('done', status, file=sys.stderr)\n"
    )
    stores = {}
    for name, more in {"here": [], "ray": ["--workers", "2"]}.items():
        commands = [[*few, "--out", str(tmp_path / name), *more]]
        if name == "ray":
            commands.append([*frames, "--out", str(tmp_path / "frames"), *more])
        done = subprocess.run(
            [sys.executable, "-c", program, json.dumps(commands)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == str(name == "ray")
        assert done.stderr.count("done 0\n") == len(commands), done.stderr
        # A status line of ours and, in these tests, one on tokens; none of Ray Data.
        lines = done.stderr.partition("done 0\n")[0].splitlines()
        known = (" ...", "Ray requires a token")
        assert not [line for line in lines if not line.endswith(known)]
        stores[name] = {
            path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())
        }
    assert stores["here"].keys() == {"card.json", FLOW_FILE}
    assert stores["here"] == stores["ray"]
    here, there = load_flow_store(table.parent / "flows"), load_flow_store(tmp_path / "frames")
    assert there.digest == here.digest
    np.testing.assert_array_equal(there.flows, here.flows)


@pytest.mark.parametrize(
    ("number", "method", "flow", "here"),
    [
        (199, "tvl1", "a.npy", True),
        (200, "tvl1", "a.npy", False),
        (1, "tvl1", "", True),
        (2, "tvl1", "", False),
        (39, "dis", "", True),
        (40, "dis", "", False),
    ],
)
def test_little_work_is_that_of_199_flow_files(tmp_path, number, method, flow, here):
    row = {"flow_path": flow, "apex": 3}
    chunk = Chunk(tmp_path, [row] * number, FlowOptions(method, 224, None))
    assert (ingest.work_of([chunk]) < ingest.LITTLE_WORK) == here
    assert ingest.work_of([replace(chunk, landmark_model=tmp_path)]) == math.inf


def test_chunks_hold_one_subject_each(table):
    index = ingest.read_index(ingest.IngestFlags(index=table, dataset="own"))
    options = flows_module.FlowOptions("dis", 32, None)
    chunks = ingest.make_chunks(index.clips, table.parent, options)
    assert [len({row["subject"] for row in chunk.rows}) for chunk in chunks] == [1, 1, 1]
    assert json.dumps(sorted(chunks[0].rows[0])) == json.dumps(sorted(index.clips.columns))
