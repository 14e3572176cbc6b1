import json
from dataclasses import replace

import pytest

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import DataConfig
from dadnet.config.presets import PRESETS, get_preset
from results.leaderboard.export import to_csv, to_json, to_latex, to_markdown
from results.leaderboard.names import check_free, find_experiment, given_name, names_in, put_name
from results.leaderboard.ranking import leaderboard, text_table
from results.leaderboard.settings import preset_text
from results.ledger.ledger import LedgerWarning
from results.pages.site import render_dataset
from tests.build.records import build_experiment
from tests.build.variants import eight, fill_eight, identity

GOOD = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}
METHOD = "DAD-Net (ultralight/ultralight)"


def test_eight_variants_have_eight_names_everywhere(ledger, fill, random_table):
    made = fill_eight(fill, lambda n: random_table(9, 0.4 + n / 20, n))
    names = names_in(ledger)
    assert {names[e.digest] for e in made.values()} == {f"{METHOD}, {name}" for name in made}
    for name, experiment in made.items():
        assert names[experiment.digest] == f"{METHOD}, {name}"
    board = leaderboard(ledger)
    assert {row.name for row in board.rows} == set(names.values())
    page = render_dataset(board)
    text = " ".join(text_table(board, 300).split())
    for name in names.values():
        assert f">{name}</a>" in page
        assert name in text
        for export in (to_csv, to_json, to_markdown, to_latex):
            assert name.replace("_", r"\_") in export(board), export
    rows = json.loads(to_json(board))["groups"][0]["rows"]
    assert {row["method"] for row in rows} == {METHOD}  # programs find what they found before


def test_a_row_alone_has_its_method_and_neighbours_of_other_boards_do_not_count(ledger, fill):
    one, two, *_ = eight().values()
    first = fill(GOOD, **identity(one))
    second = fill(GOOD, **identity(two, protocol="cde"))
    assert names_in(ledger) == {first.digest: METHOD, second.digest: METHOD}


def test_without_a_majority_every_row_says_its_value(ledger, fill):
    for seed in (4, 5, 7):
        fill(GOOD, seed=seed)
    assert sorted(names_in(ledger).values()) == [
        f"DAD-Net (micro/ultralight), seed {seed}" for seed in (4, 5, 7)
    ]


def test_rows_that_differ_in_nothing_shown_say_their_digest(ledger, fill):
    winners = [{"winners": {"a": name}, "x": 1} for name in ("1" * 16, "2" * 16)]
    for number, config in enumerate(winners):
        fill(GOOD, config=config, digest=str(number) * 16)
    assert sorted(names_in(ledger).values()) == [
        f"DAD-Net (micro/ultralight), {number * 8}" for number in ("0", "1")
    ]


def test_a_given_name_is_kept_beside_the_experiment_and_wins(ledger, fill):
    experiment = fill(GOOD)
    before = experiment.digest, ledger.experiments()
    assert given_name(ledger, experiment) is None
    put_name(ledger, experiment, "first")
    put_name(ledger, experiment, "ours")
    assert given_name(ledger, experiment) == "ours"
    assert (experiment.digest, ledger.experiments()) == before
    (row,) = leaderboard(ledger).rows
    assert row.name == "ours"
    assert row.experiment.method == "DAD-Net (micro/ultralight)"


def test_a_damaged_name_is_a_warning_and_readers_write_nothing(ledger, fill):
    experiment = fill(GOOD)
    path = ledger.folder(experiment) / "name.json"
    path.write_text("{")
    with pytest.warns(LedgerWarning, match="damaged"):
        (row,) = leaderboard(ledger).rows
    assert row.name == experiment.method
    assert path.read_text() == "{"
    with pytest.warns(LedgerWarning, match="was moved"):
        put_name(ledger, experiment, "ours")
    assert given_name(ledger, experiment) == "ours"
    other = fill(GOOD, seed=9)
    path.rename(ledger.folder(other) / "name.json")  # of another experiment
    with pytest.warns(LedgerWarning, match="expected the name of"):
        assert given_name(ledger, other) is None


def test_one_name_on_a_board_once(ledger, fill):
    first, second, elsewhere = fill(GOOD), fill(GOOD, seed=1), fill(GOOD, protocol="cde")
    put_name(ledger, first, "ours")
    with pytest.raises(DadnetError, match=f"'ours' is the name of {first.digest}"):
        check_free(ledger, second, "ours")
    check_free(ledger, first, "ours")  # its own
    check_free(ledger, elsewhere, "ours")
    for bad in ("", " x", "x\n", "x" * 81):
        with pytest.raises(DadnetError, match="expected 1 to 80 printable characters"):
            check_free(ledger, second, bad)


def test_a_word_finds_by_digest_and_by_name(ledger, fill):
    one, two = fill(GOOD, method="alpha"), fill(GOOD, method="beta", dataset="casme2")
    put_name(ledger, two, "Beta of today")
    for word in (one.digest, one.digest[:6], "alpha", "AL"):
        assert find_experiment(ledger, word) == one
    for word in ("Beta of today", "beta", two.digest[:9]):
        assert find_experiment(ledger, word) == two
    three = fill(GOOD, method="alpha beta")
    assert find_experiment(ledger, "alpha") == one  # a whole name before the beginning of one
    with pytest.raises(DadnetError) as error:
        find_experiment(ledger, "al")
    for experiment in (one, three):
        assert experiment.digest in str(error.value)
    assert two.digest not in str(error.value)
    with pytest.raises(DadnetError, match="got: None"):
        find_experiment(ledger, None)


def test_the_line_of_an_ambiguous_word_is_short(ledger, fill):
    for number in range(7):
        fill(GOOD, method=f"{'m' * 70} {number}")
    with pytest.raises(DadnetError) as error:
        find_experiment(ledger, "m" * 60)
    assert "3 more" in str(error.value)
    assert len(str(error.value)) <= 300
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("dataset", ["casme3", "fourdme", "dfme"])
def test_a_preset_is_known_again(name, dataset):
    config = get_preset(name, DataConfig(dataset=dataset, class_set="7class"))
    experiment = build_experiment(GOOD, **identity(config))
    assert preset_text(experiment) == name
    alone = replace(config, seed=9)
    assert preset_text(build_experiment(GOOD, **identity(alone))) == name


def test_a_changed_preset_says_what_was_changed():
    smoke = get_preset("smoke", DataConfig())
    fewer = replace(smoke, optim=replace(smoke.optim, epochs=20))
    assert preset_text(build_experiment(GOOD, **identity(fewer))) == "smoke, epochs 20"
    alone = replace(smoke, model=replace(smoke.model, model_type="baseline"))
    assert preset_text(build_experiment(GOOD, **identity(alone))) == "smoke"
    other = replace(fewer, optim=replace(fewer.optim, lr=1.0, batch_size=3, patience=4))
    assert preset_text(build_experiment(GOOD, **identity(other))) is None
    assert preset_text(build_experiment(GOOD)) is None  # no configuration of ours
