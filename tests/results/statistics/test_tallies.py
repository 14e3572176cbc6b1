import json

import pytest

from results.leaderboard.export import to_json
from results.leaderboard.ranking import leaderboard
from results.ledger.ledger import LedgerWarning
from results.ledger.quick import read_clips, read_experiment, sealed_whole
from results.ledger.sealed import seal
from results.statistics import tallies
from results.statistics.tallies import read_tallies

TABLE = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}


@pytest.fixture
def many(ledger, fill, monkeypatch):
    """A ledger of three experiments, whose few folds count as many."""
    monkeypatch.setattr(tallies, "_FEW", 1)
    experiments = [fill(TABLE, method=name) for name in ("one", "two")]
    return [*experiments, fill(TABLE, method="half", without=["c"])]


def test_the_quick_path_reads_what_the_slow_one_reads(ledger, fill, make_record):
    experiment = fill(TABLE)
    folder = ledger.folder(experiment)
    assert read_experiment((folder / "experiment.json").read_bytes()) == experiment
    num_done, clips, *_ = read_clips(experiment, ledger.read_all(experiment))
    rows = [row for record in ledger.records(experiment) for row in record.predictions]
    assert num_done == 3
    read = [(c.clip_id, c.subject, c.label, c.prediction, c.probabilities) for c in clips]
    assert read == [(r.clip_id, r.subject, r.label, r.prediction, r.probabilities) for r in rows]


def test_the_quick_path_notices_every_changed_bit(ledger, fill):
    experiment = fill(TABLE)
    text = ledger.fold_path(experiment, "a").read_bytes()
    assert sealed_whole(text)
    for position in range(len(text) - 1):
        for bit in range(8):
            broken = bytearray(text)
            broken[position] ^= 1 << bit
            assert not sealed_whole(bytes(broken)), position


WRONG = {
    "schema": 2,
    "experiment": "0" * 16,
    "fold": "b",
    "selection": "oracle",
    "teacher_digest": "x",
    "fit_subjects": ["a"],
    "val_subjects": ["b", "b"],
    "test_subjects": ["c"],
    "chosen_epoch": -1,
    "curves": {"a": ["x"]},
    "predictions": [],
    "audit": "\u0007",
    "host": {"tries": "x"},
    "surplus": 1,
}


@pytest.mark.parametrize("field", WRONG)
def test_the_quick_path_leaves_wrong_fields_to_the_slow_one(ledger, fill, field):
    experiment = fill(TABLE)
    path = ledger.fold_path(experiment, "a")
    payload = json.loads(path.read_bytes())
    del payload["checksum"]
    path.write_text(seal({**payload, field: WRONG[field]}) + "\n")
    assert read_clips(experiment, ledger.read_all(experiment)) is None
    with pytest.warns(LedgerWarning, match="left out"):
        assert ledger.record(experiment, "a") is None


HOSTS = [
    {"tries": -1},
    {"tries": 10**400},
    {"seconds": "1"},
    {"stack": 0},
    {"started_at": "yesterday"},
    {"started_at": 5},
    {"versions": {"torch": 2}},
    {"versions": [1]},
]


@pytest.mark.parametrize("host", HOSTS, ids=range(len(HOSTS)))
def test_both_paths_refuse_a_host_that_no_page_can_show(ledger, fill, host):
    experiment = fill(TABLE)
    path = ledger.fold_path(experiment, "a")
    payload = json.loads(path.read_bytes())
    del payload["checksum"]
    path.write_text(seal({**payload, "host": host}) + "\n")
    assert read_clips(experiment, ledger.read_all(experiment)) is None
    with pytest.warns(LedgerWarning, match="left out: host: "):
        assert ledger.record(experiment, "a") is None


def test_wrong_clips_are_left_to_the_slow_path(ledger, fill):
    experiment = fill(TABLE)
    path = ledger.fold_path(experiment, "a")
    good = json.loads(path.read_bytes())
    del good["checksum"]
    for change in (
        {"label": "fear"},
        {"subject": "b"},
        {"clip_id": "a/clip1"},
        {"clip_id": ""},
        {"probabilities": [0.5, 0.5]},
        {"probabilities": [0.9, 0.9, 0.9]},
        {"probabilities": [1.5, -0.5, 0.0]},
    ):
        rows = [{**good["predictions"][0], **change}, good["predictions"][1]]
        text = (seal({**good, "predictions": rows}) + "\n").encode()
        files = [(experiment.folds[0], text)]
        assert read_clips(experiment, files) is None, change


def test_an_experiment_without_a_fold_keeps_the_shape_of_its_counts(ledger, fill):
    experiment = fill(TABLE, without=list(TABLE))
    (empty,) = read_tallies(ledger, [experiment])
    assert (empty.num_done, empty.summary) == (0, None)
    assert empty.counts.confusions.shape == (0, 3, 3)


def test_the_subsets_of_a_composite_have_groups_of_their_own(ledger, fill):
    composite = {"smic/a": TABLE["a"], "samm/b": TABLE["b"], "samm/c": TABLE["c"]}
    fill(composite, dataset="megc2019", protocol="cde")
    assert [(g.subset, g.rows[0].num_subjects) for g in leaderboard(ledger).groups] == [
        ("", 3),
        ("samm", 2),
        ("smic", 1),
    ]


def test_a_new_fold_and_a_damaged_one_change_the_leaderboard(ledger, many, make_record):
    _, two, half = many
    assert not leaderboard(ledger).complete
    ledger.put(half, make_record(half, "c", TABLE["c"]))
    assert leaderboard(ledger).complete
    path = ledger.fold_path(two, "b")
    path.write_bytes(path.read_bytes().replace(b"surprise", b"positive", 1))
    with pytest.warns(LedgerWarning, match="checksum"):
        board = leaderboard(ledger)
    assert [row.status for row in board.rows] == ["ranked", "ranked", "incomplete"]


def test_processes_give_the_same_tallies_and_pass_warnings_on(ledger, many):
    one, _, _ = many
    assert to_json(leaderboard(ledger, processes=2)) == to_json(leaderboard(ledger))
    alone = read_tallies(ledger, many)
    ledger.fold_path(one, "b").write_text("{")
    with pytest.warns(LedgerWarning, match="damaged"):
        together = read_tallies(ledger, many, processes=2)
    assert [item.num_done for item in together] == [2, 3, 2]
    assert together[1].summary == alone[1].summary
