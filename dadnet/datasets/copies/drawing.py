"""Frames of a copy: five drawn frames per clip, or empty files where only the layout matters."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from dadnet.base.seeding import seed_hash
from dadnet.datasets.synthetic.clips import ClipPlan, draw_performance, render_clip
from dadnet.datasets.synthetic.face import draw_face
from dadnet.datasets.synthetic.face_layers import paint_layers

NUM_FRAMES = 5  # of a clip: the third is the apex
_SEED = 7
# Emotions that the renderer draws, by those of the datasets.
_DRAWN_AS: Mapping[str, str] = {
    "happiness": "happiness", "happy": "happiness", "positive": "happiness",
    "surprise": "surprise", "repression": "repression", "others": "others", "other": "others",
}  # fmt: skip


@dataclass(frozen=True)
class PlannedClip:
    """One clip of a copy.

    Attributes:
        subject: number of its subject.
        emotion: in the spelling of the annotation.
        filename: its name; "": chosen by the copy.
    """

    subject: int
    emotion: str
    filename: str = ""


def plan(emotions: Sequence[str], subjects: int) -> tuple[PlannedClip, ...]:
    """One clip of every emotion for every subject."""
    return tuple(PlannedClip(s, e) for s in range(1, subjects + 1) for e in emotions)


class Studio:
    """Writes the frames of one copy.

    Args:
        root: folder of the copy.
        size: side of the drawn frames in pixels; 0: empty files, enough to test a layout.
        quirks: add the known irregularities of the real set.
    """

    def __init__(self, root: Path, size: int, *, quirks: bool = True) -> None:
        self.root, self.size, self.quirks = root, size, quirks
        self._drawn = 0
        self._numbers: Counter[Hashable] = Counter()

    def number(self, key: Hashable) -> int:
        """The number of a further clip of a subject, or of another key; the first is 1."""
        self._numbers[key] += 1
        return self._numbers[key]

    def clip(
        self, folder: Path, name: str, numbers: Sequence[int], clip: PlannedClip, grey: bool = False
    ) -> None:
        """Write the frames of one clip into a new folder.

        `name` has braces for the number of a frame; the third frame has the apex, those after the
        fifth repeat it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        images = self._images(clip) if self.size else []
        for k, number in enumerate(numbers):
            path = folder / name.format(number)
            if not images:
                path.touch()
                continue
            image = images[min(k, len(images) - 1)]
            if grey:
                image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
            quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else []
            path.write_bytes(cv2.imencode(path.suffix, image, quality)[1].tobytes())

    def _images(self, planned: PlannedClip) -> list[np.ndarray]:
        drawn_as = _DRAWN_AS.get(planned.emotion.lower().split("+")[0], "disgust")
        face = draw_face(_SEED, planned.subject)
        play = draw_performance(ClipPlan(planned.subject, self._drawn, drawn_as), _SEED, "macro")
        self._drawn += 1
        numbers, gains = tuple(range(NUM_FRAMES)), play.gains[:NUM_FRAMES]
        play = replace(play, numbers=numbers, apex=2, gains=gains)
        layers = paint_layers(face, self.size)
        style = seed_hash("style", _SEED, planned.subject)
        return [np.asarray(f) for f in render_clip(face, layers, play, self.size, style)]
