"""From flags to a plan: clips, folds, teacher, audit, and the experiment's identity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dadnet.base.digests import digest16
from dadnet.base.errors import DadnetError
from dadnet.base.location import is_remote, location
from dadnet.base.own_code import OwnCode
from dadnet.base.seeding import generator
from dadnet.config.experiment import ExperimentConfig, experiment_digest
from dadnet.datasets.subjects import COMPOSITES
from dadnet.flow.own_augmentation import check_own_augmentation
from dadnet.flow.store import CARD, FlowStore, join_stores, load_flow_store
from dadnet.folds.audit import audit
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.folds.protocols import Fold, make_folds
from dadnet.labels.own_labels import title_of
from dadnet.models.own import check_own_model
from dadnet.training.build import build_model
from dadnet.training.stack.groups import batch_order
from dadnet.training.teacher import Teacher
from results.ledger.records import Experiment, PlannedFold


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything a worker needs to make any fold of an experiment.

    Attributes:
        config: the user's choices.
        dataset: the labelled clips.
        folds: the subjects of their sides.
        teacher: the frozen stream, None for a baseline.
        experiment: identity and planned folds, as the ledger stores them.
        audit: the audit's line.
        flow: parameters of the flow store, for the cards of kept weights.
        resized: sizes of stored flows that are not the network's, such as ``28 x 28``.
    """

    config: ExperimentConfig
    dataset: MicroExpressionDataset
    folds: tuple[Fold, ...]
    teacher: Teacher | None
    experiment: Experiment
    audit: str
    flow: Mapping[str, Any] = field(default_factory=dict)
    resized: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """What a user must know before the training: the audit, and whether flows are resized."""
        size = self.config.model.input_size
        resized = f"flows of {', '.join(self.resized)} pixels are resized to {size} x {size}"
        return (self.audit, resized) if self.resized else (self.audit,)

    def fold(self, name: str) -> Fold:
        """The fold of that name."""
        return self._by_name[name]

    def in_order(self, names: Sequence[str]) -> tuple[str, ...]:
        """These folds as workers take them: those in one stack then have batches of one size."""
        batch_size = self.config.optim.batch_size

        def key(name: str) -> tuple[int, int]:
            return batch_order(len(self.dataset.rows(self.fold(name).fit)), batch_size)

        return tuple(sorted(names, key=key, reverse=True))  # long folds first, all end together

    @cached_property
    def _by_name(self) -> dict[str, Fold]:
        return {fold.name: fold for fold in self.folds}


@dataclass(frozen=True, eq=False)
class Inputs:
    """The loaded inputs of a plan.

    Attributes:
        dataset: the labelled clips.
        data_digest: of the flow store; a different one where subjects were left out, or where the
            labels come from another source.
        flow: parameters of the flow store, its normalisation among them.
        teacher: the frozen stream, None for a baseline.
        resized: as in `Plan`.
    """

    dataset: MicroExpressionDataset
    data_digest: str
    flow: Mapping[str, Any]
    teacher: Teacher | None
    resized: tuple[str, ...] = ()

    def digest(self, config: ExperimentConfig) -> str:
        """Digest of the experiment with this configuration on these inputs."""
        teacher_digest = None if self.teacher is None else self.teacher.digest
        return experiment_digest(config, self.data_digest, teacher_digest)

    def without(self, subjects: tuple[str, ...]) -> "Inputs":
        """Copy of the inputs that does not contain the clips of these subjects."""
        remaining = ~self.dataset.clips["subject"].isin(list(subjects)).to_numpy()
        rows = torch.from_numpy(np.flatnonzero(remaining))
        dataset = replace(
            self.dataset,
            clips=self.dataset.clips.loc[remaining].reset_index(drop=True),
            flows=self.dataset.flows[rows],
            labels=self.dataset.labels[rows],
        )
        digest = digest16({"data": self.data_digest, "without": sorted(subjects)})
        return replace(self, dataset=dataset, data_digest=digest)


def load_inputs(config: ExperimentConfig, flows: str | Path, macro_weights: Path | None) -> Inputs:
    """Load clips and teacher.

    Args:
        config: the user's choices.
        flows: folder or URI of the flow store, or several with commas between.
        macro_weights: the teacher's file; needed by `dad_net`, refused for a `baseline`.

    Raises:
        DadnetError: if the store, the teacher or the combination cannot be used.
    """
    size = config.model.input_size
    store, resized = _load_stores(flows, size)
    _check_dataset(config.data.dataset, store, flows)
    dataset = MicroExpressionDataset.from_store(
        store,
        config.data.class_set,
        size,
        shuffle_seed=config.seed if config.data.shuffle_labels else None,
    )
    teacher = _teacher(config, macro_weights)
    digest = store.digest
    if dataset.source:
        digest = digest16({"data": digest, "labels": dataset.source})
    return Inputs(dataset, digest, store.card["parameters"], teacher, resized)


def plan_of(config: ExperimentConfig, inputs: Inputs) -> Plan:
    """Carve folds and audit them; raises `AuditError` if the plan would leak."""
    dataset, teacher = inputs.dataset, inputs.teacher
    if dataset.task.multi_label and config.model.model_type == "prior-draw":
        raise DadnetError(
            f"model_type: prior-draw draws one class of a clip, {config.data.class_set} has "
            "several labels; expected majority or another model"
        )
    check_own_code(config, len(dataset.classes), teacher)
    folds = make_folds(dataset.clips, config.data, config.seed)
    line = audit(
        dataset.clips,
        folds,
        dataset.classes,
        config.data,
        store_normalisation=inputs.flow["normalisation"],
        teacher_subjects=teacher.subjects if teacher else (),
    )
    experiment = Experiment(
        digest=inputs.digest(config),
        method=config.method(),
        dataset=config.data.dataset,
        protocol=config.data.protocol,
        class_set=title_of(config.data.class_set),
        classes=dataset.classes,
        selection=config.data.selection,
        seed=config.seed,
        data_digest=inputs.data_digest,
        teacher_digest=teacher.digest if teacher else None,
        config=config.to_json(),
        folds=tuple(PlannedFold(f.name, f.test, len(dataset.rows(f.test))) for f in folds),
        multi_label=dataset.task.multi_label,
    )
    return Plan(config, dataset, folds, teacher, experiment, line, inputs.flow, inputs.resized)


def check_own_code(config: ExperimentConfig, num_classes: int, teacher: Teacher | None) -> None:
    """Try what the user has brought, before anything is written.

    Raises:
        DadnetError: if the source cannot be run, or its result cannot be used.
    """
    if config.model.model is not None:
        check_own_model(config.model, num_classes)
        build_model(config, num_classes, teacher, generator("own model"))
    if isinstance(config.optim.augmentation, OwnCode):
        check_own_augmentation(config.optim.augmentation, config.model.input_size)


def default_flows(dataset: str) -> Path:
    """Default path of the flows of a dataset or of a known composite.

    A composite that was ingested under its name is one folder, with a flow store per dataset.
    """
    if dataset in COMPOSITES and (Path("flows") / dataset).is_dir():
        return Path("flows") / dataset
    names = COMPOSITES.get(dataset, (dataset,))
    return Path(",".join(str(Path("flows") / name) for name in names))


def _load_stores(flows: str | Path, size: int) -> tuple[FlowStore, tuple[str, ...]]:
    """One store, several with commas between, or a folder of several.

    Returns:
        The store, and the stored sizes that are not `size`, as text.
    """
    if "," not in str(flows) or Path(flows).exists():
        parts = [] if is_remote(location(flows)) else sorted(Path(flows).glob(f"*/{CARD}"))
        whole = not parts or (Path(flows) / CARD).exists()
        names = [str(flows)] if whole else [str(part.parent) for part in parts]
    else:
        names = [name for name in str(flows).split(",") if name]
    stores = [load_flow_store(name) for name in names]
    shapes = {store.flows.shape[2:] for store in stores} - {(size, size)}
    resized = tuple(f"{width} x {height}" for height, width in sorted(shapes))
    return join_stores(stores, size), resized


def _check_dataset(name: str, store: FlowStore, flows: str | Path) -> None:
    datasets = tuple(sorted(set(store.clips["dataset"])))
    known = {composite for composite, sets in COMPOSITES.items() if sets == datasets}
    allowed = {"+".join(datasets), *known, *filter(None, [store.card.get("composite")])}
    if name not in allowed:
        raise DadnetError(
            f"dataset: expected {' or '.join(sorted(allowed))}, which is what {flows} holds, "
            f"got {name}"
        )


def with_config(plan: Plan, config: ExperimentConfig) -> Plan:
    """The plan of another configuration on the same clips, folds and teacher.

    Args:
        plan: of the base configuration.
        config: differs from it in model, loss and optimiser only.

    Raises:
        DadnetError: if the teacher does not fit, or clips or folds would change.
    """
    base = plan.config
    fixed = ("data", "seed")
    if any(getattr(config, name) != getattr(base, name) for name in fixed) or (
        config.model.input_size != base.model.input_size
    ):
        raise DadnetError("a trial may vary neither data, input_size nor seed")
    if plan.teacher is not None:
        plan.teacher.check(config.model)
    if config.model.model_args != base.model.model_args:
        check_own_code(config, len(plan.dataset.classes), plan.teacher)
    old = plan.experiment
    experiment = old.replace(
        digest=experiment_digest(config, old.data_digest, old.teacher_digest),
        method=config.method(),
        config=config.to_json(),
    )
    return replace(plan, config=config, experiment=experiment)


def _teacher(config: ExperimentConfig, macro_weights: Path | None) -> Teacher | None:
    if config.model.model_type != "dad_net":
        if macro_weights is not None:
            raise DadnetError(
                f"macro_weights: a {config.model.model_type} has no teacher; leave the option out"
            )
        return None
    if macro_weights is None:
        raise DadnetError(
            "macro_weights: expected the teacher's file for a dad_net, got none; `python -m "
            "orchestration.teacher` trains one, --model-type baseline needs none"
        )
    teacher = Teacher.load(macro_weights)
    teacher.check(config.model)
    return teacher
