"""Small flow stores with a learnable pattern, made without rendering faces."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from dadnet.flow.store import (
    FLOW_FILE,
    flow_digest,
    flow_table,
    store_digest,
    write_card,
    write_flow_file,
)

EMOTIONS = ("disgust", "happiness", "surprise")


def pattern_flow(emotion: str, size: int, noise: np.random.Generator) -> np.ndarray:
    """A flow whose lower, left or upper part moves, by emotion; shape (2, size, size)."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1)
    centre = {"disgust": (0.8, 0.5), "happiness": (0.5, 0.2), "surprise": (0.2, 0.5)}[emotion]
    bump = np.exp(-(((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 0.02))
    flow = np.stack([0.5 * bump, -bump]) * noise.uniform(0.5, 1.5)
    return (flow + noise.normal(0, 0.15, flow.shape)).astype(np.float16)


def make_clips(num_subjects: int, clips_each: int, dataset: str = "synthetic") -> pd.DataFrame:
    """Index rows without flows; every subject has every emotion in turn."""
    rows = []
    for s in range(1, num_subjects + 1):
        for c in range(clips_each):
            subject = f"{dataset}/sub{s:02d}"
            rows.append(
                {
                    "clip_id": f"{subject}/clip{c}",
                    "dataset": dataset,
                    "subject": subject,
                    "filename": f"clip{c}",
                    "onset": 1,
                    "apex": 5,
                    "offset": 9,
                    "emotion": EMOTIONS[(c + s) % 3],
                    "action_units": "",
                    "part": "",
                }
            )
    return pd.DataFrame(rows)


# Places on the field of the units that the synthetic set's `action-units` has: y, x.
UNIT_PLACES = {1: (0.15, 0.3), 4: (0.25, 0.7), 9: (0.5, 0.5), 12: (0.8, 0.2), 15: (0.8, 0.8)}


def make_coded_clips(num_subjects: int, clips_each: int) -> pd.DataFrame:
    """Index rows whose clips have any of five action units; emotions say nothing of them."""
    clips = make_clips(num_subjects, clips_each)
    draw = np.random.default_rng(0)
    drawn = draw.random((len(clips), len(UNIT_PLACES))) < 0.4
    units = np.array([str(unit) for unit in UNIT_PLACES])
    texts = ["+".join(units[row]) for row in drawn]
    # Coded, but without a unit of the set.
    return clips.assign(action_units=[text or "24" for text in texts])


def unit_flow(text: str, size: int, noise: np.random.Generator) -> np.ndarray:
    """A flow that moves where its action units are; shape (2, size, size)."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1)
    bumps = [
        np.exp(-((y - UNIT_PLACES[u][0]) ** 2 + (x - UNIT_PLACES[u][1]) ** 2) / 0.015)
        for u in map(int, text.split("+"))
        if u in UNIT_PLACES
    ]
    bump = sum(bumps, np.zeros((size, size)))
    flow = np.stack([0.5 * bump, -bump]) + noise.normal(0, 0.15, (2, size, size))
    return flow.astype(np.float16)


def write_coded_store(folder: Path, clips: pd.DataFrame, size: int = 32) -> Path:
    """Write a flow store of clips whose flows show their action units."""
    noise = np.random.default_rng(0)
    flows = np.stack([unit_flow(text, size, noise) for text in clips["action_units"]])
    return write_store(folder, clips, size=size, flows=flows)


def write_store(
    folder: Path,
    clips: pd.DataFrame,
    *,
    size: int = 32,
    seed: int = 0,
    normalisation: str = "none",
    flows: np.ndarray | None = None,
) -> Path:
    """Write a complete flow store of these clips."""
    folder.mkdir(parents=True)
    if flows is None:
        noise = np.random.default_rng(seed)
        flows = np.stack([pattern_flow(e, size, noise) for e in clips["emotion"]])
    clips = clips.assign(flow_digest=[flow_digest(f) for f in flows])
    write_flow_file(folder / FLOW_FILE, [flow_table(clips, flows)])
    write_card(
        folder,
        {
            "schema": 1,
            "digest": store_digest(clips, normalisation),
            "files": [FLOW_FILE],
            "parameters": {"normalisation": normalisation},
        },
    )
    return folder


def write_frames(folder, seed: int = 0, suffix: str = ".png"):
    noise = np.random.default_rng(seed).uniform(0, 255, (80, 80)).astype(np.float32)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    moved = cv2.warpAffine(
        smooth, np.float32([[1, 0, 1.5], [0, 1, 0]]), (80, 80), borderMode=cv2.BORDER_REFLECT
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (("onset", smooth), ("apex", moved)):
        cv2.imwrite(str(folder / f"{name}{suffix}"), frame.astype(np.uint8))
    return folder / f"onset{suffix}", folder / f"apex{suffix}"
