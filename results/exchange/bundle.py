"""What a bundle must hold: schema, digests, sides of the folds, and figures made again."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dadnet.base.digests import digest16
from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ExperimentConfig, experiment_digest
from dadnet.datasets.subjects import spelling_key
from results.exchange.signature import Signature, check_signature
from results.ledger.files import named
from results.ledger.ledger import check_record, file_name
from results.ledger.records import Experiment, FoldRecord
from results.ledger.sealed import Digest, Record, Sealed
from results.ledger.studies import base_config, nested_digest, searched_method
from results.ledger.val_side import Nested
from results.statistics.summary import Summary, count_records, summarise

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
# A bundle of 10,000 folds is about 100 MB; larger claims are not unpacked.
_LARGEST_FILE = 64 * 2**20
LARGEST_BUNDLE = 4 * 2**30
# What `zipfile` raises on damage; encrypted or unknown entries are refused as well.
_BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError)


class Figures(Record, frozen=True):
    """The pooled figures of an experiment as a manifest states them, rounded to six digits."""

    uf1: float | None
    uar: float | None
    accuracy: float | None
    confusion: Nested
    num_clips: int
    num_subjects: int


class Manifest(Sealed, frozen=True):
    """What a bundle says about itself.

    Attributes:
        experiments: digests, sorted; files: path -> SHA-256; figures: digest -> figures.
    """

    record_kind: ClassVar[str] = "manifest"

    experiments: tuple[Digest, ...]
    files: Mapping[str, str]
    figures: Mapping[str, Figures]


@dataclass(frozen=True)
class Packed:
    """One experiment out of a bundle, checked."""

    experiment: Experiment
    records: tuple[FoldRecord, ...]
    summary: Summary


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds, checked.

    Attributes:
        experiments: at least one.
        signer: fingerprint of the key that signed it, or None.
    """

    experiments: tuple[Packed, ...]
    signer: str | None


def check_bundle(data: bytes) -> Bundle:
    """Return what a bundle's bytes hold, if everything in it holds.

    Raises:
        DadnetError: naming the file and field of the first thing that does not.
    """
    files = _unzip(data)
    if MANIFEST not in files:
        raise DadnetError(f"{MANIFEST}: expected in the bundle, got: none")
    stated, signer = files.pop(MANIFEST), None
    with named(MANIFEST):
        manifest = Manifest.from_json(stated)
    if SIGNATURE in files:
        with named(SIGNATURE):
            signature = Signature.from_json(files.pop(SIGNATURE))
            signer = check_signature(stated, signature)
    _check_files(manifest, files)
    names = [name for name in sorted(files) if name.endswith("/experiment.json")]
    packed = [_experiment(name, files) for name in names if name.count("/") == 2]
    digests = [item.experiment.digest for item in packed]
    if sorted(digests) != [*manifest.experiments] or {*digests} != {*manifest.figures}:
        raise DadnetError(f"{MANIFEST}: experiments differ from the files")
    expected = {name for item in packed for name in files_of(item.experiment, item.records)}
    if surplus := sorted(files.keys() - expected):
        raise DadnetError(f"{surplus[0]}: file belongs to no experiment")
    for item in packed:
        claimed = manifest.figures[item.experiment.digest].to_dict()
        made = figures_of(item.summary, item.records).to_dict()
        for name in made:
            if made[name] != claimed[name]:
                raise DadnetError(
                    f"{MANIFEST}: figures.{item.experiment.digest}.{name}: stated {claimed[name]}, "
                    f"made again {made[name]}"
                )
    return Bundle(tuple(packed), signer)


def _check_files(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Refuse a file that the manifest does not state in these bytes."""
    for name in sorted(manifest.files.keys() | files.keys()):
        stated = manifest.files.get(name)
        if name not in files or stated is None:
            holder = "the manifest" if name in files else "the bundle"
            raise DadnetError(f"{name}: file is missing in {holder}")
        if hashlib.sha256(files[name]).hexdigest() != stated:
            raise DadnetError(f"{name}: sha256 differs from files in {MANIFEST}")


def figures_of(summary: Summary, records: Sequence[FoldRecord]) -> Figures:
    """Return the figures that a manifest states."""
    rows = [row for record in records for row in record.predictions]
    values = (summary.uf1.value, summary.uar.value, summary.accuracy.value)
    uf1, uar, accuracy = (None if value is None else round(value, 6) for value in values)
    subjects = {row.subject for row in rows}
    return Figures(uf1, uar, accuracy, summary.confusion, len(rows), len(subjects))


def files_of(experiment: Experiment, records: Sequence[FoldRecord]) -> dict[str, bytes]:
    """Return the files of an experiment as they lie in a ledger, by path."""
    folder = f"{file_name(experiment.dataset)}/{experiment.digest}"
    files = {f"{folder}/experiment.json": (experiment.to_json() + "\n").encode()}
    for record in records:
        files[f"{folder}/folds/{file_name(record.fold)}.json"] = (record.to_json() + "\n").encode()
    return files


def _unzip(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            entries = bundle.infolist()
            names = [entry.filename for entry in entries]
            if len(set(names)) != len(names):
                raise DadnetError("bundle: expected each file once, got: a name twice")
            sizes = [entry.file_size for entry in entries]
            if max(sizes, default=0) > _LARGEST_FILE or sum(sizes) > LARGEST_BUNDLE:
                raise DadnetError(f"bundle: expected less than {LARGEST_BUNDLE} bytes")
            return {entry.filename: _read(bundle, entry) for entry in entries}
    except DadnetError:
        raise
    except (*_BROKEN, ValueError) as error:
        raise DadnetError(f"bundle: expected a zip file, got: {error}") from error


def _read(bundle: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Unpack at most the stated size; an entry that holds more does not fit its CRC-32 then."""
    with bundle.open(entry) as file:
        return file.read(entry.file_size)


def _experiment(name: str, files: Mapping[str, bytes]) -> Packed:
    with named(name):
        experiment = Experiment.from_json(files[name])
        _check_digest(experiment)
    folder = name.removesuffix("experiment.json")
    if folder != f"{file_name(experiment.dataset)}/{experiment.digest}/":
        raise DadnetError(f"{name}: dataset or digest differ from the folder")
    records = []
    for fold in experiment.folds:
        path = f"{folder}folds/{file_name(fold.name)}.json"
        if path not in files:
            raise DadnetError(f"{path}: fold {fold.name} is missing")
        with named(path):
            record = FoldRecord.from_json(files[path])
            if record.fold != fold.name:
                raise DadnetError(f"fold: expected {fold.name!r}, got: {record.fold!r}")
            check_record(experiment, record)
        records.append(record)
    _check_sides(name, experiment, records)
    summary = summarise(count_records(records, experiment.classes))
    return Packed(experiment, tuple(records), summary)


def _check_digest(experiment: Experiment) -> None:
    """Make the digest again from the config, as the run or the import made it."""
    config = json.loads(json.dumps(dict(experiment.config)))
    fields: dict[str, Any] = {}
    if config.get("source") == "import":
        made = digest16(config)
        fields = {"seed": None, "teacher_digest": None}
    else:
        base = base_config(config)
        parsed = ExperimentConfig.from_json(base)
        method = parsed.method()
        if base == config:
            made = experiment_digest(parsed, experiment.data_digest, experiment.teacher_digest)
        else:
            made = nested_digest(config, experiment.data_digest, experiment.teacher_digest)
            method, fields = searched_method(method), {"selection": "nested"}
        config = {**base["data"], "seed": base["seed"], "method": method}
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
            key = spelling_key(subject)
            if key in tested:
                raise DadnetError(
                    f"{name}: test_subjects: {subject} is tested in {tested[key]} and {record.fold}"
                )
            tested[key] = record.fold
        if not imported and not record.fit_subjects:
            raise DadnetError(f"{name}: fit_subjects of {record.fold}: expected some, got: none")
        if not record.audit:
            raise DadnetError(f"{name}: audit of {record.fold}: expected the audit's line")
        if not imported and experiment.selection == "inner" and not record.val_subjects:
            raise DadnetError(f"{name}: val_subjects of {record.fold}: expected some, got: none")
