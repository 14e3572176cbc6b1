"""The copies by name."""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from dadnet.base.errors import DadnetError
from dadnet.datasets.copies.asian import write_casme2, write_casme3, write_casme3c
from dadnet.datasets.copies.drawing import PlannedClip, Studio, plan
from dadnet.datasets.copies.european import write_fourdme, write_samm, write_smic, write_smic_videos
from dadnet.datasets.copies.others import write_ckplus, write_dfme

Writer = Callable[[Studio, Sequence[PlannedClip]], None]

_CASME2 = ("disgust", "repression", "happiness", "surprise", "others")
_BASIC = ("Disgust", "Surprise", "Sadness", "Fear", "Happiness", "Anger", "Contempt")
_CASME3 = ("disgust", "surprise", "Others", "fear", "anger", "sad", "happy")
_PART = ("disgust", "surprise", "happy")
_FOURDME = ("Negative", "Positive", "Surprise", "Repression", "Others")
_SMIC = ("negative", "positive", "surprise")
_CKPLUS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
_CLIPS_TABLE = "cas(me)3_part_A_ME_label_JpgIndex.xls"
# Name of the copy -> its dataset, its writer, the emotions of every subject.
COPIES: dict[str, tuple[str, Writer, tuple[str, ...]]] = {
    "casme2": ("casme2", write_casme2, _CASME2),
    "casme3": ("casme3", write_casme3, _CASME3),
    "casme3-clips": ("casme3", partial(write_casme3, videos=False, name=_CLIPS_TABLE), _PART),
    "casme3c": ("casme3c", write_casme3c, _PART),
    "fourdme": ("fourdme", write_fourdme, _FOURDME),
    "dfme": ("dfme", write_dfme, _BASIC),
    "samm": ("samm", write_samm, ("Anger", "Happiness", "Surprise", "Contempt", "Disgust")),
    "smic": ("smic", write_smic, _SMIC),
    "smic-videos": ("smic", write_smic_videos, _SMIC),
    "ckplus": ("ckplus", write_ckplus, _CKPLUS),
}


def write_copy(name: str, root: Path, *, subjects: int = 4, size: int = 96) -> None:
    """Write one copy into a folder that appears whole or not at all; an existing one stays.

    The frames have a side of `size` pixels; 0: empty files.

    Raises:
        DadnetError: if there is no such copy, or a number is out of range.
    """
    if name not in COPIES:
        raise DadnetError(f"copy: expected one of {', '.join(COPIES)}, got {name!r}")
    if subjects < 4 or (size and size < 32):
        raise DadnetError(f"copy: expected subjects >= 4 and size >= 32, got {subjects} and {size}")
    if root.exists():
        return
    _, writer, emotions = COPIES[name]
    temporary = root.with_name(f".{root.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    writer(Studio(temporary, size), plan(emotions, subjects))
    temporary.rename(root)
