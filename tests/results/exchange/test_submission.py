import hashlib
import json
import shlex
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import DataConfig, ExperimentConfig, experiment_digest
from results.__main__ import main
from results.exchange.bundle import MANIFEST, Figures, Manifest
from results.exchange.submission import _zip, merge, pack, rerun, verify
from results.ledger.ledger import Ledger
from results.ledger.records import PlannedFold
from results.ledger.sealed import seal
from tests.build.records import FOUR_SUBJECTS


def changed(bundle: Path, edit: Callable[[dict[str, bytes]], None]) -> Path:
    """Return a copy with other files, in which every digest of the manifest fits again."""
    with zipfile.ZipFile(bundle) as held:
        files = {name: held.read(name) for name in held.namelist()}
    edit(files)
    manifest = json.loads(files.pop(MANIFEST))
    del manifest["checksum"]
    manifest["files"] = {n: hashlib.sha256(data).hexdigest() for n, data in files.items()}
    path = bundle.with_name("tampered.zip")
    path.write_bytes(_zip({MANIFEST: (seal(manifest) + "\n").encode(), **files}))
    return path


def resealed(data: bytes, **changes: object) -> bytes:
    payload = {key: value for key, value in json.loads(data).items() if key != "checksum"}
    return (seal({**payload, **changes}) + "\n").encode()


def test_a_bundle_holds_and_equal_ledgers_give_equal_bytes(ledger, real, bundle, tmp_path):
    (packed,) = verify(bundle).experiments
    assert packed.experiment == real
    assert packed.records == ledger.records(real)
    pack(ledger, [real], tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_the_schema_of_the_manifest_is_frozen(bundle):
    with zipfile.ZipFile(bundle) as held:
        manifest = json.loads(held.read(MANIFEST))
    assert set(manifest) == {*Manifest.__struct_fields__, "schema", "checksum"}
    assert Manifest.__struct_fields__ == ("experiments", "files", "figures")
    assert Figures.__struct_fields__ == (
        "uf1",
        "uar",
        "accuracy",
        "confusion",
        "num_clips",
        "num_subjects",
    )
    assert manifest["schema"] == 1
    (figures,) = manifest["figures"].values()
    assert figures["confusion"] == [[4, 0, 0], [0, 4, 0], [4, 0, 0]]


def test_any_changed_byte_is_noticed(bundle):
    data = bundle.read_bytes()
    for position in range(0, len(data), 97):
        broken = bytearray(data)
        broken[position] ^= 1
        bundle.write_bytes(bytes(broken))
        try:
            found = verify(bundle)
        except DadnetError:
            continue
        # Some bytes of a zip file say nothing of its files, such as flags of the system.
        assert len(found.experiments) == 1
        with zipfile.ZipFile(bundle) as held:
            assert held.read(MANIFEST)


FOLD = "folds/synthetic%2Fs1.json"


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("record", r"s1\.json: .*checksum"),
        ("prediction", r"figures\.[0-9a-f]{16}\.uf1: stated 0\.555556, made again"),
        ("selection", r"s1\.json: selection of fold"),
        ("fit_subjects", r"fold synthetic/s1 has subjects on two sides"),
        ("no fit", r"fit_subjects of synthetic/s1"),
        ("audit", r"audit of synthetic/s1"),
        ("teacher", r"s1\.json: teacher of fold"),
        ("missing fold", r"s1\.json: fold synthetic/s1 is missing"),
        ("config", r"experiment\.json: digest: stated"),
        ("method", r"experiment\.json: method: 'Better'"),
        ("figures", r"accuracy: stated 0\.9"),
        ("surplus", r"note\.txt: file belongs to no experiment"),
    ],
)
def test_a_tampered_bundle_fails_with_the_field_named(bundle, field, message):
    def edit(files: dict[str, bytes]) -> None:
        path = next(name for name in files if name.endswith(FOLD))
        plan = next(name for name in files if name.endswith("experiment.json"))
        if field == "record":
            files[path] = files[path].replace(b"positive", b"surprise", 1)
        elif field == "prediction":
            rows = json.loads(files[path])["predictions"]
            rows[2]["prediction"] = "surprise"
            files[path] = resealed(files[path], predictions=rows)
        elif field == "selection":
            files[path] = resealed(files[path], selection="last")
        elif field == "fit_subjects":
            files[path] = resealed(files[path], fit_subjects=["synthetic/s1", "synthetic/s2"])
        elif field == "no fit":
            files[path] = resealed(files[path], fit_subjects=[])
        elif field == "audit":
            files[path] = resealed(files[path], audit="")
        elif field == "teacher":
            files[path] = resealed(files[path], teacher_digest="u" * 16)
        elif field == "missing fold":
            del files[path]
        elif field == "config":
            config = json.loads(files[plan])["config"]
            config["optim"]["lr"] = 0.5
            files[plan] = resealed(files[plan], config=config)
        elif field == "method":
            files[plan] = resealed(files[plan], method="Better")
        elif field == "figures":
            figures = json.loads(files[MANIFEST])["figures"]
            next(iter(figures.values()))["accuracy"] = 0.9
            files[MANIFEST] = resealed(files[MANIFEST], figures=figures)
        else:
            files["note.txt"] = b"hello"

    with pytest.raises(DadnetError, match=message) as caught:
        verify(changed(bundle, edit))
    assert "\n" not in str(caught.value)


def test_an_incomplete_experiment_is_not_packed(ledger, fill, tmp_path):
    experiment = fill(FOUR_SUBJECTS, without=["synthetic/s1"])
    with pytest.raises(DadnetError, match="3 of 4 folds"):
        pack(ledger, [experiment], tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_one_fold_is_made_again_by_a_command(ledger, real, bundle, tmp_path):
    (packed,) = verify(bundle).experiments
    script = tmp_path / "again.py"
    script.write_text(
        "import sys\n"
        "from results.ledger.ledger import Ledger\n"
        "there, here, fold = sys.argv[1:]\n"
        "theirs, ours = Ledger(there), Ledger(here)\n"
        "(experiment,) = theirs.experiments()\n"
        "ours.open(experiment)\n"
        "ours.put(experiment, theirs.record(experiment, fold))\n"
    )
    words = [sys.executable, str(script), str(ledger.root), "{ledger}", "{fold}"]
    root = str(Path(__file__).parents[3])
    command = shlex.join(["env", f"PYTHONPATH={root}", *words])
    assert rerun(packed, command, seed=3) in FOUR_SUBJECTS
    with pytest.raises(DadnetError, match="was not made again: status 1"):
        rerun(packed, shlex.join([sys.executable, "-c", "raise SystemExit(1)"]), seed=3)
    # a ledger with other predictions
    other = Ledger(tmp_path / "other")
    other.open(real)
    for record in packed.records:
        rows = [{**row.to_dict(), "prediction": "positive"} for row in record.predictions]
        text = resealed(record.to_json().encode(), predictions=rows)
        path = other.fold_path(real, record.fold)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)
    with pytest.raises(DadnetError, match="prediction of 2 of 3 clips differs"):
        rerun(packed, command.replace(str(ledger.root), str(other.root)), seed=3)


def test_merge_joins_ledgers_and_bundles_and_refuses_contradictions(
    ledger, real, bundle, tmp_path, make_record
):
    mine = Ledger(tmp_path / "all")
    assert merge([bundle, ledger.root], mine) == (4, 4)
    assert mine.records(real) == ledger.records(real)
    other = Ledger(tmp_path / "other")
    other.open(real)
    other.put(real, make_record(real, "synthetic/s0", ["n>p", "p>p", "s>n"]))
    target = Ledger(tmp_path / "new")
    with pytest.raises(DadnetError, match="synthetic/s0 .* differ in predictions; nothing was"):
        merge([bundle, other.root], target)
    assert not target.root.exists()


def test_the_commands_pack_verify_and_merge(ledger, real, tmp_path, capsys, published_log):
    path = tmp_path / "b.zip"
    words = ["import", str(published_log), "--method", "STSTNet", "--dataset", "megc2019"]
    assert main([*words, "--protocol", "cde", "--ledger", str(ledger.root)]) == 0
    assert main(["pack", "--ledger", str(ledger.root), "--out", str(path)]) == 0
    assert main(["verify", str(path)]) == 0
    assert "UF1 0.7209" in capsys.readouterr().out
    assert main(["merge", str(path), "--ledger", str(tmp_path / "all")]) == 0
    assert "72 folds new" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-40])
    assert main(["verify", str(path)]) == 2
    assert capsys.readouterr().err.startswith("error: bundle: expected a zip file")


@pytest.mark.parametrize("name", ["../../evil.json", "/tmp/evil.json", "synthetic/../../evil.json"])
def test_nothing_of_a_bundle_is_written_outside_the_ledger(bundle, tmp_path, name):
    crafted = changed(bundle, lambda files: files.update({name: b"{}"}))
    with pytest.raises(DadnetError, match="belongs to no experiment"):
        merge([crafted], Ledger(tmp_path / "deep" / "down" / "runs"))
    assert not list(tmp_path.rglob("evil.json"))
    assert not (tmp_path / "deep").exists()


def test_a_dataset_named_as_the_way_up_stays_inside(ledger, make_experiment, make_record, tmp_path):
    config = ExperimentConfig(data=DataConfig(dataset="..", selection="inner"), seed=7)
    table = {f"../s{n}": clips for n, clips in enumerate(FOUR_SUBJECTS.values())}
    experiment = make_experiment(
        table,
        dataset="..",
        digest=experiment_digest(config, "d" * 16, "t" * 16),
        method=config.method(),
        seed=7,
        teacher_digest="t" * 16,
        config=config.to_json(),
        folds=tuple(PlannedFold(name, (name,), 3) for name in table),
    )
    ledger.open(experiment)
    for fold, clips in table.items():
        ledger.put(experiment, make_record(experiment, fold, clips))
    pack(ledger, [experiment], tmp_path / "up.zip")
    into = tmp_path / "into" / "runs"
    assert merge([tmp_path / "up.zip"], Ledger(into)) == (4, 0)
    written = list((tmp_path / "into").rglob("*.json"))
    assert len(written) == 5
    assert all(path.resolve().is_relative_to(into.resolve()) for path in written)
