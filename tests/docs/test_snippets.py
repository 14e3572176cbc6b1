"""Every block of the documents runs, as it stands, on tiny data under the names that it uses.

A command of ours runs in this process. These flags are added, so that it takes a second:

- a run: one epoch without warm-up on flows of 32 pixels, in this process (`--workers 0`);
- a training of a teacher: one epoch, flows of 32 pixels; an ingest: 32 pixels, a quick flow;
- a search, a grid of ablations and a reproduction: `--dry-run`; a search has four outer groups, a
  reproduction two recipes;
- a run of the synthetic set: the flows and the teacher of the folder `demo`.

An ingest, and a training of a teacher, begins without the store or the file that it writes.
`DIGEST` is an experiment of the ledger, `/data` the folder of the small copy. What cannot run here
is in `CHECKED`: its files, flags and targets are looked up. Any other command is an error.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from orchestration import main as console
from orchestration.folds import cost
from orchestration.folds.flags import LOSO
from results.ledger.ledger import Ledger
from tests.build.documents import TINY_RUN, TINY_TEACHER, Block, commands_of, documents, write_world
from tests.build.source import ROOT, short

DOCUMENTS = documents()
# A block in one of these languages is not run; "": a picture in text, or what a command prints.
SHOWN = {"text": "", "": r"(?!(dadnet|python3?|pip|make|ray|git|sh) )", "bibtex": "@"}
DEMO = ("--flows", "demo/flows/synthetic", "--macro-weights", "demo/teacher.safetensors")
# Lines that a page says are printed.
PRINTED = {
    "docs/python.md": (
        "UF1 of small_net(width=12) minus MicroFlowNeXt",
        "epoch: expected one of the command's flags, got an unknown one; nearest: epochs",
    )
}
STATUS = {"doctor": 3}  # a small copy differs from the literature
ADDED: dict[str, Sequence[str]] = {
    "loso": TINY_RUN,
    "teacher": TINY_TEACHER,
    "ingest": ("--size", "32", "--flow", "farneback", "--workers", "0"),
    "tune": ("--dry-run", *TINY_RUN, "--outer-groups", "4"),
    "ablate": ("--dry-run", *TINY_RUN),
    "reproduce": ("--dry-run", "--recipes", "ststnet,majority"),
    "robustness": ("--workers", "0"),
}


def _has_target(*targets: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def _can_install(*words: str) -> None:
    flags = {"-c", "-e", "--index-url", "--quiet"}
    assert {word for word in words if word.startswith("-")} <= flags
    names = [word for word in words if word.endswith(".txt")]
    assert all((ROOT / name).is_file() for name in names)


def _can_submit(config: str, script: str, *words: str) -> None:
    assert "cluster_name" in yaml.safe_load((ROOT / config).read_text())
    assert (ROOT / script).is_file()
    LOSO.parse([word for word in words if word != "--"])


def _has_dashboard(config: str) -> None:
    assert "cluster_name" in yaml.safe_load((ROOT / config).read_text())


def _has_script(module: str, *words: str) -> None:
    assert find_spec(module) is not None
    sources = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    flags = [word.removeprefix("--") for word in words if word.startswith("--")]
    assert all(re.search(f'"(--)?{flag}"', sources) for flag in flags)


# Commands that cannot run here, or take minutes, and what is looked up instead.
CHECKED: dict[str, Callable[..., None]] = {
    "git clone": lambda *_: None,
    "cd dadnet-loso": lambda: None,
    "python3 -m venv": lambda *_: None,
    ". .venv/bin/activate": lambda: None,
    "pip install": _can_install,
    "make": _has_target,
    "ray submit": _can_submit,
    "ray dashboard": _has_dashboard,
    "dadnet demo": lambda *words: _parses("demo", words),  # run by test_wheel.py
}


def _parses(verb: str, words: Sequence[str]) -> None:
    import_module(f"orchestration.{verb}").DEMO.parse(words)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("documents") / "world"
    write_world(root)
    return root


@pytest.fixture
def world(prepared, tmp_path, monkeypatch) -> Path:
    """A copy of the data: what one document does, no other one sees."""
    root = tmp_path / "world"
    shutil.copytree(prepared, root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setattr(cost, "_TIMED_S", 0.0)  # `--dry-run` need not be exact
    return root


@pytest.mark.parametrize("document", DOCUMENTS, ids=short)
def test_every_block_runs(document, world, monkeypatch, capsys):
    main = type(sys)("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    for block in DOCUMENTS[document]:
        if block.language in SHOWN and re.match(SHOWN[block.language], block.text):
            continue
        if block.language == "python":
            _run_python(block, world, main)
        elif block.language == "yaml":
            [name] = yaml.safe_load(block.text)["name"].split()
            (world / f"{name}.yaml").write_text(block.text)
        else:
            assert block.language in ("", "sh"), block
            for words in commands_of(block.text):
                _run_command(words, world, str(block))
    printed = capsys.readouterr().out
    assert all(line in printed for line in PRINTED.get(short(document), ()))


def _run_python(block: Block, world: Path, main: object) -> None:
    """Run it in the namespace of its page, as the next lines of one script."""
    named = re.match(r"# (\w+\.py)\n", block.text)
    script = world / (named[1] if named else f"line{block.line}.py")
    script.write_text(block.text)
    main.__dict__["__file__"] = str(script)
    exec(compile(block.text, script, "exec"), main.__dict__)


def _run_command(words: list[str], world: Path, where: str) -> None:
    for prefix, check in CHECKED.items():
        number = len(prefix.split())
        if words[:number] == prefix.split():
            return check(*words[number:])
    if words[0] == "ls":
        subprocess.run(words, check=True)
    elif words[:2] == ["python", "-c"]:
        exec(words[2], {})
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        _has_script(*words[2:])
    else:
        verb, *rest = _verb_and_words(words, where)
        if verb in ("ingest", "teacher"):
            name = _value(rest, "--dataset", Path(_value(rest, "--index", "-")).stem)
            made = Path(_value(rest, "--out", f"flows/{name}"))
            shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)
        synthetic = verb in ("loso", "ablate") and not {"--flows", "--dataset"} & {*rest}
        added = [*ADDED.get(verb, ()), *(DEMO if synthetic else ())]
        status = console.main([verb, *_with_names(rest, world), *added])
        assert status == STATUS.get(verb, 0), f"{where}: {' '.join(words)}"
    return None


def _value(words: list[str], flag: str, default: str) -> str:
    return words[words.index(flag) + 1] if flag in words else default


def _verb_and_words(words: list[str], where: str) -> list[str]:
    if words[0] == "dadnet":
        return words[1:]
    module = words[2] if words[:2] == ["python", "-m"] else ""
    assert module.startswith("orchestration."), f"{where}: neither run nor checked: {words}"
    return [module.removeprefix("orchestration.").replace("run_loso", "loso"), *words[3:]]


def _with_names(words: list[str], world: Path) -> list[str]:
    """The words with the data of the world: its folder for `/data`, its experiments for DIGEST."""
    ledger = _value(words, "--ledger", "runs")
    datasets = {"--part": ("dfme",), "megc-log": ("megc2019",)}
    [wanted] = [datasets[word] for word in words if word in datasets] or [("mine", "synthetic")]
    found = [e for e in Ledger(world / ledger).experiments() if e.dataset in wanted]
    digests = (e.digest for e in sorted(found, key=lambda e: e.data_digest))
    return [
        next(digests) if word == "DIGEST" else re.sub(r"^/data\b", str(world / "data"), word)
        for word in (str(Path(word).expanduser()) if word[0] == "~" else word for word in words)
    ]
