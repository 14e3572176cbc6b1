"""The datasets that can be read in their official layout, by name."""

from dataclasses import replace
from pathlib import Path

from dadnet.base.errors import DadnetError, unknown
from dadnet.datasets.index import ClipIndex
from dadnet.datasets.official import casme2, casme3, ckplus, dfme, fourdme, samm, smic
from dadnet.datasets.official.layout import Options
from dadnet.datasets.official.read import read_official

LAYOUTS = {
    layout.dataset: layout
    for layout in (
        casme2.LAYOUT, casme3.LAYOUT, casme3.LAYOUT_C, fourdme.LAYOUT, dfme.LAYOUT, samm.LAYOUT,
        smic.LAYOUT, ckplus.LAYOUT,
        # The synthetic sets have the layout of CASME II, without its errors.
        replace(casme2.LAYOUT, dataset="synthetic", corrections=()),
        replace(casme2.LAYOUT, dataset="synthetic-macro", corrections=()),
    )
}  # fmt: skip


def read_dataset(dataset: str, root: Path, options: Options | None = None) -> ClipIndex:
    """The index of a dataset, a key of ``LAYOUTS``, in its official layout.

    Raises:
        DadnetError: if the dataset is unknown, or its files are not found or cannot be read.
    """
    if dataset not in LAYOUTS:
        raise unknown("dataset", dataset, LAYOUTS)
    try:
        return read_official(LAYOUTS[dataset], root, options or Options())
    except OSError as error:  # for example a name too long for the disk
        raise DadnetError(f"{dataset}: {error.filename}: {error.strerror}") from error
