"""Frames of a copy: five drawn ones per clip, or empty files where only the layout matters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from dadnet.base.seeding import seed_hash
from dadnet.datasets.synthetic.clips import ClipPlan, draw_performance, render_clip
from dadnet.datasets.synthetic.face import draw_face
from dadnet.datasets.synthetic.face_layers import Layers, paint_layers

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
        emotion: as the annotation spells it.
        filename: its name; "" leaves it to the copy.
    """

    subject: int
    emotion: str
    filename: str = ""


def plan(emotions: Sequence[str], subjects: int) -> tuple[PlannedClip, ...]:
    """Every subject shows every emotion once."""
    return tuple(PlannedClip(s, e) for s in range(1, subjects + 1) for e in emotions)


def dealt(counts: Mapping[str, int], subjects: int) -> tuple[PlannedClip, ...]:
    """So many clips of each emotion, dealt to so many subjects in turn."""
    emotions = [e for e, n in counts.items() for _ in range(n)]
    return tuple(PlannedClip(1 + k % subjects, e) for k, e in enumerate(emotions))


class Studio:
    """Writes the frames of clips.

    Args:
        size: side of the drawn frames in pixels; 0 writes empty files, which is enough to try
            a layout.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._drawn = 0
        self._layers: dict[int, Layers] = {}

    def clip(
        self,
        folder: Path,
        name: str,
        numbers: Sequence[int],
        shown: PlannedClip,
        *,
        grey: bool = False,
    ) -> None:
        """Write the frames of one clip.

        Args:
            folder: folder to be made.
            name: name of a frame, with a place for its number.
            numbers: number of each frame; the third has the apex, later ones hold the last image.
            shown: who shows what.
            grey: without colours.
        """
        folder.mkdir(parents=True, exist_ok=True)
        images = self._images(shown) if self.size else []
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

    def _images(self, shown: PlannedClip) -> list[np.ndarray]:
        drawn_as = _DRAWN_AS.get(shown.emotion.lower().split("+")[0], "disgust")
        face = draw_face(_SEED, shown.subject)
        play = draw_performance(ClipPlan(shown.subject, self._drawn, drawn_as), _SEED, "macro")
        self._drawn += 1
        play = replace(
            play, numbers=tuple(range(NUM_FRAMES)), apex=2, gains=play.gains[:NUM_FRAMES]
        )
        layers = paint_layers(face, self.size)
        style = seed_hash("style", _SEED, shown.subject)
        return [np.asarray(f) for f in render_clip(face, layers, play, self.size, style)]
