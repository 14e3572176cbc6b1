"""The datasets that can be read in their official layout, by name."""

from collections.abc import Callable
from pathlib import Path

from dadnet.base.errors import DadnetError
from dadnet.datasets.index import ClipIndex
from dadnet.datasets.official import casme2, casme3, ckplus, dfme, fourdme, samm, smic
from dadnet.datasets.official.layout import Options

Reader = Callable[[Path, Options], ClipIndex]

READERS: dict[str, Reader] = {
    "casme2": casme2.read,
    "casme3": casme3.read,
    "casme3c": casme3.read_c,
    "fourdme": fourdme.read,
    "dfme": dfme.read,
    "samm": samm.read,
    "smic": smic.read,
    "ckplus": ckplus.read,
    # Drawn in the layout of CASME II.
    "synthetic": lambda root, options: casme2.read(root, options, "synthetic"),
    "synthetic-macro": lambda root, options: casme2.read(root, options, "synthetic-macro"),
}


def read_dataset(dataset: str, root: Path, options: Options | None = None) -> ClipIndex:
    """The index of a dataset in its official layout.

    Args:
        dataset: a key of ``READERS``.
        root: its folder.
        options: rule for the apex, folder of frames, annotation file.

    Raises:
        DadnetError: if the dataset is unknown, or its files are not found or cannot be read.
    """
    if dataset not in READERS:
        raise DadnetError(f"dataset: expected one of {', '.join(READERS)}, got {dataset!r}")
    try:
        return READERS[dataset](root, options or Options())
    except OSError as error:  # such as a name that is too long for the disk
        raise DadnetError(f"{dataset}: {error.filename}: {error.strerror}") from error
