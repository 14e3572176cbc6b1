"""A synthetic stand-in for DFME in its official shape: its parts, classes and proportions.

Official: train 176 subjects and 1,856 clips, test A 42 and 474, test B 41 and 299; of three
classes (positive, negative, surprise) 206, 1352, 298; 63, 310, 101; 42, 209, 48.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from tests.build.flows import pattern_flow, write_store

# part -> subjects, clips by emotion (happiness is positive, disgust negative)
OFFICIAL = {
    "train": (176, {"happiness": 206, "disgust": 1352, "surprise": 298}),
    "testA": (42, {"happiness": 63, "disgust": 310, "surprise": 101}),
    "testB": (41, {"happiness": 42, "disgust": 209, "surprise": 48}),
}


def dfme_clips(scale: float = 1.0) -> pd.DataFrame:
    """Index rows with DFME's proportions.

    Args:
        scale: of subjects and of clips; 1 is the official size.
    """
    draws = np.random.default_rng(0)
    rows, first = [], 1
    for part, (number, counts) in OFFICIAL.items():
        subjects = max(3, round(number * scale))
        emotions = [e for e, count in counts.items() for _ in range(max(3, round(count * scale)))]
        owners = first + np.sort(draws.integers(0, subjects, len(emotions)))
        owners[:subjects] = first + np.arange(min(subjects, len(owners)))  # nobody is left empty
        for clip, (owner, emotion) in enumerate(
            zip(owners, draws.permutation(emotions), strict=True)
        ):
            subject = f"dfme/sub{owner:04d}"
            rows.append(
                {
                    "clip_id": f"{subject}/{part}{clip:04d}",
                    "dataset": "dfme",
                    "subject": subject,
                    "filename": f"{part}{clip:04d}",
                    "onset": 1,
                    "apex": 5,
                    "offset": 9,
                    "emotion": str(emotion),
                    "action_units": "",
                    "part": part,
                }
            )
        first += subjects
    return pd.DataFrame(rows)


def write_dfme(folder: Path, *, scale: float = 1.0, size: int = 56) -> Path:
    """A flow store of such clips, with flows that can be learnt but not perfectly."""
    clips = dfme_clips(scale)
    noise = np.random.default_rng(1)
    flows = np.stack([pattern_flow(e, size, noise) for e in clips["emotion"]])
    flows = (flows + noise.normal(0, 1.2, flows.shape)).astype(np.float16)
    return write_store(folder, clips, flows=flows)
