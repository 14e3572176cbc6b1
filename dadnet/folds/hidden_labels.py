"""A dataset whose test clips cannot be reached: what a search is given (invariant 1).

The labels are not only out of use, they are not there: `hidden_label` in the tensor, which no loss
survives, and in the table a value that raises when it is looked at. Choosing the rows raises too,
so that not even a prediction of a test clip can be made.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import NoReturn

from torch import Tensor

from dadnet.base.errors import TestLabelError
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.labels.targets import hidden_label


class VeiledLabel:
    """Stands where the label of a test clip was; every look at it raises `TestLabelError`."""

    def _refuse(self, *_: object) -> NoReturn:
        raise TestLabelError("the label of a test clip was read during a search")

    __str__ = __repr__ = __format__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __hash__ = __bool__ = __len__ = __iter__ = _refuse


@dataclass(frozen=True, eq=False)
class VeiledDataset(MicroExpressionDataset):
    """A dataset without the labels of some subjects.

    Attributes:
        veiled: the subjects.
    """

    veiled: frozenset[str] = frozenset()

    def rows(self, subjects: tuple[str, ...]) -> Tensor:
        """Indices of the clips of these subjects; raises `TestLabelError` for a veiled one."""
        if hidden := sorted(self.veiled & set(subjects)):
            raise TestLabelError(
                f"test clips of {', '.join(hidden[:3])} were asked for in a search"
            )
        return super().rows(subjects)

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        subject = str(self.clips["subject"].iloc[index])
        if subject in self.veiled:
            raise TestLabelError(f"a test clip of {subject} was asked for in a search")
        return super().__getitem__(index)


def veil(dataset: MicroExpressionDataset, subjects: Iterable[str]) -> VeiledDataset:
    """The dataset without the labels of these subjects; flows are shared, not copied.

    Args:
        dataset: with all labels.
        subjects: the test subjects of a fold.
    """
    hidden = frozenset(subjects)
    mask = dataset.clips["subject"].isin(hidden).to_numpy(copy=True)  # torch wants to own it
    named = dataset.clips["label"].astype(object).to_numpy(copy=True)
    named[mask] = VeiledLabel()
    labels = dataset.labels.clone()
    labels[mask] = hidden_label(labels)
    kept = {field.name: getattr(dataset, field.name) for field in fields(MicroExpressionDataset)}
    clips = dataset.clips.drop(columns="label").assign(label=named)
    return VeiledDataset(**{**kept, "labels": labels, "clips": clips}, veiled=hidden)
