"""`ingest --flow-backend torch`: the same clips, close flows, a store of its own."""

import shutil

import numpy as np
import pytest

from dadnet.flow.store import load_flow_store, read_card
from orchestration import ingest
from tests.build.flows import write_frames


@pytest.fixture
def words(tmp_path):
    """Flags of an ingest of four clips, of which one has two equal frames."""
    lines = ["subject,label,onset_path,apex_path"]
    for number in range(4):
        onset, apex = write_frames(tmp_path / f"clip{number}", seed=number)
        if number == 3:
            shutil.copy(onset, apex)
        lines.append(f"s{number % 2},happiness,{onset},{apex}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    return [
        "--index", str(tmp_path / "clips.csv"), "--dataset", "mine", "--size", "48",
        "--max-rejected", "1",
    ]  # fmt: skip


def test_the_flows_are_close_to_those_of_opencv_and_the_card_says_so(words, tmp_path):
    made = {}
    for backend in ("opencv", "torch"):
        out = ["--out", str(tmp_path / backend), "--flow-backend", backend]
        more = ["--workers", "0"] if backend == "opencv" else []
        assert ingest.main([*words, *out, *more]) == 0
        made[backend] = load_flow_store(tmp_path / backend)
    assert list(made["torch"].clips["clip_id"]) == list(made["opencv"].clips["clip_id"])
    assert len(made["torch"].clips) == 3
    error = made["torch"].flows.astype(float) - made["opencv"].flows.astype(float)
    assert np.median(np.linalg.norm(error, axis=1)) <= 0.05
    parameters = read_card(tmp_path / "torch")["parameters"]
    assert parameters["method"] == "tvl1-torch"
    assert "at most 0.05 pixels" in parameters["against_opencv"]
    assert parameters["tvl1"] == read_card(tmp_path / "opencv")["parameters"]["tvl1"]
    assert "against_opencv" not in read_card(tmp_path / "opencv")["parameters"]
    rejected = [read_card(tmp_path / backend)["rejected"] for backend in made]
    assert rejected[0] == rejected[1]
    assert "frames are equal" in rejected[0][0]["reason"]


def test_it_is_for_tvl1_in_this_process(words, tmp_path, capsys):
    for more in (["--flow", "dis"], ["--workers", "2"]):
        out = ["--out", str(tmp_path / "out"), "--flow-backend", "torch", *more]
        assert ingest.main([*words, *out]) == 2
        assert (
            "flow_backend torch: expected --flow tvl1 and no --workers" in capsys.readouterr().err
        )
    assert not (tmp_path / "out").exists()
