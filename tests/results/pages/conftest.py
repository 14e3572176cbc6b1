"""Headless Chromium, as a reader's browser, and a site with every kind of page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dadnet.flow.corruptions import VERSION, suite
from results.__main__ import main
from results.exchange.imported import ForeignTable, import_table
from results.leaderboard.ranking import leaderboard
from results.ledger.corrupted import CorruptedFold, RobustnessLedger
from results.ledger.explanation import Explanation, put_explanation
from results.ledger.records import FoldRecord
from results.ledger.studies import StudyLedger
from results.pages.ablation import ablation_page_name, make_ablation, render_ablation
from results.pages.compare import compare_page_name
from results.pages.linking import add_page
from results.pages.site import write_site
from tests.build.records import CLASSES, build_experiment, build_record, build_study

EVIL = "<script>alert(1)</script>"
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,1000",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    pytest.importorskip("selenium", reason="selenium is not installed")
    for program in (CHROMIUM, DRIVER):
        if not program.exists():
            pytest.skip(f"{program} is not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def site(ledger, fill, random_table, published_log, tmp_path) -> dict[str, Path]:
    """A site with every kind of page, by kind or dataset; one of its names is a script."""
    log = ForeignTable(published_log, "STSTNet (published log)", "megc2019", "cde")
    import_table(log, ledger)
    table = random_table(24, 0.75, 1, "casme2")
    best = fill(table, dataset="casme2")
    StudyLedger(ledger.root).put(build_study((best.digest,), dataset="casme2"))
    fill(random_table(24, 0.5, 2, "casme2"), dataset="casme2", method="Z: single stream")
    fill(random_table(24, 0.6, 3, "casme2"), dataset="casme2", method="A: no transformer")
    fill(random_table(24, 0.9, 4, "casme2"), dataset="casme2", selection="oracle")
    fill(table, without=list(table)[17:], dataset="casme2", seed=7)
    for seed, selection in ((1, "inner"), (2, "last"), (3, "oracle")):
        samm = random_table(12, 0.5 + 0.1 * seed, seed, "samm")
        fill(samm, dataset="samm", method=f"M{seed}", selection=selection)
    fill(samm, dataset="samm", method="M4", protocol="group-kfold")
    evil = {f"{EVIL}/1": ["n>n", "s>p"], "2": ["p>p"]}
    experiment = build_experiment(evil, dataset=EVIL, method=EVIL + "x" * 80)
    ledger.open(experiment)
    for number, (fold, clips) in enumerate(evil.items()):
        record = with_everything(build_record(experiment, fold, clips), number)
        ledger.put(experiment, record)
        put_corrupted(ledger, experiment, record)
    put_explanation(ledger, experiment, explanation_of(experiment, evil))
    folder = tmp_path / "site"
    paths = write_site(leaderboard(ledger), folder, ("html", "csv"), ledger=ledger, run_pages=1)
    pages = {path.stem.split("-")[0]: path for path in paths if path.suffix == ".html"}
    pages["run"] = folder / f"run-{experiment.digest}.html"
    first, second = (e for e in ledger.experiments() if e.dataset == "casme2" and e.seed == 0
                     and e.protocol == "loso" and e.method[:2] in ("Z:", "A:"))  # fmt: skip
    pages["compare"] = folder / compare_page_name(first, second)
    found = make_ablation(ledger, [("base", first), (EVIL, second)])
    pages["ablation"] = folder / ablation_page_name(found)
    add_page(pages["ablation"], render_ablation(found))
    words = ["--ledger", str(ledger.root), "--out", str(folder)]
    assert main(["compare", first.digest, second.digest, *words]) == 0
    assert main(["leaklab", *words, "--repeats", "5", "--k", "1,10"]) == 0
    pages["leaklab"] = folder / "leaklab.html"
    assert {"robustness", "study"} <= set(pages)
    return pages


def with_everything(record: FoldRecord, number: int) -> FoldRecord:
    """Return the record with probabilities, curves by stage and where it was made."""
    share = {True: 0.8, False: 0.1}
    rows = tuple(
        row.replace(probabilities=tuple(share[name == row.prediction] for name in CLASSES))
        for row in record.predictions
    )
    names = ("train_loss", "alignment_stage_2", "val_uf1", "val_uar", "val_log_loss")
    host = {
        "started_at": f"2026-01-01T00:0{number}:00+00:00",
        "seconds": 40,
        "worker": EVIL,
        "tries": number + 1,
        "gpu_name": EVIL,
        "weights_digest": "w" * 16,
    }
    curves = dict.fromkeys(names, (0.9, 0.5, 0.4))
    return record.replace(predictions=rows, curves=curves, host=host)


def put_corrupted(ledger, experiment, record: FoldRecord) -> None:
    """Store the fold under every severity of two kinds, with the answers of the record."""
    for corruption in suite(("noise", "downsample")):
        scored = CorruptedFold(
            experiment.digest, record.fold, "w" * 16, corruption.kind, corruption.severity,
            VERSION, record.predictions, {},
        )  # fmt: skip
        RobustnessLedger(ledger.root).put(experiment, record, scored)


def explanation_of(experiment, table) -> Explanation:
    """Return an explanation that has a plot of every sort."""
    clips = [f"{fold}/clip{i}" for fold, rows in table.items() for i in range(len(rows))]
    density = {"stage": 2, "gswd": [2.0, 0.5], "centres": [0, 1], "before": [[1, 0], [0, 1]]}
    return Explanation(
        experiment.digest,
        {clip: (5.0 * n, 1.0, 0.1, -0.1) for n, clip in enumerate(clips)},
        ({"low": [0.8, 0.1], "middle": [0.9, 0.2], "high": [1.0, 0.3]},),
        ({"stage": 0, "share": 0.1, "maps": {name: [[0, 1], [2, 3]] for name in CLASSES}},),
        ({**density, "after": [[1, 0], [1, 0]]},),
        EVIL,
    )
