"""Small copies of the real datasets in their official layouts, with drawn faces.

The real ones are licensed to persons. These have their folders, file names, tables and every known
quirk of them, so that the loaders can be tried, and tested, without::

    python -m dadnet.datasets.copies --out data/copies
"""

from dadnet.datasets.copies.write import COPIES, write_copy

__all__ = ["COPIES", "write_copy"]
