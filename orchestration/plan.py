"""From flags to a plan: clips, folds, teacher, audit, and the experiment's identity."""

from dataclasses import dataclass, replace
from pathlib import Path

from dadnet.audit import audit
from dadnet.clips import MicroExpressionDataset
from dadnet.config import ExperimentConfig, experiment_digest
from dadnet.errors import DadnetError
from dadnet.flow_store import FlowStore, load_flow_store
from dadnet.protocols import Fold, make_folds
from dadnet.teacher import Teacher
from results.records import Experiment, PlannedFold


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything a worker needs to make any fold of an experiment.

    Attributes:
        config: the user's choices.
        dataset: the labelled clips.
        folds: who is trained on, validated on, tested.
        teacher: the frozen stream, None for a baseline.
        experiment: identity and planned folds, as the ledger stores them.
        audit: the audit's line.
    """

    config: ExperimentConfig
    dataset: MicroExpressionDataset
    folds: tuple[Fold, ...]
    teacher: Teacher | None
    experiment: Experiment
    audit: str

    def fold(self, name: str) -> Fold:
        """The fold of that name."""
        return next(fold for fold in self.folds if fold.name == name)


def make_plan(config: ExperimentConfig, flows: Path, macro_weights: Path | None) -> Plan:
    """Load, label, fold and audit.

    Args:
        config: the user's choices.
        flows: folder of the flow store.
        macro_weights: the teacher's file; needed by `dad_net`, refused for a `baseline`.

    Raises:
        DadnetError: if the store, the teacher or the combination cannot be used.
        AuditError: if the plan would leak.
    """
    store = load_flow_store(flows)
    found = sorted(set(store.clips["dataset"]))
    if config.data.dataset not in found:
        raise DadnetError(
            f"dataset: expected the flows of {config.data.dataset} in {flows}, "
            f"which holds {', '.join(found)}"
        )
    return plan_of_store(config, store, _teacher(config, macro_weights))


def plan_of_store(config: ExperimentConfig, store: FlowStore, teacher: Teacher | None) -> Plan:
    """Label, fold and audit the clips of a loaded store; arguments and errors as `make_plan`."""
    dataset = MicroExpressionDataset.from_store(
        store,
        config.data.class_set,
        config.model.input_size,
        shuffle_seed=config.seed if config.data.shuffle_labels else None,
    )
    folds = make_folds(dataset.clips, config.data, config.seed)
    line = audit(
        dataset.clips,
        folds,
        dataset.classes,
        config.data,
        store_normalisation=store.card["parameters"]["normalisation"],
        teacher_subjects=teacher.subjects if teacher else (),
    )
    teacher_digest = teacher.digest if teacher else None
    experiment = Experiment(
        digest=experiment_digest(config, store.digest, teacher_digest),
        method=config.method(),
        dataset=config.data.dataset,
        protocol=config.data.protocol,
        class_set=config.data.class_set,
        classes=dataset.classes,
        selection=config.data.selection,
        seed=config.seed,
        data_digest=store.digest,
        teacher_digest=teacher_digest,
        config=config.to_json(),
        folds=tuple(PlannedFold(f.name, f.test, len(dataset.rows(f.test))) for f in folds),
    )
    return Plan(config, dataset, folds, teacher, experiment, line)


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
    old = plan.experiment
    experiment = replace(
        old,
        digest=experiment_digest(config, old.data_digest, old.teacher_digest),
        method=config.method(),
        config=config.to_json(),
    )
    return replace(plan, config=config, experiment=experiment)


def _teacher(config: ExperimentConfig, macro_weights: Path | None) -> Teacher | None:
    if config.model.model_type == "baseline":
        if macro_weights is not None:
            raise DadnetError("macro_weights: a baseline has no teacher; leave the option out")
        return None
    if macro_weights is None:
        raise DadnetError(
            "macro_weights: expected the teacher's file for a dad_net, got none; `python -m "
            "orchestration.teacher` trains one, --model-type baseline needs none"
        )
    teacher = Teacher.load(macro_weights)
    teacher.check(config.model)
    return teacher
