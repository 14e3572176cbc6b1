"""The flags of ``python -m results COMMAND``, one class per command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location
from results.ledger.records import PROTOCOLS, SELECTIONS

FORMATS = ("html", "csv", "json", "markdown", "latex")
_NAME = "Digest or name, or the beginning of one."


@dataclass(frozen=True, kw_only=True)
class _LedgerFlags:
    ledger: Location = Path("runs")
    """Folder of the folds, or s3://bucket/folder."""


@dataclass(frozen=True, kw_only=True)
class LeaderboardFlags(_LedgerFlags):
    """Make the pages and tables of a ledger."""

    out: Path = Path("site")
    """Folder for the pages."""
    dataset: str | None = None
    """Only this dataset."""
    protocol: str | None = None
    """Only this protocol."""
    class_set: str | None = None
    """Only this class set."""
    format: str = ",".join(FORMATS)
    """Formats with commas between."""
    run_pages: int = 20
    """Pages of single experiments: for the first N rows of every group."""
    flows: Path | None = None
    """Flow store, for pictures of the hardest clips."""
    rebuild: bool = False
    """Make the pages even if nothing has changed."""
    standalone: bool = False
    """Put plotly into each page, to send one alone; by default it lies beside them."""
    columns: tuple[str, ...] = ()
    """Columns of all tables but JSON, the most important first: method,uf1,parameters,flops."""

    def __post_init__(self) -> None:
        _check_count("run_pages", self.run_pages)


@dataclass(frozen=True, kw_only=True)
class RunFlags(_LedgerFlags):
    """Make the page of one experiment."""

    experiment: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=_NAME)]
    out: Path = Path("site")
    """Folder for the page."""
    flows: Path | None = None
    """Flow store, for pictures of the hardest clips."""
    standalone: bool = False
    """Put plotly into each page, to send one alone; by default it lies beside them."""


@dataclass(frozen=True, kw_only=True)
class CompareFlags(_LedgerFlags):
    """Compare two experiments, clip by clip."""

    first: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="A", help=_NAME)]
    second: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="B", help=_NAME)]
    out: Path = Path("site")
    """Folder for the page."""
    flows: Path | None = None
    """Flow store, for pictures of the clips that changed."""
    standalone: bool = False
    """Put plotly into each page, to send one alone; by default it lies beside them."""


@dataclass(frozen=True, kw_only=True)
class LeaklabFlags(_LedgerFlags):
    """Show what selection on the test subjects is worth."""

    labels: Path | None = None
    """A CSV of clips (subject, label), used in place of the ledger."""
    k: str = "1,10,100,800"
    """Numbers of draws to choose from, with commas between."""
    repeats: int = 200
    """Simulations of each."""
    out: Path = Path("site")
    """Folder for the page."""
    standalone: bool = False
    """Put plotly into each page, to send one alone; by default it lies beside them."""

    def __post_init__(self) -> None:
        _check_count("repeats", self.repeats)


@dataclass(frozen=True, kw_only=True)
class FiguresFlags:
    """Write the plots of pages as PNG, SVG and PDF."""

    pages: tyro.conf.Positional[list[Path]]
    """Pages that another command wrote, such as site/*.html."""
    out: Path = Path("figures")
    """Folder for the files."""
    format: str = "png,svg,pdf"
    """Formats with commas between."""

    def __post_init__(self) -> None:
        if not self.pages:
            raise DadnetError("pages: expected pages, such as site/*.html, got none")
        for name in self.format.split(","):
            _check_choice("format", name, ("png", "svg", "pdf"))


@dataclass(frozen=True, kw_only=True)
class ImportFlags(_LedgerFlags):
    """Import the per-clip predictions of another program."""

    file: tyro.conf.Positional[Path]
    """Table [dataset,]subject,clip,label,prediction[,prob_CLASS...]; a log of the Micro-Expressions
    Grand Challenge; or the printed lists of STSTNet and its followers."""
    method: str
    """Name of the row on the leaderboard."""
    dataset: str
    """Dataset on the leaderboard."""
    protocol: Annotated[str, tyro.conf.arg(help=f"One of {', '.join(PROTOCOLS)}.")]
    class_set: str | None = None
    """Name of the class set; by default, found by the classes."""
    selection: Annotated[
        str, tyro.conf.arg(help=f"How the epoch was selected: one of {', '.join(SELECTIONS)}.")
    ] = "unknown"
    classes: str | None = None
    """Class names in order, with commas between; numbers in the file count in this order from 0."""
    labels: tuple[str, ...] = ()
    """What the words or numbers of the classes mean: 0=negative,1=positive,2=surprise."""
    format: Literal["auto", "csv", "megc-log", "list-log"] = "auto"
    """What the file is; auto looks at its content."""

    def __post_init__(self) -> None:
        _check_choice("protocol", self.protocol, PROTOCOLS)
        _check_choice("selection", self.selection, SELECTIONS)


@dataclass(frozen=True, kw_only=True)
class PredictionsFlags(_LedgerFlags):
    """Print the per-clip predictions of one experiment."""

    name: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(help=_NAME)] = None
    experiment: Annotated[str | None, tyro.conf.arg(help="The same as a flag.")] = None
    format: Literal["megc-log", "csv"] = "csv"
    """csv (leaderboards of DFME), or the log of the Micro-Expressions Grand Challenge 2019."""
    part: str | None = None
    """csv: only this part of an official split, such as testA."""
    out: Path | None = None
    """File to write; by default, standard output."""

    def __post_init__(self) -> None:
        if self.name and self.experiment:
            raise DadnetError("experiment: expected it once, got it as a word and by --experiment")


@dataclass(frozen=True, kw_only=True)
class PackFlags(_LedgerFlags):
    """Pack complete experiments into one file that others can check."""

    experiments: tyro.conf.Positional[list[str]] = field(default_factory=list)
    """Digests or names, or the beginnings of them; without one, all experiments."""
    out: Path
    """The bundle, such as mine.zip."""
    sign: Path | None = None
    """Private key of SSH (ssh-keygen -t ed25519, without a passphrase) that signs the bundle."""


@dataclass(frozen=True, kw_only=True)
class VerifyFlags:
    """Check a bundle: schema, digests, audit, numbers."""

    bundle: tyro.conf.Positional[Path]
    """File that `pack` wrote."""
    rerun: str | None = None
    """Command that makes one fold again; see the documentation."""
    seed: int = 0
    """Seed that chooses the fold to make again."""
    signer: Path | None = None
    """Public key (FILE.pub) that must have signed the bundle."""

    def __post_init__(self) -> None:
        _check_count("seed", self.seed)


@dataclass(frozen=True, kw_only=True)
class MergeFlags(_LedgerFlags):
    """Put verified bundles and ledgers into a ledger."""

    sources: tyro.conf.Positional[list[Path]]
    """Bundles, or folders of ledgers."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise DadnetError("sources: expected bundles or folders of ledgers, got none")


@dataclass(frozen=True, kw_only=True)
class TrackFlags(_LedgerFlags):
    """Write the events of a run for TensorBoard or MLflow."""

    experiment: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=_NAME)]
    tensorboard: Path | None = None
    """Folder of TensorBoard's logs."""
    mlflow: str | None = None
    """URI of the MLflow server or folder."""
    follow: bool = False
    """Wait until all folds are finished."""


@dataclass(frozen=True, kw_only=True)
class RunsFlags(_LedgerFlags):
    """List the experiments of a ledger."""

    dataset: str | None = None
    """Only this dataset."""


@dataclass(frozen=True, kw_only=True)
class RenameFlags(_LedgerFlags):
    """Give an experiment a name."""

    experiment: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=_NAME)]
    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help="Its new name.")]


@dataclass(frozen=True, kw_only=True)
class RmFlags(_LedgerFlags):
    """Remove an experiment with all its folds, weights and logs; asks first."""

    experiment: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=_NAME)]
    yes: bool = False
    """Do not ask."""


@dataclass(frozen=True, kw_only=True)
class DuFlags(_LedgerFlags):
    """Show how much space each experiment takes."""


def _check_count(name: str, number: int) -> None:
    if number < 0:
        raise DadnetError(f"{name}: expected 0 or more, got: {number}")


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise DadnetError(f"{name}: expected one of {', '.join(choices)}, got: {value!r}")
