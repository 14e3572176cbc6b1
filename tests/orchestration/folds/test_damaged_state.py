"""State that is read again is verified: what is damaged or does not fit is made again."""

import pytest
import safetensors.torch
import torch

from dadnet.models import load_weights, save_weights
from dadnet.training.loop import StoppedError
from orchestration.folds.flags import parse_flags
from orchestration.folds.here import LocalQueue
from orchestration.folds.make import make_folds
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import load_inputs, plan_of
from results.ledger.features import read_features
from results.ledger.ledger import Ledger
from results.ledger.records import comparable
from results.ledger.val_side import ValLedger
from tests.build.damage import flip
from tests.build.runs import run_words


@pytest.fixture(scope="module")
def plan(site):
    flags = parse_flags(run_words(site, site / "runs", "--epochs", "3", "--warmup-epochs", "0"))
    return plan_of(
        flags.experiment, load_inputs(flags.experiment, flags.flows, flags.macro_weights)
    )


def make(plan, root, *, stop=lambda: False, **options):
    """Make the first fold; what two runs must agree on, None without a record."""
    name = plan.folds[0].name
    Ledger(root).open(plan.experiment)
    try:
        make_folds(plan, LocalQueue((name,)), WorkOptions(root, **options), stop)
    except StoppedError:
        return None
    record = Ledger(root).record(plan.experiment, name)
    return record and comparable(record)


@pytest.fixture(scope="module")
def undisturbed(plan, tmp_path_factory):
    return make(plan, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("bit", [0, 700, 8 * 5000, -1])
def test_a_damaged_checkpoint_is_set_aside_and_the_fold_made_anew(plan, undisturbed, tmp_path, bit):
    asked = iter([False, False, True])
    assert make(plan, tmp_path, stop=lambda: next(asked), checkpoint_every=1) is None
    path = Ledger(tmp_path).checkpoint_path(plan.experiment, plan.folds[0].name)
    flip(path, bit)
    with pytest.warns(UserWarning, match="set aside") as caught:
        assert make(plan, tmp_path) == undisturbed
    assert len(caught) == 1
    assert path.with_name(f"{path.name}.damaged").exists()
    assert not path.exists()


def other_shapes(path):
    weights, metadata = load_weights(path)
    save_weights(path, {name: value[None] for name, value in weights.items()}, metadata)


def fewer_tensors(path):
    weights, metadata = load_weights(path)
    del weights["student.head.weight"]
    save_weights(path, weights, metadata)


def of_another_fold(path):
    weights, metadata = load_weights(path)
    save_weights(path, weights, {**metadata, "fold": "synthetic/other"})


def without_checksum(path):
    weights, metadata = load_weights(path)
    path.write_bytes(safetensors.torch.save(weights, metadata))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: flip(path, 8 * 20 + 1),  # in the header
        lambda path: flip(path, -5),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        other_shapes,
        fewer_tensors,
        of_another_fold,
        without_checksum,
    ],
)
def test_damaged_weights_of_a_search_are_trained_again(plan, undisturbed, tmp_path, change):
    make(plan, tmp_path, test_side=False)
    path = ValLedger(tmp_path).weights_path(plan.experiment, plan.folds[0].name)
    change(path)
    with pytest.warns(UserWarning, match="is trained again") as caught:
        assert make(plan, tmp_path) == undisturbed
    assert len(caught) == 1
    [kept] = (Ledger(tmp_path).folder(plan.experiment) / "quarantine").iterdir()
    assert kept.name.endswith(path.name)


def test_a_search_trains_a_fold_again_whose_weights_are_gone(plan, tmp_path):
    make(plan, tmp_path, test_side=False)
    path = ValLedger(tmp_path).weights_path(plan.experiment, plan.folds[0].name)
    before = load_weights(path).weights
    path.unlink()
    make(plan, tmp_path, test_side=False)
    after = load_weights(path).weights
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_damaged_val_side_is_made_again(plan, undisturbed, tmp_path):
    make(plan, tmp_path, test_side=False)
    vals, name = ValLedger(tmp_path), plan.folds[0].name
    before = vals.get(plan.experiment, name)
    flip(vals.path(plan.experiment, name), 8 * 300)
    with pytest.warns(UserWarning, match="damaged") as caught:
        assert make(plan, tmp_path) == undisturbed
    assert len(caught) == 1
    after = vals.get(plan.experiment, name)
    assert after.replace(host={}) == before.replace(host={})


@pytest.mark.parametrize(
    "change", [lambda path: flip(path, 8 * 99), lambda path: path.write_bytes(b"")]
)
def test_damaged_features_are_made_again_with_their_fold(plan, undisturbed, tmp_path, change):
    make(plan, tmp_path)
    ledger, name = Ledger(tmp_path), plan.folds[0].name
    [before] = read_features(ledger, plan.experiment)
    [path] = (ledger.folder(plan.experiment) / "features").iterdir()
    change(path)
    ledger.fold_path(plan.experiment, name).unlink()
    with pytest.warns(UserWarning, match="damaged") as caught:
        assert make(plan, tmp_path) == undisturbed
    assert len(caught) == 1
    [after] = read_features(ledger, plan.experiment)
    assert after.to_json() == before.to_json()
