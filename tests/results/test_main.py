import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from results.__main__ import main

GOOD = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}


def board_of(ledger, out, *more: str) -> list[str]:
    return ["leaderboard", "--ledger", str(ledger.root), "--out", str(out), *more]


def one_error(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


def test_leaderboard_writes_the_site_and_prints_the_table(ledger, fill, tmp_path, capsys):
    fill(GOOD)
    assert main(board_of(ledger, tmp_path / "site")) == 0
    captured = capsys.readouterr()
    assert "0.822 [" in captured.out
    assert f"wrote {tmp_path / 'site' / 'index.html'} and 7 more" in captured.out
    assert captured.err == ""


def test_formats_and_dataset(ledger, fill, tmp_path):
    fill(GOOD, dataset="one")
    fill(GOOD, dataset="two")
    assert main(board_of(ledger, tmp_path, "--dataset", "two", "--format", "csv,markdown")) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "two.csv", "two.md"}


def test_an_incomplete_experiment_gives_status_3(ledger, fill, tmp_path, capsys):
    fill(GOOD, without=["b"])
    assert main(board_of(ledger, tmp_path / "site")) == 3
    assert "2/3" in capsys.readouterr().out


def test_damage_gives_one_warning_line_and_status_3(ledger, fill, tmp_path, capsys):
    fill(GOOD, method="whole")
    experiment = fill(GOOD, method="damaged")
    ledger.fold_path(experiment, "b").write_text("{")
    assert main(board_of(ledger, tmp_path / "site")) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: damaged ")


def test_records_without_an_experiment_give_status_3(ledger, fill, tmp_path, capsys):
    fill(GOOD, method="whole")
    experiment = fill(GOOD, method="orphan")
    (ledger.folder(experiment) / "experiment.json").unlink()
    assert main(board_of(ledger, tmp_path / "site")) == 3
    assert "records without an experiment.json" in capsys.readouterr().err


def test_import_then_leaderboard(published_log, ledger, tmp_path, capsys):
    arguments = ["import", str(published_log), "--method", "STSTNet", "--dataset", "megc2019"]
    arguments += ["--protocol", "cde", "--ledger", str(ledger.root)]
    for _ in range(2):
        assert main(arguments) == 0
        assert "442 clips of 68 subjects" in capsys.readouterr().out
    assert main(board_of(ledger, tmp_path / "site")) == 0
    assert "0.721 [0.6" in capsys.readouterr().out
    assert main([*arguments, "--classes", "negative,positive"]) == 2
    assert "label as one of negative, positive" in one_error(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["leaderboard", "--nonsense"],
        ["leaderboard", "--ledger", "/nowhere"],
        ["leaderboard", "--format", "pdf", "--ledger", "LEDGER"],
        ["leaderboard", "--dataset", "none", "--ledger", "LEDGER"],
        ["leaderboard", "--out", "/dev/null/site", "--ledger", "LEDGER"],
        ["leaderboard", "--run-pages", "-1", "--ledger", "LEDGER"],
        ["leaderboard", "--protocol", "cde", "--ledger", "LEDGER"],
        ["run", "0000", "--ledger", "LEDGER"],
        ["leaderboard", "--columns", "method,nonsense", "--ledger", "LEDGER"],
        ["leaderboard", "--columns", "uf1,uf1", "--ledger", "LEDGER"],
        ["runs", "--ledger", "/nowhere"],
        ["rename", "0000", "x", "--ledger", "LEDGER"],
        ["rename", "DIGEST", "two\nlines", "--ledger", "LEDGER"],
        ["rm", "DIGEST", "--ledger", "LEDGER"],
        ["du", "--ledger", "/nowhere"],
        ["predictions", "DIGEST", "--experiment", "DIGEST", "--ledger", "LEDGER"],
        ["compare", "0000", "1111", "--ledger", "LEDGER"],
        ["leaklab", "--labels", "none.csv", "--ledger", "LEDGER"],
        ["leaklab", "--k", "1,x", "--ledger", "LEDGER"],
        ["figures"],
        ["figures", "none.html"],
        ["figures", "none.html", "--format", "gif"],
        ["leaklab", "--k", "0", "--ledger", "LEDGER"],
        ["pack", "0000", "--ledger", "LEDGER", "--out", "x.zip"],
        ["verify", "none.zip"],
        ["merge", "none.zip", "--ledger", "LEDGER"],
        ["track", "DIGEST", "--ledger", "LEDGER"],
        ["import", "none.csv"],
        ["import", "none.csv", "--method", "x", "--dataset", "x", "--protocol", "loso"],
        ["import", "none.csv", "--method", "x", "--dataset", "x", "--protocol", "holdout"],
    ],
)
def test_bad_input_gives_one_line_and_status_2(ledger, fill, capsys, arguments):
    words = {"LEDGER": str(ledger.root), "DIGEST": fill(GOOD).digest}
    filled = [words.get(word, word) for word in arguments]
    assert main(filled) == 2
    one_error(capsys)


def test_flags_are_frozen(capsys):
    for command, flags in {
        "leaderboard": "--ledger --out --dataset --protocol --class-set --format --run-pages "
        "--flows --rebuild --columns --standalone",
        "run": "--ledger --out --flows --standalone",
        "compare": "--ledger --out --flows --standalone",
        "leaklab": "--ledger --labels --k --repeats --out --standalone",
        "figures": "--out --format",
        "import": "--method --dataset --protocol --class-set --selection --classes --format "
        "--labels --ledger",
        "pack": "--ledger --out --sign",
        "verify": "--rerun --seed --signer",
        "merge": "--ledger",
        "track": "--ledger --tensorboard --mlflow --follow",
        "predictions": "--experiment --format --part --out --ledger",
        "runs": "--ledger --dataset",
        "rename": "--ledger",
        "rm": "--ledger --yes",
        "du": "--ledger",
    }.items():
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        text = capsys.readouterr().out
        found = set(re.findall(r"--[a-z][a-z-]*", text))
        assert found == {*flags.split(), "--help"}


def test_results_runs_without_torch_and_ray(ledger, fill, tmp_path):
    fill(GOOD)
    program = (
        "import sys; from results.__main__ import main; status = main(sys.argv[1:]); "
        "assert not {'torch', 'ray'} & sys.modules.keys(); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *board_of(ledger, tmp_path / "site")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
