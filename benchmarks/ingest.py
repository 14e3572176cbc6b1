"""Clips per second of the ingest, and its scaling over cores, against a plain loop.

`python -m benchmarks.ingest --json benchmarks/results/ingest.json`. `plain` is what a script does:
read two frames, resize, TV-L1, one clip after the other, nothing kept. `here` is the whole ingest
in this process, from the annotation to a finished store; `ray1` and `ray2` are the same with one
and two Ray Data tasks at once, on a Ray that is already running.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import cv2
import ray
from rich.console import Console

from benchmarks.common import arguments, as_row, measure, report
from dadnet.config.ingest import IngestFlags
from dadnet.datasets.official.registry import read_dataset
from dadnet.datasets.synthetic.__main__ import write_dataset
from dadnet.datasets.synthetic.plan import Parameters
from dadnet.flow.compute import compute_flow
from orchestration.ingest import ingest


def plain(root: Path, size: int) -> None:
    """The loop of a script."""
    cv2.setNumThreads(1)
    for row in read_dataset("synthetic", root).clips.to_dict("records"):
        frames = []
        for name in ("onset_path", "apex_path"):
            image = cv2.imread(row[name], cv2.IMREAD_GRAYSCALE)
            frames.append(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA))
        compute_flow(frames[0], frames[1])


def ours(root: Path, out: Path, size: int, workers: int, preview: bool) -> Callable[[], object]:
    """A whole ingest into a folder that is empty each time."""
    flags = IngestFlags(
        dataset="synthetic", root=root, out=out, size=size, workers=workers, preview=preview
    )

    def work() -> None:
        shutil.rmtree(out, ignore_errors=True)
        ingest(flags, Console(quiet=True))

    return work


def one_size(folder: Path, size: int, clips: int, repeats: int) -> dict[str, Any]:
    """The row of one side of the stored flow."""
    root = folder / f"faces{size}"
    parameters = Parameters(num_subjects=6, num_clips=clips, image_size=size)
    write_dataset(root, parameters, num_workers=2)
    ways: dict[str, Callable[[], object]] = {"plain": lambda: plain(root, size)}
    for name, workers, preview in (
        ("here", 0, False),
        ("ray1", 1, False),
        ("ray2", 2, False),
        ("ray2_preview", 2, True),
    ):
        ways[name] = ours(root, folder / name, size, workers, preview)
    timings = measure(ways, repeats)
    row: dict[str, Any] = {"size": size, "clips": clips, **as_row(timings, per=clips)}
    for name, timing in timings.items():
        row[f"{name}_clips_per_s"] = clips / timing.median_s
    row["ray2_to_plain"] = timings["plain"].median_s / timings["ray2"].median_s
    row["scaling_2_to_1"] = timings["ray1"].median_s / timings["ray2"].median_s
    return row


def main() -> None:
    """Measure and report."""
    given = arguments(__doc__, repeats=3)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        cases = ((112, 32), (224, 12))
        rows = [one_size(Path(folder), size, clips, given.repeats) for size, clips in cases]
    report("ingest", rows, given.json)


if __name__ == "__main__":
    main()
