"""The leaderboard as self-contained HTML pages: one per dataset, an index, and the exports."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from dadnet.base.errors import DadnetError
from results.leaderboard.columns import board_columns, first_columns
from results.leaderboard.export import Chosen, to_csv, to_json, to_latex, to_markdown
from results.leaderboard.rows import Leaderboard
from results.ledger.ledger import Ledger
from results.ledger.studies import StudyRecord
from results.pages.linking import link_pages, write_page
from results.pages.rendering import page_name, render, study_page_name
from results.pages.run import render_own_robustness, render_run, robustness_page_name, run_page_name

# suffix of the file, title of the link, maker of the text
_EXPORTS: dict[str, tuple[str, str, Callable[[Leaderboard, Chosen], str]]] = {
    "csv": ("csv", "CSV", to_csv),
    "json": ("json", "JSON", to_json),
    "markdown": ("md", "Markdown", to_markdown),
    "latex": ("tex", "LaTeX", to_latex),
}
FORMATS = ("html", *_EXPORTS)


def write_site(
    leaderboard: Leaderboard,
    out: str | Path,
    formats: Sequence[str] = FORMATS,
    *,
    ledger: Ledger | None = None,
    run_pages: int = 0,
    flows: Path | None = None,
    standalone: bool = False,
    columns: Chosen = None,
) -> tuple[Path, ...]:
    """Write the files of every dataset, and the index of the pages.

    Args:
        leaderboard: what to show.
        out: folder for the files; it is made if absent, and files of the same name are replaced.
        formats: some of `FORMATS`.
        ledger: of the leaderboard; needed for the pages of single experiments.
        run_pages: make these for the first so many rows of every group.
        flows: flow store, for pictures on them.
        standalone: every page holds all that it needs, and needs no file beside it.
        columns: of the tables; by default those that are shown, and all in CSV.

    Returns:
        The paths written, the index first if there is one.

    Raises:
        DadnetError: on an unknown format, or none.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise DadnetError(f"expected some of {', '.join(FORMATS)} as formats, got: {formats}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []

    def write(name: str, text: str) -> None:
        written = write_page(folder / name, text)
        paths.extend(path for path in written if path not in paths)

    # The rows of a subset are of an experiment that has its page already.
    shown = [row for g in leaderboard.groups if not g.subset for row in g.rows[:run_pages]]
    if ledger is None or "html" not in formats:
        shown = []
    digests = {row.experiment.digest for row in shown}
    compared = frozenset(path.name for path in folder.glob("compare-*.html"))
    if "html" in formats:
        write("index.html", render_index(leaderboard))
        for study in leaderboard.studies:
            write(study_page_name(study.digest), render_study(study, standalone))
    for dataset in leaderboard.datasets:
        part = leaderboard.of_dataset(dataset)
        if "html" in formats:
            write(
                f"{page_name(dataset)}.html",
                render_dataset(part, formats, digests, columns, compared),
            )
        for name in (name for name in _EXPORTS if name in formats):
            suffix, _, make = _EXPORTS[name]
            write(f"{page_name(dataset)}.{suffix}", make(part, columns))
    for row in shown:
        assert ledger is not None
        write(run_page_name(row.experiment), render_run(ledger, row, flows, standalone))
        if (robust := render_own_robustness(ledger, row, standalone)) is not None:
            write(robustness_page_name([row.experiment]), robust)
    link_pages(folder)
    return tuple(paths)


def render_dataset(
    leaderboard: Leaderboard,
    formats: Sequence[str] = ("html",),
    run_pages: Collection[str] = (),
    columns: Chosen = None,
    compared: Collection[str] = (),
) -> str:
    """Return the page of a dataset.

    Args:
        leaderboard: of one dataset (see `Leaderboard.of_dataset`).
        formats: the exports that will lie beside it are linked.
        run_pages: digests of the experiments that have a page of their own.
        columns: those that are shown at first.
        compared: pages beside it that compare two experiments.

    Raises:
        DadnetError: if the leaderboard has not exactly one dataset.
    """
    if len(leaderboard.datasets) != 1:
        raise DadnetError(
            f"expected the leaderboard of one dataset, got: {len(leaderboard.datasets)}"
        )
    dataset = leaderboard.datasets[0]
    links = [
        (f"{page_name(dataset)}.{suffix}", title)
        for name, (suffix, title, _) in _EXPORTS.items()
        if name in formats
    ]
    return render(
        "dataset.html.j2",
        leaderboard=leaderboard,
        of=dataset,
        dataset=dataset,
        links=links,
        run_pages=run_pages,
        columns=board_columns(columns),
        first_columns=first_columns(columns),
        compared=sorted(compared),
    )


def render_index(leaderboard: Leaderboard) -> str:
    """Return the page that lists the datasets."""
    return render("index.html.j2", leaderboard=leaderboard)


def render_study(study: StudyRecord, standalone: bool = False) -> str:
    """Return the page of a search."""
    # Optuna takes a second to import, and most leaderboards have no search.
    from results.pages.study import sections

    parts = sections(study)
    return render(
        "study.html.j2",
        plots={name: figure for part in parts for name, (_, figure) in part.plots.items()},
        of=study.dataset,
        standalone=standalone,
        study=study,
        counts=study.counts(),
        params=sorted({name for trial in study.trials for name in trial.params}),
        sections=parts,
    )
