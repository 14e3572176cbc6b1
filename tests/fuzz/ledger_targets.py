"""Targets of the ledger: records, experiments, studies, logs, claims, bundles, imports."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from dadnet.base.boundary import run_command
from dadnet.base.object_client import RETRY_ENV, open_store
from orchestration.folds.claims import Claims
from orchestration.main import main as dadnet
from results.exchange.bundle import MANIFEST
from results.leaderboard.names import put_name
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment
from results.ledger.sealed import seal
from results.ledger.studies import StudyLedger
from tests.build.records import GOOD, build_experiment, build_record, build_study
from tests.fuzz.mutations import WORDS, changes, flips, spoil_bytes, spoil_json, to_text
from tests.fuzz.running import Target

OWNER = "there-1-abcdef"


def small_ledger(root: Path) -> Experiment:
    """A ledger with one experiment, a search and a log."""
    ledger, experiment = Ledger(root), build_experiment(GOOD)
    ledger.open(experiment)
    for fold, clips in GOOD.items():
        host = {
            "started_at": "2026-01-01T00:00:00+00:00",
            "seconds": 1.5,
            "worker": "w",
            "tries": 1,
        }
        host["versions"] = {"dadnet-loso": "1", "torch": fold}
        ledger.put(experiment, build_record(experiment, fold, clips, host=host))
    put_name(ledger, experiment, "ours")
    StudyLedger(root).put(build_study((experiment.digest,)))
    at = "2026-01-01T00:00:00+00:00"
    events = [
        {"event": "run", "title": "t", "epochs": 3, "hostname": "h", "pid": 5},
        {"event": "started", "fold": "a", "worker": "w", "info": {"epoch": 1, "val_uf1": 0.5}},
        {"event": "epochs", "folds": {"a": {"epoch": 2, "val_uf1": 0.5}}},
        {"event": "failed", "fold": "a", "worker": "w", "why": "x"},
        {"event": "finished", "fold": "a"},
        {"event": "ended", "why": ""},
    ]
    lines = "".join(json.dumps({"at": at, **event}) + "\n" for event in events)
    ledger.events_path(experiment).write_text(lines)
    return experiment


def _prepare(folder: Path) -> dict[str, Any]:
    experiment = small_ledger(folder / "runs")
    here = Ledger(folder / "runs")
    paths = {
        "record": here.fold_path(experiment, "a"),
        "experiment": here.folder(experiment) / "experiment.json",
        "study": StudyLedger(here.root).folder("ab" * 8) / "study.json",
        "log": here.events_path(experiment),
        "name": here.folder(experiment) / "name.json",
    }
    return {
        "digest": experiment.digest,
        "files": {n: (p, p.read_bytes()) for n, p in paths.items()},
    }


_VERBS = {
    "leaderboard": ["leaderboard", "--ledger", "runs", "--out", "site", "--format", "csv"],
    "run": ["run", "DIGEST", "--ledger", "runs", "--out", "site"],
    "watch": ["watch", "--ledger", "runs", "--once"],
    "predictions": ["predictions", "--ledger", "runs"],
}


def _sealed(payload: dict[str, Any], wanted: Any) -> bytes:
    """A spoilt sealed text whose checksum is right, if it can have one."""
    del payload["checksum"]
    made = spoil_json(payload, wanted)
    try:
        text = seal(made)
    except (ValueError, TypeError):
        text = to_text(made)
    return text.encode(errors="replace") + b"\n"


def _files(folder: Path, valid: dict[str, Any], given: tuple[str, str, bool, Any, Any]) -> int:
    name, verb, sealed, wanted, spoilt = given
    path, data = valid["files"][name]
    content = _sealed(json.loads(data), wanted) if sealed else spoil_bytes(data, spoilt)
    path.write_bytes(content)
    words = [valid["digest"] if word == "DIGEST" else word for word in _VERBS[verb]]
    try:
        return dadnet(words)
    finally:
        path.write_bytes(data)


def _log(folder: Path, valid: dict[str, Any], given: tuple[str, int, Any, Any]) -> int:
    verb, pick, wanted, spoilt = given
    path, data = valid["files"]["log"]
    lines = data.decode().splitlines()
    place = pick % len(lines)
    lines[place] = to_text(spoil_json(json.loads(lines[place]), wanted))
    path.write_bytes(spoil_bytes("\n".join([*lines, ""]).encode(errors="replace"), spoilt))
    words = [valid["digest"] if word == "DIGEST" else word for word in _VERBS[verb]]
    try:
        return dadnet(words)
    finally:
        path.write_bytes(data)


def _claims(folder: Path, valid: None, given: tuple[Any, Any, bool]) -> int:
    wanted, spoilt, owner = given
    shutil.rmtree(folder / "claims", ignore_errors=True)
    (folder / "claims" / "owners").mkdir(parents=True)
    claim = {"owner": OWNER}
    beat = {"pid": os.getpid(), "boot": "b", "processes": "p"}
    texts = [to_text(claim), to_text(beat)]
    texts[owner] = to_text(spoil_json((claim, beat)[owner], wanted))
    for path, text in zip(("a.1.json", f"owners/{OWNER}.json"), texts, strict=True):
        data = spoil_bytes(text.encode(errors="replace"), spoilt)
        (folder / "claims" / path).write_bytes(data)

    def use(_: object) -> int:
        claims = Claims(folder / "claims", "us-2-abcdef", 60.0)
        claims.take("a")
        claims.others()
        claims.release("a")
        return 0

    return run_command(use, [])


def _bundle(folder: Path) -> dict[str, bytes]:
    """The files of a bundle of an imported experiment, whose digest is made again."""
    (folder / "t.csv").write_text(_TABLE)
    words = ["--method", "m", "--dataset", "casme2", "--protocol", "loso", "--ledger", "packed"]
    assert dadnet(["import", "t.csv", *words]) == 0
    assert dadnet(["pack", "--ledger", "packed", "--out", "good.zip"]) == 0
    with zipfile.ZipFile(folder / "good.zip") as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def _verify(folder: Path, valid: dict[str, bytes], given: tuple[int, Any, Any, Any, bool]) -> int:
    pick, wanted, manifest_wanted, spoilt, merge = given
    files = dict(valid)
    manifest = json.loads(files.pop(MANIFEST))
    name = sorted(files)[pick % len(files)]
    files[name] = _sealed(json.loads(files[name]), wanted)
    manifest["files"] = {n: hashlib.sha256(data).hexdigest() for n, data in files.items()}
    files[MANIFEST] = _sealed(manifest, manifest_wanted if pick % 2 else [])
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as packed:
        for n, data in files.items():
            packed.writestr(n, data)
    (folder / "b.zip").write_bytes(spoil_bytes(held.getvalue(), spoilt))
    return dadnet(["merge", "b.zip", "--ledger", "merged"] if merge else ["verify", "b.zip"])


_TABLE = "subject,clip,label,prediction\ns1,c1,negative,negative\ns2,c2,positive,surprise\n"
_LOGS = (_TABLE, "casme2 sub01\nc1 0 1\nc2 1 1\n", "Subject: sub01\nPredicted : [0, 1]\n"
         "Ground Truth : [0, 1]\n")  # fmt: skip


def _import(folder: Path, valid: None, given: tuple[int, Any, list[str], int]) -> int:
    pick, spoilt, more, place = given
    text = _LOGS[pick % len(_LOGS)]
    place %= len(text)
    text = text[:place] + "".join(more) + text[place:]
    data = spoil_bytes(text.encode(errors="replace"), spoilt)
    (folder / "t.csv").write_bytes(data)
    if pick % 5 == 0:
        shutil.rmtree(folder / "imported", ignore_errors=True)
    words = ["import", "t.csv", "--method", "m", "--dataset", "casme2", "--protocol", "loso"]
    return dadnet([*words, "--ledger", "imported"])


_NAMES = (
    "XDG_CACHE_HOME",
    "HOME",
    "COLUMNS",
    "LINES",
    "TERM",
    "LANG",
    "LC_ALL",
    "TZ",
    "AWS_REGION",
)
_NAMES += (RETRY_ENV, "NO_COLOR", "OMP_NUM_THREADS", "DADNET_TRACE", "PYTHONIOENCODING")


def _environment(folder: Path, valid: dict[str, Any], given: list[tuple[str, str]]) -> int:
    kept = dict(os.environ)
    for name, value in given:
        os.environ[name] = value.replace("\0", "").encode(errors="replace").decode()

    def use(_: object) -> int:
        open_store("s3://nowhere", "")
        return 0

    try:
        return max(run_command(use, []), dadnet(_VERBS["leaderboard"]), dadnet(_VERBS["watch"]))
    finally:
        os.environ.clear()
        os.environ.update(kept)


_pick = st.integers(0, 10**6)
_verb = st.sampled_from(sorted(_VERBS))
_wanted = st.one_of(st.just([]), changes)
TARGETS = (
    Target(
        "records",
        st.tuples(
            st.sampled_from(("record", "experiment", "study", "name")),
            _verb,
            st.booleans(),
            changes,
            flips,
        ),
        _prepare,
        _files,
    ),
    Target("event logs", st.tuples(st.sampled_from(("run", "watch")), _pick, _wanted, flips),
           _prepare, _log),
    Target("claims", st.tuples(_wanted, flips, st.booleans()), lambda folder: None, _claims),
    Target("bundles", st.tuples(_pick, _wanted, _wanted, flips, st.booleans()), _bundle, _verify),
    Target(
        "imports",
        st.tuples(_pick, flips, st.lists(st.sampled_from(WORDS), max_size=2), _pick),
        lambda folder: None,
        _import,
    ),
    Target(
        "environments",
        st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(WORDS) | st.text(max_size=9)),
                 min_size=1, max_size=4),
        _prepare,
        _environment,
    ),
)  # fmt: skip
