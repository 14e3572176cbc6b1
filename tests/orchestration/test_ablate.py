"""Ablations: the grid, one experiment per variant, paired tests against the base."""

import pytest

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import DataConfig
from dadnet.config.presets import get_preset
from orchestration import ablate
from orchestration.ablate import make_grid
from orchestration.folds.flags import ABLATE
from results.ledger.ledger import Ledger
from results.pages.ablation import make_ablation
from results.pages.run import row_of
from results.statistics.compare import difference, holm
from tests.build.runs import run_words


def base():
    return get_preset("smoke", DataConfig())


def test_the_module_grid_is_every_choice_of_three_modules_and_names_what_is_left():
    variants = make_grid(base(), ("modules",))
    assert len(variants) == 8  # all modules is the base
    switches = {
        (v.config.model.stn, v.config.model.channel_attention, v.config.model.head)
        for v in variants
    }
    assert len(switches) == 8
    last = variants[-1]
    assert last.name == "modules: none"
    assert (last.config.model.stn, last.config.model.head) == (False, "linear")


def test_the_alignment_grid_is_the_student_alone_and_every_choice_of_stages():
    variants = make_grid(base(), ("alignment",))
    assert len(variants) == 16  # stages 2, 3 are the base
    assert sum(v.config.model.model_type == "baseline" for v in variants) == 1
    masks = {v.config.loss.alignment_stages for v in variants if v.config.aligned}
    assert len(masks) == 15
    assert len(make_grid(base(), ("modules", "alignment"))) == 23
    assert len(make_grid(base(), ("weight",))) == 5  # 0.5 is the base


def test_a_grid_that_is_none_is_one_line():
    student = ABLATE.parse(["--model-type", "baseline"]).experiment
    with pytest.raises(DadnetError, match="--grid modules needs none"):
        make_grid(student, ("alignment",))
    with pytest.raises(DadnetError, match="expected different ones of modules, alignment, weight"):
        make_grid(base(), ("moduls",))


def test_the_recipe_of_a_class_set_brings_its_data_and_words_win():
    config = ABLATE.parse(["--preset", "dfme-7class"]).experiment
    assert (config.data.dataset, config.data.class_set) == ("dfme", "7class")
    assert (config.data.protocol, config.model.micro_size) == ("official", "micro")
    assert (config.model.stn, config.loss.alignment_stages) == (False, (2, 3))
    words = ["--preset", "dfme-7class", "--dataset", "own", "--protocol", "loso"]
    data = ABLATE.parse(words).experiment.data
    assert (data.dataset, data.class_set, data.protocol) == ("own", "7class", "loso")


@pytest.fixture(scope="module")
def ablated(site, tmp_path_factory):
    root = tmp_path_factory.mktemp("ablated")
    words = run_words(site, root / "runs", "--workers", "0", "--epochs", "2")
    words += ["--warmup-epochs", "1", "--grid", "modules", "--site", str(root / "site")]
    assert ablate.main(words) == 0
    return root, words


@pytest.mark.slow
def test_every_variant_is_an_experiment_with_its_test_against_the_base(ablated, capsys):
    root, words = ablated
    ledger = Ledger(root / "runs")
    experiments = ledger.experiments()
    assert len(experiments) == 8
    assert all(not ledger.missing(experiment) for experiment in experiments)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("folds/*.json")}
    assert ablate.main(words) == 0  # nothing runs again
    output = capsys.readouterr().out
    assert "40 trainings, 40 done, 0 to run" in output
    assert {path: path.stat().st_mtime_ns for path in root.rglob("folds/*.json")} == before
    rows = [line for line in output.splitlines() if line.lstrip().startswith("modules:")]
    assert len(rows) == 7
    [page] = (root / "site").glob("ablation-*.html")
    digest = page.stem.removeprefix("ablation-")
    named = sorted(((e.digest != digest, e.digest), e) for e in experiments)
    table = make_ablation(ledger, [(key[1], experiment) for key, experiment in named])
    apart = [
        difference(row_of(ledger, e).counts, row_of(ledger, named[0][1]).counts)
        for _, e in named[1:]
    ]
    assert [v.found for v in table.variants[1:]] == apart
    assert [v.p for v in table.variants[1:]] == list(holm([d.p for d in apart]))
    text = page.read_text()
    assert all(experiment.digest in text for experiment in experiments)


@pytest.mark.slow
def test_a_variant_without_all_folds_has_no_figure_and_no_test(ablated, capsys):
    root, words = ablated
    ledger = Ledger(root / "runs")
    [page] = (root / "site").glob("ablation-*.html")
    digest = page.stem.removeprefix("ablation-")
    one, two = [e for e in ledger.experiments() if e.digest != digest][:2]
    base_ = next(e for e in ledger.experiments() if e.digest == digest)
    ledger.fold_path(one, one.folds[0].name).unlink()
    table = make_ablation(ledger, [("base", base_), ("one", one), ("two", two)])
    assert not table.complete
    assert [v.found is None for v in table.variants] == [True, True, False]
    assert table.variants[1].row.summary is None
    assert table.variants[2].p == table.variants[2].found.p  # one test, nothing to correct
    assert ablate.main([*words, "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "40 trainings, 39 done, 1 to run" in output
    assert "if a variant's step costs what the base's does" in output
    assert ablate.main(words) == 0
    assert not ledger.missing(one)
