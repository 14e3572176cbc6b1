"""Bundles: complete experiments packed into one file, checked on the other side, and merged.

A bundle is a zip file of `manifest.json` (sealed) and the files of the ledger as they are. Its
check trusts nothing: the digest of every file, every record, the digest of the experiment, the
sides of every fold and the figures are made again (see `results.exchange.bundle`).
"""

from __future__ import annotations

import hashlib
import io
import random
import shlex
import subprocess
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dadnet.base.disk import read_regular
from dadnet.base.errors import DadnetError
from dadnet.base.location import replace_file
from results.exchange import bundle
from results.exchange.bundle import LARGEST_BUNDLE, Bundle, Packed, check_bundle
from results.exchange.signature import sign
from results.ledger.files import LedgerWarning, lines_of
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment, FoldRecord, comparable
from results.statistics.summary import count_records, summarise

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same ledger gives the same bytes


def pack(
    ledger: Ledger, experiments: Sequence[Experiment], out: Path, key: Path | None = None
) -> None:
    """Pack complete experiments into a bundle, sign it if there is a key, and check it.

    Raises:
        DadnetError: if there is nothing to pack, an experiment is incomplete, or a check fails.
    """
    if not experiments:
        raise DadnetError("expected complete experiments to pack, got: none")
    files: dict[str, bytes] = {}
    figures: dict[str, bundle.Figures] = {}
    for experiment in experiments:
        records = ledger.records(experiment)
        if len(records) != len(experiment.folds):
            raise DadnetError(
                f"expected a complete experiment, got: {experiment.digest} with {len(records)} of "
                f"{len(experiment.folds)} folds"
            )
        files.update(bundle.files_of(experiment, records))
        summary = summarise(count_records(records, experiment.classes))
        figures[experiment.digest] = bundle.figures_of(summary, records)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = bundle.Manifest(tuple(sorted(figures)), digests, figures)
    stated = (manifest.to_json() + "\n").encode()
    files[bundle.MANIFEST] = stated
    if key is not None:
        files[bundle.SIGNATURE] = (sign(stated, key).to_json() + "\n").encode()
    packed = _zip(files)
    check_bundle(packed)
    replace_file(out, packed)


def verify(path: Path) -> Bundle:
    """Return what a bundle holds, if everything in it holds.

    Raises:
        DadnetError: naming the file and field of the first thing that does not.
    """
    try:
        return check_bundle(read_regular(path, follow=True, most=LARGEST_BUNDLE))
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
    stored = {row.clip_id: row.prediction for row in record.predictions}
    differ = [row.clip_id for row in made.predictions if stored.get(row.clip_id) != row.prediction]
    if differ or len(made.predictions) != len(stored):
        raise DadnetError(
            f"fold {record.fold} made again: prediction of {len(differ)} of {len(stored)} clips "
            f"differs, first {differ[0] if differ else 'by number'}"
        )
    return record.fold


def merge(sources: Iterable[Path], ledger: Ledger) -> tuple[int, int]:
    """Put bundles and other ledgers into a ledger; everything is checked before any is written.

    The sources stay as they are.

    Returns:
        The numbers of records that were new, and that were there already.

    Raises:
        DadnetError: if a source does not hold or has a damaged file, another version has written
            a file, or two records of one fold or two experiments of one digest differ.
    """
    pairs = [pair for source in sources for pair in _content_of(source)]
    if not pairs:
        raise DadnetError("expected bundles or ledgers with experiments, got: none")
    experiments: dict[tuple[str, str], Experiment] = {}
    known: dict[tuple[str, str, str], dict[str, Any]] = {}
    for experiment, records in pairs:
        key = (experiment.dataset, experiment.digest)
        if experiments.setdefault(key, experiment) != experiment:
            raise DadnetError(f"two experiments {experiment.digest} differ; nothing was merged")
        ledger.check(experiment)
        for record in records:
            fold = (*key, record.fold)
            there = known.get(fold)
            if there is None:
                stored = ledger.record(experiment, record.fold)
                there = None if stored is None else comparable(stored)
            made = comparable(record)
            if there is not None and there != made:
                fields = [name for name, value in made.items() if there[name] != value]
                raise DadnetError(
                    f"two records of fold {record.fold} of {experiment.digest} differ in "
                    f"{', '.join(fields)}; nothing was merged"
                )
            known[fold] = made
    new = same = 0
    for experiment, records in pairs:
        ledger.open(experiment)
        for record in records:
            stored_now = ledger.put(experiment, record)
            new, same = new + stored_now, same + (not stored_now)
    return new, same


def _content_of(source: Path) -> list[tuple[Experiment, tuple[FoldRecord, ...]]]:
    """Return the experiments of a bundle or a ledger with their records.

    Raises:
        DadnetError: if anything in it cannot be used.
    """
    if not source.is_dir():
        return [(packed.experiment, packed.records) for packed in verify(source).experiments]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LedgerWarning)
        theirs = Ledger(source)
        pairs = [(each, theirs.records(each)) for each in theirs.experiments()]
    if lines := lines_of(caught):
        more = f" (and {len(lines) - 1} more)" if lines[1:] else ""
        raise DadnetError(f"{source}: {lines[0]}{more}; nothing was merged")
    return pairs


def _zip(files: Mapping[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(files):
            packed.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return held.getvalue()
