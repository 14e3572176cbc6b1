"""Bundles: complete experiments packed into one file, checked on the other side, and merged.

A bundle is a zip file of `manifest.json` (sealed) and the files of the ledger as they are. Whoever
checks it trusts nothing in it: every file's digest, every record, the experiment's own digest, the
sides of every fold, and the figures are made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shlex
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dadnet.config import ExperimentConfig, experiment_digest
from dadnet.errors import DadnetError
from results.canonical import SCHEMA, check_keys, check_mapping, digest16, seal, unseal
from results.ledger import Ledger, check_record, file_name
from results.records import Experiment, FoldRecord, comparable
from results.stats import Summary, count_records, summarise

MANIFEST = "manifest.json"
MANIFEST_KEYS = ("schema", "experiments", "files", "figures")
FIGURE_KEYS = ("uf1", "uar", "accuracy", "confusion", "num_clips", "num_subjects")
# A bundle of 10,000 folds is about 100 MB; larger claims are not unpacked.
_LARGEST_FILE = 64 * 2**20
_LARGEST_BUNDLE = 4 * 2**30
# What `zipfile` raises on damage; encrypted or unknown entries are refused as well.
_BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same ledger gives the same bytes


@dataclass(frozen=True)
class Packed:
    """One experiment out of a bundle, checked."""

    experiment: Experiment
    records: tuple[FoldRecord, ...]
    summary: Summary


def pack(ledger: Ledger, experiments: Sequence[Experiment], out: Path) -> None:
    """Pack complete experiments into a bundle, and check it.

    Raises:
        DadnetError: if there is nothing to pack, an experiment is incomplete, or a check fails.
    """
    if not experiments:
        raise DadnetError("expected complete experiments to pack, got: none")
    files: dict[str, bytes] = {}
    figures: dict[str, dict[str, Any]] = {}
    for experiment in experiments:
        records = ledger.records(experiment)
        if len(records) != len(experiment.folds):
            raise DadnetError(
                f"expected a complete experiment, got: {experiment.digest} with {len(records)} of "
                f"{len(experiment.folds)} folds"
            )
        files.update(_files_of(experiment, records))
        figures[experiment.digest] = figures_of(_summary_of(experiment, records), records)
    manifest = {
        "schema": SCHEMA,
        "experiments": sorted(figures),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "figures": figures,
    }
    bundle = _zip({MANIFEST: (seal(manifest) + "\n").encode(), **files})
    _check(bundle)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        temporary.write_bytes(bundle)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def verify(path: Path) -> tuple[Packed, ...]:
    """Return the experiments of a bundle, if everything in it holds.

    Raises:
        DadnetError: naming the file and field of the first thing that does not.
    """
    try:
        return _check(path.read_bytes())
    except FileNotFoundError as error:
        raise DadnetError(f"expected a bundle, got: no file at {path}") from error


def rerun(packed: Packed, command: str, seed: int) -> str:
    """Make one fold again by an outside command and compare its predictions.

    Args:
        packed: a checked experiment.
        command: words in which ``{fold}`` and ``{ledger}`` are replaced; it must leave the fold's
            record in that ledger.
        seed: chooses the fold.

    Returns:
        The name of the fold.

    Raises:
        DadnetError: if the command fails, leaves no record, or the predictions differ.
    """
    experiment = packed.experiment
    record = random.Random(seed).choice(packed.records)
    with tempfile.TemporaryDirectory() as folder:
        words = [
            word.replace("{fold}", record.fold).replace("{ledger}", folder)
            for word in shlex.split(command)
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        made = Ledger(folder).record(experiment, record.fold)
        if made is None:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise DadnetError(
                f"fold {record.fold} was not made again: status {done.returncode}, {last}"
            )
    told = {row.clip_id: row.prediction for row in record.predictions}
    differ = [row.clip_id for row in made.predictions if told.get(row.clip_id) != row.prediction]
    if differ or len(made.predictions) != len(told):
        raise DadnetError(
            f"fold {record.fold} made again: prediction of {len(differ)} of {len(told)} clips "
            f"differs, first {differ[0] if differ else 'by number'}"
        )
    return record.fold


def merge(sources: Iterable[Path], ledger: Ledger) -> tuple[int, int]:
    """Put bundles and other ledgers into a ledger; everything is checked before any is written.

    Returns:
        The numbers of records that were new, and that were there already.

    Raises:
        DadnetError: if a source does not hold, or two records of one fold differ.
    """
    found: list[tuple[Experiment, tuple[FoldRecord, ...]]] = []
    for source in sources:
        if source.is_dir():
            theirs = Ledger(source)
            found += [(each, theirs.records(each)) for each in theirs.experiments()]
        else:
            found += [(packed.experiment, packed.records) for packed in verify(source)]
    if not found:
        raise DadnetError("expected bundles or ledgers with experiments, got: none")
    known: dict[tuple[str, str, str], dict[str, Any]] = {}
    for experiment, records in found:
        for record in records:
            key = (experiment.dataset, experiment.digest, record.fold)
            there = known.get(key)
            if there is None:
                stored = ledger.record(experiment, record.fold)
                there = None if stored is None else comparable(stored)
            if there is not None and there != comparable(record):
                fields = [
                    name for name, value in comparable(record).items() if there[name] != value
                ]
                raise DadnetError(
                    f"two records of fold {record.fold} of {experiment.digest} differ in "
                    f"{', '.join(fields)}; nothing was merged"
                )
            known[key] = comparable(record)
    new = same = 0
    for experiment, records in found:
        ledger.open(experiment)
        for record in records:
            stored_now = ledger.put(experiment, record)
            new, same = new + stored_now, same + (not stored_now)
    return new, same


def figures_of(summary: Summary, records: Sequence[FoldRecord]) -> dict[str, Any]:
    """Return the figures that a manifest states, rounded to six digits."""
    rows = [row for record in records for row in record.predictions]
    scores = {name: getattr(summary, name).value for name in ("uf1", "uar", "accuracy")}
    return {
        **{name: None if value is None else round(value, 6) for name, value in scores.items()},
        "confusion": [list(row) for row in summary.confusion],
        "num_clips": len(rows),
        "num_subjects": len({row.subject for row in rows}),
    }


def _files_of(experiment: Experiment, records: Sequence[FoldRecord]) -> dict[str, bytes]:
    folder = f"{file_name(experiment.dataset)}/{experiment.digest}"
    files = {f"{folder}/experiment.json": (experiment.to_json() + "\n").encode()}
    for record in records:
        files[f"{folder}/folds/{file_name(record.fold)}.json"] = (record.to_json() + "\n").encode()
    return files


def _zip(files: Mapping[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name in sorted(files):
            bundle.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return held.getvalue()


def _unzip(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            entries = bundle.infolist()
            names = [entry.filename for entry in entries]
            if len(set(names)) != len(names):
                raise DadnetError("bundle: expected each file once, got: a name twice")
            sizes = [entry.file_size for entry in entries]
            if max(sizes, default=0) > _LARGEST_FILE or sum(sizes) > _LARGEST_BUNDLE:
                raise DadnetError(f"bundle: expected less than {_LARGEST_BUNDLE} bytes")
            return {entry.filename: bundle.read(entry) for entry in entries}
    except _BROKEN as error:
        raise DadnetError(f"bundle: expected a zip file, got: {error}") from error


def _check(data: bytes) -> tuple[Packed, ...]:
    files = _unzip(data)
    if MANIFEST not in files:
        raise DadnetError(f"{MANIFEST}: expected in the bundle, got: none")
    manifest = _manifest(files.pop(MANIFEST))
    for name in sorted(manifest["files"].keys() | files.keys()):
        stated = manifest["files"].get(name)
        if name not in files or stated is None:
            where = "the manifest" if name in files else "the bundle"
            raise DadnetError(f"{name}: file is missing in {where}")
        if hashlib.sha256(files[name]).hexdigest() != stated:
            raise DadnetError(f"{name}: sha256 differs from files in {MANIFEST}")
    packed = [_experiment(name, files) for name in sorted(files) if _is_experiment(name)]
    digests = [item.experiment.digest for item in packed]
    if sorted(digests) != manifest["experiments"] or set(digests) != set(manifest["figures"]):
        raise DadnetError(f"{MANIFEST}: experiments differ from the files")
    expected = {name for item in packed for name in _files_of(item.experiment, item.records)}
    if surplus := sorted(files.keys() - expected):
        raise DadnetError(f"{surplus[0]}: file belongs to no experiment")
    for item in packed:
        stated = check_keys("figures", manifest["figures"][item.experiment.digest], FIGURE_KEYS)
        made = figures_of(item.summary, item.records)
        for name in FIGURE_KEYS:
            if made[name] != stated[name]:
                raise DadnetError(
                    f"{MANIFEST}: figures.{item.experiment.digest}.{name}: stated {stated[name]}, "
                    f"made again {made[name]}"
                )
    return tuple(packed)


def _manifest(data: bytes) -> dict[str, Any]:
    try:
        manifest = check_keys("manifest", unseal(data, "manifest"), MANIFEST_KEYS)
        for name in ("files", "figures"):
            check_mapping(name, manifest[name])
    except DadnetError as error:
        raise DadnetError(f"{MANIFEST}: {error}") from error
    return manifest


def _is_experiment(name: str) -> bool:
    return name.endswith("/experiment.json") and name.count("/") == 2


def _experiment(name: str, files: Mapping[str, bytes]) -> Packed:
    try:
        experiment = Experiment.from_json(files[name])
        _check_digest(experiment)
    except DadnetError as error:
        raise DadnetError(f"{name}: {error}") from error
    folder = name.removesuffix("experiment.json")
    if folder != f"{file_name(experiment.dataset)}/{experiment.digest}/":
        raise DadnetError(f"{name}: dataset or digest differ from the folder")
    records = []
    for fold in experiment.folds:
        path = f"{folder}folds/{file_name(fold.name)}.json"
        if path not in files:
            raise DadnetError(f"{path}: fold {fold.name} is missing")
        try:
            record = FoldRecord.from_json(files[path])
            if record.fold != fold.name:
                raise DadnetError(f"fold: expected {fold.name!r}, got: {record.fold!r}")
            check_record(experiment, record)
        except DadnetError as error:
            raise DadnetError(f"{path}: {error}") from error
        records.append(record)
    _check_sides(name, experiment, records)
    return Packed(experiment, tuple(records), _summary_of(experiment, records))


def _check_digest(experiment: Experiment) -> None:
    """Make the digest again from the config, as the run or the import made it."""
    config = json.loads(json.dumps(dict(experiment.config)))
    if config.get("source") == "import":
        made = digest16(config)
        fields = {"seed": None, "teacher_digest": None}
    else:
        parsed = ExperimentConfig.from_json(config)
        made = experiment_digest(parsed, experiment.data_digest, experiment.teacher_digest)
        config = {**config["data"], "seed": config["seed"], "method": parsed.method()}
        fields = {}
    if made != experiment.digest:
        raise DadnetError(f"digest: stated {experiment.digest}, made again {made}")
    for field in ("method", "dataset", "protocol", "class_set", "selection", "seed"):
        expected = fields.get(field, config.get(field))
        if getattr(experiment, field) != expected:
            raise DadnetError(
                f"{field}: {getattr(experiment, field)!r} differs from the config's {expected!r}"
            )


def _check_sides(name: str, experiment: Experiment, records: Sequence[FoldRecord]) -> None:
    """Audit what the records say: nobody is tested twice, and every training had subjects."""
    tested: dict[str, str] = {}
    imported = experiment.config.get("source") == "import"
    for record in records:
        for subject in record.test_subjects:
            if subject in tested:
                raise DadnetError(
                    f"{name}: test_subjects: {subject} is tested in {tested[subject]} and "
                    f"{record.fold}"
                )
            tested[subject] = record.fold
        if not imported and not record.fit_subjects:
            raise DadnetError(f"{name}: fit_subjects of {record.fold}: expected some, got: none")
        if not record.audit:
            raise DadnetError(f"{name}: audit of {record.fold}: expected the audit's line")
        if not imported and experiment.selection == "inner" and not record.val_subjects:
            raise DadnetError(f"{name}: val_subjects of {record.fold}: expected some, got: none")


def _summary_of(experiment: Experiment, records: Sequence[FoldRecord]) -> Summary:
    return summarise(count_records(records, experiment.classes))
