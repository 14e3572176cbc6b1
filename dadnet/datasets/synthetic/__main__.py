"""Synthetic micro-expressions: drawn faces with action units, in the layout of CASME II.

The real sets cannot be redistributed. This set has their properties (few clips, unequal subjects
and classes, sub-pixel motion under head drift, flicker and noise), is drawn from a seed in seconds
and is read by the real loader::

    python -m dadnet.datasets.synthetic --out data/synthetic --amplitude micro
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from openpyxl import Workbook

from dadnet.base.errors import DadnetError
from dadnet.datasets.synthetic.clips import AMPLITUDES, ClipPlan, draw_performance, write_subject
from dadnet.datasets.synthetic.plan import Parameters, give_labels, plan_clips

PARAMETERS_FILE = "synthetic.json"
ANNOTATION_FILE = "CASME2-coding-20140508.xlsx"
FRAMES_FOLDER = "CASME2_RAW_selected"
# Raised with every change of the drawing, so that sets of different versions are not confused.
VERSION = 1

# With the two blank columns of the official file.
_HEADER = (
    "Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units",
    "Estimated Emotion",
)  # fmt: skip


def write_dataset(
    root: str | os.PathLike[str], parameters: Parameters, *, num_workers: int = 1
) -> None:
    """Draw a set into a folder that appears whole or not at all.

    A folder with the same set is left as it is. The frames of a clip depend only on the seed, the
    amplitude, the size, the subject, the clip's emotion and its number among the subject's clips.

    Args:
        root: folder to make.
        parameters: everything that determines the set.
        num_workers: processes that draw; they do not change the result.

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
    sheet.append(_HEADER)
    for plan, label in labelled:
        play = draw_performance(plan, parameters.seed, parameters.amplitude)
        onset, apex, offset = play.numbers[0], play.numbers[play.apex], play.numbers[-1]
        frames = (onset, apex, offset)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: draw a set; exit status 0 if it is there, 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m dadnet.datasets.synthetic",
        description="Draw a synthetic set in the layout of CASME II.",
    )
    default = Parameters()
    parser.add_argument("--out", type=Path, required=True, help="folder to be made")
    parser.add_argument("--subjects", type=int, default=default.num_subjects)
    parser.add_argument("--clips", type=int, default=default.num_clips)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--amplitude", choices=tuple(AMPLITUDES), default=default.amplitude)
    parser.add_argument("--first-subject", type=int, help="default: 1, macro: 101")
    parser.add_argument("--image-size", type=int, default=default.image_size)
    parser.add_argument("--shuffle-labels", action="store_true", help="a control at chance")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    args = parser.parse_args(argv)
    first = args.first_subject
    try:
        parameters = Parameters(
            num_subjects=args.subjects,
            num_clips=args.clips,
            seed=args.seed,
            amplitude=args.amplitude,
            first_subject=first if first is not None else 101 if args.amplitude == "macro" else 1,
            image_size=args.image_size,
            shuffle_labels=args.shuffle_labels,
        )
        write_dataset(args.out, parameters, num_workers=args.workers)
    except DadnetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {args.clips} clips of {args.subjects} subjects")
    return 0


if __name__ == "__main__":
    sys.exit(main())
