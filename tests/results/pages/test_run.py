import base64
import json
import re
import shlex

import numpy as np
import pytest

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ExperimentConfig, LossConfig, ModelConfig, OptimConfig
from results.__main__ import main
from results.leaderboard.ranking import leaderboard
from results.ledger.features import Features, put_features, read_features
from results.ledger.ledger import LedgerWarning
from results.ledger.records import PlannedFold, Prediction
from results.pages.compare import render_compare
from results.pages.flow_picture import colours, png
from results.pages.maps import corners, hardest, map_of_features, map_of_probabilities
from results.pages.plots import plain
from results.pages.reproduce import environment, reproduce, shown_path
from results.pages.run import render_run, row_of
from results.pages.site import write_site

TABLE = {"a": ["n>n", "p>p"], "b": ["s>s", "n>p"], "c": ["p>p", "s>n"]}
EVIL = "<script>alert(1)</script>"


def features_of(experiment, fold="a", num_clips=2) -> Features:
    means = np.eye(3, 5)
    table = np.stack([means[n % 3] for n in range(num_clips)])
    clips = tuple(f"{fold}/clip{n}" for n in range(num_clips))
    return Features(experiment.digest, fold, clips, table, means)


def test_features_survive_the_ledger_and_damage_is_a_warning(ledger, fill):
    experiment = fill(TABLE)
    assert read_features(ledger, experiment) == []
    stored = features_of(experiment)
    assert put_features(ledger, experiment, stored)
    assert not put_features(ledger, experiment, stored)
    (found,) = read_features(ledger, experiment)
    np.testing.assert_allclose(found.features, stored.features)
    assert found.clip_ids == stored.clip_ids
    path = ledger.folder(experiment) / "features" / "a.json"
    path.write_text(path.read_text().replace("1.0", "2.0", 1))
    with pytest.warns(LedgerWarning, match=r"a\.json is left out: the checksum"):
        assert read_features(ledger, experiment) == []
    with pytest.raises(DadnetError, match="finite"):
        Features(experiment.digest, "a", ("x",), np.full((1, 2), np.nan), np.zeros((3, 2)))
    with pytest.raises(DadnetError, match=r"features \(N, D\)"):
        Features(experiment.digest, "a", ("x",), np.zeros((1, 2)), np.zeros((3, 3)))


def test_a_clip_at_a_class_mean_is_at_its_corner_whatever_the_folds_axes(fill):
    experiment = fill(TABLE)
    ends = corners(3)
    plain_fold = features_of(experiment)
    turned, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    moved = Features(
        experiment.digest,
        "b",
        ("b/clip0", "b/clip1"),
        plain_fold.features @ turned + 3,
        plain_fold.class_means @ turned + 3,
    )
    places = map_of_features([plain_fold, moved])
    for fold in "ab":
        np.testing.assert_allclose(places[f"{fold}/clip0"], ends[0], atol=1e-9)
        np.testing.assert_allclose(places[f"{fold}/clip1"], ends[1], atol=1e-9)


def test_probabilities_place_a_clip_and_choose_the_hardest():
    rows = [
        Prediction("x/1", "x", "", "p", "n", (0.7, 0.2, 0.1)),
        Prediction("x/2", "x", "", "s", "n", (0.9, 0.05, 0.05)),
        Prediction("x/3", "x", "", "n", "n", (1.0, 0.0, 0.0)),
    ]
    places = map_of_probabilities(rows)
    np.testing.assert_allclose(places["x/3"], corners(3)[0])
    assert [row.clip_id for row in hardest(rows, ("n", "p", "s"), 5)] == ["x/2", "x/1"]


@pytest.mark.parametrize(
    "config",
    [
        ExperimentConfig(),
        ExperimentConfig(
            model=ModelConfig(stn=False, channel_attention=False, micro_size="small"),
            loss=LossConfig(alignment_stages=(1, 3), alignment_weight=0.25),
            optim=OptimConfig(epochs=3, patience=2),
            seed=7,
        ),
    ],
)
def test_the_command_makes_the_same_experiment(make_experiment, config):
    from orchestration.folds.flags import parse_flags

    experiment = make_experiment(
        TABLE, config=json.loads(json.dumps(config.to_json())), teacher_digest="t"
    )
    words = shlex.split(reproduce(experiment).replace("\\\n", ""))
    assert words[:2] == ["dadnet", "loso"]
    flags = parse_flags(words[2:])
    assert flags.experiment == config
    assert str(flags.macro_weights) == "teacher.safetensors"


def test_the_page_shows_what_there_is_and_says_what_there_is_not(ledger, fill, make_record):
    experiment = fill(TABLE, without=["c"])
    text = render_run(ledger, row_of(ledger, experiment))
    assert "2 of 3 folds are finished" in text
    assert "do not say when and where" in text
    assert "Neither features nor probabilities" in text
    assert "it was not recorded by stage" not in text  # no alignment curve at all
    host = {"started_at": "2026-01-01T00:00:00+00:00", "seconds": 3.5, "worker": "w", "tries": 2}
    curves = {"alignment": (0.5, 0.4), "alignment_stage_2": (0.25, 0.2), "train_loss": (1.0, 0.5)}
    record = make_record(experiment, "c", TABLE["c"], host=host, curves=curves)
    ledger.put(experiment, record)
    put_features(ledger, experiment, features_of(experiment))
    event = {"at": "2026-01-01T00:00:01+00:00", "event": "returned", "fold": "c", "worker": "w"}
    ledger.events_path(experiment).write_text(json.dumps(event) + "\n")
    text = render_run(ledger, row_of(ledger, experiment))
    assert "Alignment loss by stage" in text
    assert "1 tries failed" in text
    assert "class means of its own fold" in text
    assert "second or later try" in text
    assert "b/<wbr>clip1" in text
    assert "dadnet loso" in text
    assert len(text.encode()) < 3e6


def test_pages_of_runs_are_linked_and_equal_again(ledger, fill, tmp_path):
    for method in ("one", "two", "three"):
        fill(TABLE, method=method)
    board = leaderboard(ledger)
    paths = write_site(board, tmp_path / "x", ("html",), ledger=ledger, run_pages=2)
    runs = [path.name for path in paths if path.name.startswith("run-")]
    assert len(runs) == 2
    page = (tmp_path / "x" / "synthetic.html").read_text()
    assert set(re.findall(r'href="(run-[0-9a-f]{16}\.html)"', page)) == set(runs)
    again = write_site(leaderboard(ledger), tmp_path / "y", ("html",), ledger=ledger, run_pages=2)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def test_names_are_text_in_plots_too(ledger, make_experiment, make_record):
    names = (EVIL, "positive")
    folds = (PlannedFold(EVIL, (EVIL,), 1), PlannedFold("b", ("b",), 1))
    experiment = make_experiment({}, folds=folds, classes=names, method=EVIL, dataset=EVIL)
    ledger.open(experiment)
    for fold in folds:
        row = Prediction(f"{fold.name}/1", fold.name, "", EVIL, "positive", (0.4, 0.6))
        ledger.put(experiment, make_record(experiment, fold.name, [], predictions=(row,)))
    text = render_run(ledger, row_of(ledger, experiment))
    assert EVIL not in text
    assert text.count("<script") == 4
    assert plain(EVIL) == "&lt;script&gt;alert(1)&lt;/script&gt;"
    island = re.search(r'id="plots">(.*?)</script>', text, re.DOTALL).group(1)
    assert "<" not in island
    assert plain(EVIL) in json.dumps(json.loads(island))


def test_comparison_counts_what_changed(ledger, fill):
    one = fill(TABLE, method="one")
    two = fill({**TABLE, "a": ["n>p", "p>p"], "c": ["p>p", "s>s"]}, method="two")
    text, found = render_compare(ledger, one, two)
    assert "1 right in A only, 1 right in B only" in text
    assert found.value == pytest.approx(
        row_of(ledger, one).summary.uf1.value - row_of(ledger, two).summary.uf1.value
    )
    half = fill(TABLE, method="half", without=["a"])
    with pytest.raises(DadnetError, match="with 2 of 3 folds"):
        render_compare(ledger, one, half)
    other = fill({"a": ["n>n"]}, method="other")
    with pytest.raises(DadnetError, match="same clips"):
        render_compare(ledger, one, other)


def test_commands_take_the_beginning_of_a_digest(ledger, fill, tmp_path, capsys):
    one, two = fill(TABLE, method="one"), fill(TABLE, method="two")
    words = ["--ledger", str(ledger.root), "--out", str(tmp_path)]
    assert main(["run", one.digest[:6], *words]) == 0
    assert (tmp_path / f"run-{one.digest}.html").exists()
    assert main(["compare", one.digest[:6], two.digest[:6], *words]) == 0
    assert "+0.000" in capsys.readouterr().out
    assert ledger.find(two.digest) == two
    with pytest.raises(DadnetError, match="digest of one experiment"):
        ledger.find("")


def test_hardest_clips_show_their_flows(ledger, fill, store):
    from dadnet.flow.store import load_flow_store

    clips = load_flow_store(store).clips["clip_id"].tolist()
    subject = clips[0].rsplit("/", 1)[0]
    experiment = fill({subject: ["n>p", "n>n"]})  # its clips are named clip0, clip1
    text = render_run(ledger, row_of(ledger, experiment), store)
    assert f"{subject}/clip0" in clips
    assert text.count("data:image/png;base64,") == 2  # and the key to the colours
    assert "Colour wheel: red is motion to the right" in text


def test_pictures_of_flows_are_whole_png_files():
    import cv2

    flow = np.zeros((2, 8, 8))
    flow[0, :4] = 1.0
    picture = colours(flow)
    decoded = cv2.imdecode(np.frombuffer(png(picture), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], picture)
    assert (picture[-1] == 255).all()  # no motion is white
    assert tuple(picture[0, 0]) == (255, 0, 0)  # to the right is red


def test_the_subjects_are_a_table_and_no_machine_is_named(ledger, fill, make_record):
    experiment = fill(TABLE, without=["b", "c"])
    for number, fold in enumerate("bc"):
        host = {
            "started_at": f"2026-01-01T00:00:{30 * number:02d}+00:00", "seconds": 40.25,
            "worker": f"secret-host:{9 - number}", "hostname": "secret-host", "device": "cuda:0",
            "gpu_name": "H100",
        }  # fmt: skip
        curves = {"val_uf1": (0.25, 0.75)}
        record = make_record(
            experiment, fold, TABLE[fold], host=host, curves=curves, chosen_epoch=2
        )
        ledger.put(experiment, record)
    text = render_run(ledger, row_of(ledger, experiment))
    assert "secret-host" not in text
    assert "Made 2026-01-01 in 1 min 10 s, on H100, 1 min 20 s of training over all folds." in text
    table = base64.b64decode(re.search(r"data:text/csv;base64,([^\"]*)", text).group(1)).decode()
    assert table.splitlines() == [
        "subject,clips,right,epoch,val_uf1,seconds,worker",
        "a,2,2,1,0.25,1.5,",
        "b,2,1,2,0.75,40.25,worker 1",
        "c,2,1,2,0.75,40.25,worker 2",
    ]


def test_the_command_names_the_paths_of_the_run_and_no_home(make_experiment):
    experiment = make_experiment(TABLE, config=ExperimentConfig().to_json())
    text = reproduce(experiment, flows="my flows", ledger="s3://bucket/runs")
    assert "--flows 'my flows'" in text
    assert "--ledger s3://bucket/runs" in text
    assert shown_path("/home/me/runs") == "runs"
    assert shown_path("some/runs") == "some/runs"


def test_the_stack_is_said_of_folds_from_a_gpu_which_rounds_by_it(make_experiment, make_record):
    experiment = make_experiment(TABLE)
    for device, line in (("cuda", "folds trained in stacks of 8 on cuda"), ("cpu", "8")):
        record = make_record(experiment, "a", TABLE["a"], host={"device": device, "stack": 8})
        assert ("stack", line) in environment([record])
