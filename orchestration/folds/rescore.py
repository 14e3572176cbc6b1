"""Scoring finished folds again from their kept weights: the clips, the check, one fold."""

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.base.location import on_disk
from dadnet.config.experiment import ExperimentConfig
from dadnet.config.ingest import IngestFlags
from dadnet.flow.clip import FlowOptions
from dadnet.flow.corrupted_inputs import corrupted_inputs
from dadnet.flow.corruptions import KINDS, VERSION, Corruption
from dadnet.flow.request import read_index
from dadnet.flow.store import load_flow_store
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.inference.model_file import TrainedModel, load_model_file
from dadnet.inference.predictor import prepare
from dadnet.inference.retiming import ClipFrames
from dadnet.inference.score import EVAL_BATCH, Probabilities, score_inputs
from orchestration.folds.kept_weights import student_alone
from orchestration.folds.plan import load_inputs
from results.ledger.corrupted import CorruptedFold, RobustnessLedger
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment, FoldRecord, Prediction

# Probabilities of one network on two devices or thread counts differ by rounding only.
TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Scoring:
    """A complete experiment with what is needed to score it again.

    Attributes:
        experiment: from the ledger.
        records: one per planned fold.
        dataset: its clips; its labels are used for the records only.
        ledger: root of the ledger.
        device: torch's name of the device.
        frames: for corruptions that act on them.
        run_source: whether the source of a user's own network may be run.
    """

    experiment: Experiment
    records: tuple[FoldRecord, ...]
    dataset: MicroExpressionDataset
    ledger: Path
    device: str = "cpu"
    frames: ClipFrames | None = None
    run_source: bool = False

    def record(self, fold: str) -> FoldRecord:
        """The record of a fold."""
        return next(record for record in self.records if record.fold == fold)


def load_scoring(
    root: Path,
    experiment: Experiment,
    flows: Path,
    device: str = "cpu",
    frames_root: Path | None = None,
    *,
    run_source: bool = False,
) -> Scoring:
    """Load an experiment's clips, and check that all its folds and weights exist.

    Args:
        root: the ledger's folder.
        experiment: of the ledger.
        flows: folder of the flow store, or several with commas between.
        device: where to score.
        frames_root: folder of the dataset in its official layout, for corruptions of frames.
        run_source: whether the source of a user's own network may be run.

    Raises:
        DadnetError: if a fold or its weights are missing, or flows or frames differ.
    """
    ledger, records = Ledger(root), Ledger(root).records(experiment)
    if len(records) < len(experiment.folds):
        raise DadnetError(
            f"experiment {experiment.digest}: expected all folds, got {len(records)} of "
            f"{len(experiment.folds)}; `run_loso` makes the others"
        )
    lacking = [
        f.name for f in experiment.folds if not ledger.weights_path(experiment, f.name).exists()
    ]
    if lacking:
        raise DadnetError(
            f"experiment {experiment.digest}: {len(lacking)} of {len(experiment.folds)} folds have "
            f"no kept weights ({lacking[0]}, ...); `run_loso --fresh --keep-weights best` keeps "
            "them"
        )
    config = ExperimentConfig.from_json(experiment.config)
    config = replace(config, model=student_alone(config.model))  # it predicts without its teacher
    inputs = load_inputs(config, flows, None)
    if inputs.data_digest != experiment.data_digest:
        raise DadnetError(
            f"flows: expected those of the experiment (digest {experiment.data_digest}), got "
            f"{flows} (digest {inputs.data_digest})"
        )
    frames = None
    if frames_root is not None:
        frames = find_frames(frames_root, flows, experiment.dataset, inputs.flow)
    return Scoring(experiment, records, inputs.dataset, root, device, frames, run_source)


def find_frames(root: Path, flows: Path, dataset: str, parameters: Mapping[str, Any]) -> ClipFrames:
    """Find the frames of a flow store whose card has these parameters.

    The folder `root` holds the dataset in its official layout.

    Raises:
        DadnetError: if the store's faces were aligned by landmarks, or is of several datasets.
    """
    options = {name: parameters.get(name) for name in ("method", "size", "crop", "align")}
    if options["align"] != "none" or not options["method"] or not flows.is_dir():
        raise DadnetError(
            f"root: expected a flow store of one dataset that was made from frames without "
            f"landmarks, got {flows} with {options}"
        )
    if options["crop"] is not None:
        options["crop"] = tuple(options["crop"])
    index = read_index(IngestFlags(dataset=dataset, root=root, apex="midpoint"))
    rows = {str(row["clip_id"]): row for row in index.clips.to_dict("records")}
    stored = load_flow_store(flows).clips
    apexes = zip(stored["clip_id"], stored["apex"], strict=True)
    frames = {clip: {**rows[clip], "apex": int(apex)} for clip, apex in apexes if clip in rows}
    return ClipFrames(frames, FlowOptions(**options))  # type: ignore[arg-type]


def load_fold(scoring: Scoring, record: FoldRecord) -> TrainedModel:
    """The kept weights of a fold.

    Raises:
        DadnetError: if they are not those that the record was scored with.
    """
    path = on_disk(Ledger(scoring.ledger).weights_path(scoring.experiment, record.fold))
    model = load_model_file(path, run_source=scoring.run_source)
    expected = record.host.get("weights_digest")
    if model.card.weights_digest != expected:
        raise DadnetError(
            f"weights: {path} are not those of the record of {record.fold}: expected digest "
            f"{expected}, got {model.card.weights_digest}"
        )
    return model


def score_fold(scoring: Scoring, record: FoldRecord, corruptions: tuple[Corruption, ...]) -> int:
    """Score a fold's test clips under corruptions and store each; returns their number.

    Before anything is stored the clean clips are scored, and must give the record's predictions.

    Raises:
        DadnetError: if they do not, or the weights are not those of the record.
    """
    torch.set_num_threads(1)  # as in training: results do not depend on the machine's cores
    model, ledger = load_fold(scoring, record), RobustnessLedger(scoring.ledger)
    network = model.network().to(scoring.device)
    rows = scoring.dataset.rows(record.test_subjects)
    flows = scoring.dataset.flows[rows]
    clips = list(scoring.dataset.clips["clip_id"].iloc[rows.numpy()])

    def probabilities(corruption: Corruption | None) -> Probabilities:
        if corruption is not None and KINDS[corruption.kind].acts_on == "frames":
            retimed = retimed_flows(scoring, clips, corruption, flows.shape[-1])
            inputs = corrupted_inputs(retimed, clips, None, model.statistics())
        else:
            inputs = corrupted_inputs(flows, clips, corruption, model.statistics())
        return score_inputs(
            network,
            (b.to(scoring.device) for b in torch.split(inputs, EVAL_BATCH)),
            task=scoring.dataset.task,
        )

    check_clean(record, clips, probabilities(None), scoring.experiment)
    for corruption in corruptions:
        started = time.perf_counter()
        scores = probabilities(corruption)
        seconds = round(time.perf_counter() - started, 3)
        host = {"device": scoring.device, "hostname": platform.node(), "seconds": seconds}
        scored = CorruptedFold(
            experiment=record.experiment,
            fold=record.fold,
            weights_digest=str(record.host["weights_digest"]),
            kind=corruption.kind,
            severity=corruption.severity,
            version=VERSION,
            predictions=_predictions(record, clips, scores, scoring.experiment),
            host=host,
        )
        ledger.put(scoring.experiment, record, scored)
    return len(corruptions)


def retimed_flows(
    scoring: Scoring, clips: list[str], corruption: Corruption, input_size: int
) -> Tensor:
    """Flows of clips under a corruption of their frames, prepared as for training.

    Returns:
        Shape (N, 2, S, S), float16, pixels.

    Raises:
        DadnetError: if there are no frames, or they do not give the flows of the store.
    """
    if scoring.frames is None:
        raise DadnetError(
            f"corruption {corruption.kind}: expected --root with the frames, got none"
        )
    digests = scoring.dataset.clips.set_index("clip_id")["flow_digest"]
    scoring.frames.check(clips[0], str(digests[clips[0]]))
    size = scoring.frames.options.size
    retimed = (scoring.frames.retimed(clip, corruption.severity) for clip in clips)
    return torch.from_numpy(np.stack([prepare(flow, size, input_size) for flow in retimed]))


def check_clean(
    record: FoldRecord, clips: list[str], probabilities: Probabilities, experiment: Experiment
) -> None:
    """Raise unless clean clips have the predictions of the record."""
    stored = {row.clip_id: row for row in record.predictions}
    if set(stored) != set(clips):
        raise DadnetError(
            f"fold {record.fold}: the record has other clips than the flow store: "
            f"{', '.join(sorted(set(stored) ^ set(clips))[:3])}"
        )
    for row in _predictions(record, clips, probabilities, experiment):
        expected = stored[row.clip_id]
        known = expected.probabilities or row.probabilities or ()  # imported ones may have none
        pairs = zip(row.probabilities or (), known, strict=True)
        apart = max((abs(a - b) for a, b in pairs), default=0.0)
        if row.prediction != expected.prediction or apart > TOLERANCE:
            raise DadnetError(
                f"fold {record.fold}: without any corruption {row.clip_id} is not what the record "
                f"says (a probability differs by {apart:.2g}); weights or flows are not those of "
                "the run"
            )


def _predictions(
    record: FoldRecord, clips: list[str], probabilities: Probabilities, experiment: Experiment
) -> tuple[Prediction, ...]:
    """The record's clips with new predictions."""
    stored, task = {row.clip_id: row for row in record.predictions}, experiment.task
    decisions = task.decide(probabilities)
    return tuple(
        stored[clip_id].replace(
            prediction=task.named(decision, experiment.classes),
            probabilities=tuple(map(float, row)),
        )
        for clip_id, row, decision in zip(clips, probabilities, decisions, strict=True)
    )
