"""The commands of ``python -m results``, one function each; they return the exit status."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings

from threadpoolctl import threadpool_limits

from dadnet.base.errors import DadnetError
from dadnet.base.location import replace_file
from dadnet.labels.own_labels import read_translation
from results import flags
from results.exchange import submission
from results.exchange.imported import ForeignTable, import_file
from results.exchange.predictions import megc_log, prediction_csv
from results.exchange.signature import fingerprint_of
from results.exchange.trackers import MLflow, TensorBoard, Tracker, feed
from results.leaderboard import leaklab
from results.leaderboard.columns import columns_of
from results.leaderboard.names import find_experiment, names_in
from results.leaderboard.ranking import Filters, leaderboard
from results.leaderboard.rows import Group
from results.leaderboard.stamp import write_site_stamp
from results.leaderboard.text import terminal_width, text_table
from results.ledger.files import lines_of
from results.ledger.ledger import Ledger, LedgerWarning
from results.ledger.mirror import readable
from results.ledger.sources import source_note
from results.pages import run as pages
from results.pages.compare import compare_page_name, render_compare
from results.pages.linking import add_page
from results.pages.plots import lines
from results.pages.rendering import PLOTLY_FILE, render
from results.pages.site import write_site
from results.statistics.compare import Comparison

DONE, INCOMPLETE = 0, 3


def leaderboard_site(
    ledger: Ledger, arguments: flags.LeaderboardFlags, made_from: str | None, processes: int
) -> int:
    """Make the site of a ledger in a folder."""
    filters = Filters(arguments.dataset, arguments.protocol, arguments.class_set)
    formats, columns = tuple(arguments.format.split(",")), columns_of(arguments.columns)
    # The products are small: more threads than one would mostly wait for each other, and spin.
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("always", LedgerWarning)
        experiments = ledger.experiments()
        made = leaderboard(ledger, filters=filters, experiments=experiments, processes=processes)
        paths = write_site(
            made,
            arguments.out,
            formats,
            ledger=ledger,
            run_pages=arguments.run_pages,
            flows=arguments.flows,
            standalone=arguments.standalone,
            columns=columns,
        )
    text = text_table(made, terminal_width(), most=50, chosen=columns)
    print(text)
    orphans = [
        f"{path} has records without an experiment.json that can be read"
        for path in ledger.orphans(experiments)
    ]
    lines = lines_of(caught) + orphans
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)
    print(f"wrote {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""))
    status = INCOMPLETE if orphans or not made.complete else DONE
    write_site_stamp(arguments.out, made_from, paths, text, lines, status)
    return status


def import_predictions(arguments: flags.ImportFlags) -> int:
    """Put the predictions of another program into a ledger."""
    classes = None
    if arguments.classes is not None:
        classes = tuple(name.strip() for name in arguments.classes.split(","))
    table = ForeignTable(
        path=arguments.file,
        method=arguments.method,
        dataset=arguments.dataset,
        protocol=arguments.protocol,
        class_set=arguments.class_set,
        selection=arguments.selection,
        classes=classes,
        format=arguments.format,
        labels=read_translation(arguments.labels),
    )
    ledger = Ledger(arguments.ledger)
    imported = import_file(table, ledger)
    experiment = imported.experiment
    num_clips = sum(fold.num_test_clips for fold in experiment.folds)
    print(
        f"{experiment.method}: {num_clips} clips of {len(experiment.folds)} subjects "
        f"are in {ledger.folder(experiment)}"
    )
    for note in imported.notes:
        print(f"note: {note}")
    return DONE


def predictions(arguments: flags.PredictionsFlags) -> int:
    """Write the per-clip predictions of one experiment, in a format that challenges ask for."""
    ledger = readable(Ledger(arguments.ledger))
    experiment = find_experiment(ledger, arguments.name or arguments.experiment)
    records = ledger.records(experiment)
    if len(records) < len(experiment.folds):
        missing = len(experiment.folds) - len(records)
        print(
            f"incomplete: {missing} of {len(experiment.folds)} folds are missing", file=sys.stderr
        )
        return INCOMPLETE
    if arguments.format == "megc-log":
        if arguments.part is not None:
            raise DadnetError("part: the megc-log holds all clips; leave the option out")
        text = megc_log(experiment, records)
    else:
        text = prediction_csv(experiment, records, arguments.part)
    if arguments.out is None:
        print(text, end="")
    else:
        replace_file(arguments.out, text)
        print(f"wrote {arguments.out}")
    return DONE


def run_page(arguments: flags.RunFlags) -> int:
    """Make the page of one experiment."""
    ledger = readable(Ledger(arguments.ledger))
    row = pages.row_of(ledger, find_experiment(ledger, arguments.experiment))
    path = arguments.out / pages.run_page_name(row.experiment)
    add_page(path, pages.render_run(ledger, row, arguments.flows, arguments.standalone))
    print(f"wrote {path}")
    robust = pages.render_own_robustness(ledger, row, arguments.standalone)
    if robust is not None:
        beside = arguments.out / pages.robustness_page_name([row.experiment])
        add_page(beside, robust)
        print(f"wrote {beside}")
    return DONE if row.complete else INCOMPLETE


def compare_page(arguments: flags.CompareFlags) -> int:
    """Compare two experiments, on a page and in two lines."""
    ledger = readable(Ledger(arguments.ledger))
    first, second = (find_experiment(ledger, name) for name in (arguments.first, arguments.second))
    page, gap = render_compare(ledger, first, second, arguments.flows, arguments.standalone)
    path = arguments.out / compare_page_name(first, second)
    add_page(path, page)
    names = names_in(ledger)
    print(Comparison.of(names[first.digest], names[second.digest], gap))
    print(f"wrote {path}")
    return DONE


def leak_laboratory(arguments: flags.LeaklabFlags) -> int:
    """Simulate coins that choose on the test subjects, and show what peeking gave our rows."""
    draws = _numbers(arguments.k)
    groups: tuple[Group, ...] = ()
    if arguments.labels is None or arguments.ledger.is_dir():
        groups = leaderboard(readable(Ledger(arguments.ledger))).groups
    if arguments.labels is not None:
        tables = [leaklab.labels_of_table(arguments.labels)]
    else:
        complete = [g for g in groups if any(r.complete for r in g.rows)]
        single = [g for g in complete if not g.multi_label]
        for group in (g for g in complete if g.multi_label and single):
            print(f"left out: {group.title}: its clips have several labels")
        tables = [leaklab.labels_of_rows(group) for group in single or complete]
    if not tables:
        raise DadnetError("expected a complete experiment or --labels, got: neither")
    parts = []
    for labels in tables:
        lucks = [leaklab.luck(labels, number, arguments.repeats) for number in draws]
        parts.append((labels, lucks, leaklab.constants(labels), leaklab.perfect(labels)))
        for item in lucks:
            print(f"{labels.name}: a coin, best of {item.draws} per subject: UF1 {item.uf1:.3f}")
    gains = leaklab.own_gains([row for group in groups for row in group.rows])
    for row in gains:
        print(f"{row.name}: peeking gains {row.gain:+.3f} UF1")
    curves = {
        labels.name: [(float(item.draws), item.uf1) for item in lucks]
        for labels, lucks, _, _ in parts
    }
    page = render(
        "leaklab.html.j2",
        plots={"luck": lines(curves, "draws to choose from", "UF1, pooled", "log")},
        standalone=arguments.standalone,
        parts=parts,
        gains=gains,
        repeats=arguments.repeats,
    )
    path = arguments.out / "leaklab.html"
    add_page(path, page)
    print(f"wrote {path}")
    return DONE


def write_plots(arguments: flags.FiguresFlags) -> int:
    """Write the plots of pages as files."""
    from results.exchange.figures import write_figures  # a browser only when needed

    formats = tuple(arguments.format.split(","))
    paths = write_figures(arguments.pages, arguments.out, formats, PLOTLY_FILE)
    print(f"wrote {len(paths)} files in {arguments.out}")
    return DONE


def _numbers(text: str) -> list[int]:
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise DadnetError(f"expected whole numbers with commas between, got: {text!r}") from error


def pack_bundle(arguments: flags.PackFlags) -> int:
    """Pack the named experiments, or all complete ones."""
    ledger = readable(Ledger(arguments.ledger))
    if arguments.experiments:
        chosen = [find_experiment(ledger, name) for name in arguments.experiments]
    else:
        chosen = [e for e in ledger.experiments() if not ledger.missing(e)]
        left_out = len(ledger.experiments()) - len(chosen)
        if left_out:
            print(f"warning: {left_out} incomplete experiments are left out", file=sys.stderr)
    submission.pack(ledger, chosen, arguments.out, arguments.sign)
    signed = "" if arguments.sign is None else ", signed"
    print(f"packed and checked {len(chosen)} experiments in {arguments.out}{signed}")
    return DONE


def verify_bundle(arguments: flags.VerifyFlags) -> int:
    """Check a bundle, and make one fold again where asked."""
    checked = submission.verify(arguments.bundle)
    signer, packed = checked.signer, checked.experiments
    if arguments.signer is not None and signer != (wanted := fingerprint_of(arguments.signer)):
        raise DadnetError(
            f"signer: expected {arguments.bundle} to be signed by {wanted}, it is "
            f"{'not signed' if signer is None else f'signed by {signer}'}"
        )
    for item in packed:
        uf1, audits = item.summary.uf1.value, {record.audit for record in item.records}
        print(
            f"{item.experiment.digest} {item.experiment.method}: {len(item.records)} folds, "
            f"UF1 {0.0 if uf1 is None else uf1:.4f}; {'; '.join(sorted(audits))}"
        )
        if note := source_note(item.experiment.config):
            print(f"{item.experiment.digest}: {note}")
    if arguments.rerun:
        item = packed[arguments.seed % len(packed)]
        fold = submission.rerun(item, arguments.rerun, arguments.seed)
        print(f"fold {fold} of {item.experiment.digest} was made again and is equal")
    print(
        f"{arguments.bundle} holds: schema, digests, audit and figures; "
        f"{'not signed' if signer is None else f'signed by {signer}'}"
    )
    if not arguments.rerun:
        print(
            "not checked: that the predictions come from this training; --rerun makes a fold again"
        )
    return DONE


def merge_sources(arguments: flags.MergeFlags) -> int:
    """Put bundles and ledgers into a ledger."""
    new, same = submission.merge(arguments.sources, Ledger(arguments.ledger))
    print(f"merged into {arguments.ledger}: {new} folds new, {same} there already")
    return DONE


def track(arguments: flags.TrackFlags) -> int:
    """Feed TensorBoard or MLflow from an experiment's event log."""
    ledger = readable(Ledger(arguments.ledger))
    experiment = find_experiment(ledger, arguments.experiment)
    trackers: list[Tracker] = []
    if arguments.tensorboard is not None:
        trackers.append(TensorBoard(arguments.tensorboard, experiment))
    if arguments.mlflow is not None:
        trackers.append(MLflow(arguments.mlflow, experiment))
    if not trackers:
        raise DadnetError("expected --tensorboard FOLDER or --mlflow URI, got: neither")
    seen: set[str] = set()
    complete = feed(ledger, experiment, trackers, seen)
    with contextlib.suppress(KeyboardInterrupt):
        while arguments.follow and not complete:
            time.sleep(2)
            complete = feed(readable(Ledger(arguments.ledger)), experiment, trackers, seen)
    print(f"{len(seen)} of {len(experiment.folds)} folds of {experiment.digest} are shown there")
    return DONE if complete else INCOMPLETE
