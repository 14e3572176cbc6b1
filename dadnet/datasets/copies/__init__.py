"""Small copies of the real datasets in their official layouts, with drawn faces.

The real datasets need a licence. The copies have their folders, file names, tables and known
irregularities, so that the loaders can be tested without them::

    python -m dadnet.datasets.copies --out data/copies
"""

from dadnet.datasets.copies.write import COPIES, write_copy

__all__ = ["COPIES", "write_copy"]
