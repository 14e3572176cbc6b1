"""From a copy of each dataset to its leaderboard, one command per step."""

from pathlib import Path

import pytest

from dadnet import doctor
from dadnet.datasets.copies import COPIES
from dadnet.datasets.copies.__main__ import main as write_copies
from orchestration import ingest, run_loso, teacher
from results.__main__ import main as results
from results.ledger.ledger import Ledger

# Copy -> clips of the three classes, clips that may be rejected, protocol, folds.
CHAINS = {
    "casme2": (20, 2, "loso", 5),
    "casme3": (24, 3, "loso", 4),
    "casme3-clips": (12, 3, "loso", 4),
    "casme3c": (12, 1, "loso", 4),
    "fourdme": (12, 1, "loso", 4),
    "dfme": (29, 1, "official", 1),
    "samm": (22, 0, "loso", 6),  # the apex of one clip is useless: its midpoint, as --apex says
    "smic": (12, 2, "loso", 4),
    "smic-videos": (12, 2, "loso", 4),
    "ckplus": (28, 1, "group-kfold", 2),
}
SMALL = ("--input-size", "32", "--epochs", "1", "--warmup-epochs", "0", "--batch-size", "8")


def make_flows(tmp: Path, name: str, rejected: int) -> Path:
    """Write the copy, let the doctor see it, and ingest it."""
    dataset, root, out = COPIES[name][0], tmp / "data" / name, tmp / "flows" / name
    assert write_copies(["--out", str(tmp / "data"), "--copy", name, "--size", "48"]) == 0
    assert doctor.main(["--dataset", dataset, "--root", str(root)]) == doctor.DIFFERS
    words = ["--dataset", dataset, "--root", str(root), "--out", str(out), "--size", "32"]
    words += ["--apex", "midpoint", "--flow", "farneback", "--workers", "0"]
    assert ingest.main([*words, "--max-rejected", str(rejected)]) == 0
    return out


# Two of them with every change, all of them in CI.
_OFTEN = ("casme2", "dfme")


@pytest.mark.parametrize(
    "name", [n if n in _OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in CHAINS]
)
def test_a_copy_goes_all_the_way_to_the_leaderboard(name: str, tmp_path: Path, capsys):
    clips, rejected, protocol, folds = CHAINS[name]
    dataset, ledger = COPIES[name][0], tmp_path / "runs"
    flows = make_flows(tmp_path, name, rejected)
    words = [
        "--dataset",
        dataset,
        "--flows",
        str(flows),
        "--ledger",
        str(ledger),
        *SMALL,
        "--workers",
        "0",
    ]
    words += ["--protocol", protocol, "--num-folds", "2", "--model-type", "baseline"]
    assert run_loso.main([*words, "--stack", "4"]) == 0
    [experiment] = Ledger(ledger).experiments()
    assert len(experiment.folds) == folds
    scored = [p for r in Ledger(ledger).records(experiment) for p in r.predictions]
    tested = clips if protocol != "official" else 14
    assert len(scored) == len({p.clip_id for p in scored}) == tested
    assert results(["leaderboard", "--ledger", str(ledger), "--out", str(tmp_path / "site")]) == 0
    assert (tmp_path / "site" / f"{dataset}.html").exists()
    table = capsys.readouterr().out
    if protocol == "official":
        assert "testA part" in table
        assert "testB part" in table
    else:
        log = ["predictions", "--ledger", str(ledger), "--format", "megc-log"]
        assert results(log) == (0 if protocol == "loso" else 2)


def test_a_teacher_of_ckplus_serves_a_run_of_samm(tmp_path: Path):
    macro, micro = (make_flows(tmp_path, name, 1) for name in ("ckplus", "samm"))
    weights = tmp_path / "teacher.safetensors"
    words = ["--dataset", "ckplus", "--flows", str(macro), "--out", str(weights)]
    assert (
        teacher.main([*words, "--input-size", "32", "--epochs", "1", "--warmup-epochs", "0"]) == 0
    )
    ledger = tmp_path / "runs"
    words = [
        "--dataset",
        "samm",
        "--flows",
        str(micro),
        "--ledger",
        str(ledger),
        *SMALL,
        "--workers",
        "0",
    ]
    assert run_loso.main([*words, "--macro-weights", str(weights), "--num-projections", "4"]) == 0
    [experiment] = Ledger(ledger).experiments()
    assert experiment.teacher_digest
    assert Ledger(ledger).missing(experiment) == ()


def test_a_run_without_a_class_in_the_set_says_which_sets_there_are(tmp_path: Path, capsys):
    flows = make_flows(tmp_path, "smic", 2)
    words = ["--dataset", "smic", "--flows", str(flows), *SMALL, "--model-type", "baseline"]
    words += ["--workers", "0"]
    assert run_loso.main([*words, "--class-set", "5class", "--ledger", str(tmp_path / "r")]) == 2
    assert "available: 3class, 3class-megc, 4class, 7class" in capsys.readouterr().err
