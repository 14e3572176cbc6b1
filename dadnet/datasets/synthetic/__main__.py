"""Synthetic micro-expressions: drawn faces with action units, in the layout of CASME II.

The real sets cannot be redistributed. This set has their properties (few clips, unequal subjects
and classes, sub-pixel motion under head drift, flicker and noise), is drawn from a seed in seconds
and is read by the real loader::

    python -m dadnet.datasets.synthetic --out data/synthetic --amplitude micro
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from openpyxl import Workbook

from dadnet.base import cli
from dadnet.base.errors import DadnetError
from dadnet.datasets.synthetic.clips import ClipPlan, draw_performance, write_subject
from dadnet.datasets.synthetic.plan import Parameters, give_labels, plan_clips

PARAMETERS_FILE = "synthetic.json"
ANNOTATION_FILE = "CASME2-coding-20140508.xlsx"
FRAMES_FOLDER = "CASME2_RAW_selected"
# Raised with every change of the drawing, so that sets of different versions are not confused.
VERSION = 1

# With the two blank columns of the official file.
CASME2_HEADER = (
    "Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units",
    "Estimated Emotion",
)  # fmt: skip


def write_dataset(
    root: str | os.PathLike[str], parameters: Parameters, *, num_workers: int = 1
) -> None:
    """Draw a set into a folder that appears whole or not at all.

    A folder with the same set is left as it is. The frames of a clip depend only on the seed, the
    amplitude, the size, the subject, the clip's emotion and its number among the subject's clips,
    not on the number of workers (processes that draw).

    Raises:
        DadnetError: if the folder holds something else.
    """
    root = Path(root)
    if _is_finished(root, parameters):
        return
    partial_root = root.with_name(f".{root.name}.partial")
    if partial_root.exists():  # left by a killed run
        shutil.rmtree(partial_root)
    partial_root.mkdir(parents=True)
    try:
        plans = plan_clips(parameters)
        _write_frames(partial_root / FRAMES_FOLDER, plans, parameters, num_workers)
        labelled = give_labels(plans, parameters)
        _write_annotation(partial_root / ANNOTATION_FILE, labelled, parameters)
        text = json.dumps(_description(parameters), indent=1, sort_keys=True)
        (partial_root / PARAMETERS_FILE).write_text(text + "\n", encoding="utf-8")
        if root.exists():
            root.rmdir()  # empty, or _is_finished had refused
        partial_root.rename(root)
    finally:
        if partial_root.exists():
            shutil.rmtree(partial_root)


def _write_frames(
    folder: Path, plans: Sequence[ClipPlan], parameters: Parameters, num_workers: int
) -> None:
    subjects = sorted({plan.subject for plan in plans})
    by_subject = [[p for p in plans if p.subject == subject] for subject in subjects]
    by_subject.sort(key=len, reverse=True)  # the longest first, for an even load
    write = partial(
        write_subject,
        folder,
        seed=parameters.seed,
        amplitude=parameters.amplitude,
        image_size=parameters.image_size,
    )
    if num_workers == 1:
        for of_subject in by_subject:
            write(of_subject)
        return
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(write, by_subject):
            pass


def _write_annotation(
    path: Path, labelled: Sequence[tuple[ClipPlan, str]], parameters: Parameters
) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None  # a new workbook has one
    sheet.title = "Sheet1"
    sheet.append(CASME2_HEADER)
    for plan, label in labelled:
        play = draw_performance(plan, parameters.seed, parameters.amplitude)
        frames = (play.numbers[0], play.numbers[play.apex], play.numbers[-1])
        sheet.append([plan.subject, plan.filename, None, *frames, None, play.action_units, label])
    book.save(path)


def _description(parameters: Parameters) -> dict[str, Any]:
    return {"set": "dadnet synthetic", "version": VERSION, **asdict(parameters)}


def _is_finished(root: Path, parameters: Parameters) -> bool:
    """Whether the folder has the set of these parameters.

    Raises:
        DadnetError: if it has other content.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    description: object = None
    if (root / PARAMETERS_FILE).is_file():
        try:
            description = json.loads((root / PARAMETERS_FILE).read_text(encoding="utf-8"))
        except ValueError as error:
            raise DadnetError(f"{root / PARAMETERS_FILE} is damaged; delete {root}") from error
    if description == _description(parameters):
        return True
    what = "a set of other parameters" if description else "something else than a synthetic set"
    raise DadnetError(f"{root} holds {what}; choose another folder or delete it")


@dataclass(frozen=True, kw_only=True)
class SyntheticFlags:
    """The synthetic set to draw."""

    out: Path
    """Folder to be made."""
    subjects: int = Parameters.num_subjects
    """Number of subjects."""
    clips: int = Parameters.num_clips
    """Number of clips of all subjects together."""
    seed: int = Parameters.seed
    """Seed of everything."""
    amplitude: Literal["micro", "macro"] = "micro"
    """Size of the motion."""
    first_subject: int | None = None
    """Number of the first subject; by default 1, for macro 101."""
    image_size: int = Parameters.image_size
    """Side of the frames in pixels."""
    shuffle_labels: bool = False
    """Permute the labels over the clips: a control at chance."""
    workers: int = min(2, os.cpu_count() or 1)
    """Number of processes."""


def draw(flags: SyntheticFlags) -> int:
    """Draw a set; returns the exit status."""
    default = 101 if flags.amplitude == "macro" else 1
    parameters = Parameters(
        num_subjects=flags.subjects,
        num_clips=flags.clips,
        seed=flags.seed,
        amplitude=flags.amplitude,
        first_subject=default if flags.first_subject is None else flags.first_subject,
        image_size=flags.image_size,
        shuffle_labels=flags.shuffle_labels,
    )
    write_dataset(flags.out, parameters, num_workers=flags.workers)
    print(f"{flags.out}: {flags.clips} clips of {flags.subjects} subjects")
    return cli.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    prog = "python -m dadnet.datasets.synthetic"
    return cli.Command(prog, SyntheticFlags).run(draw, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
