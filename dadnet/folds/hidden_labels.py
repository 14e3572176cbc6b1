"""A dataset without the labels of its test clips: the dataset of a search (invariant 1).

The labels are removed: the tensor has `hidden_label` in their place, with which no loss can be
computed, and the table has a value that raises an error on any use. Selecting the rows raises as
well, so a search cannot even predict a test clip.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import NoReturn

from torch import Tensor

from dadnet.base.errors import TestLabelError
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.labels.targets import hidden_label


class HiddenLabel:
    """Replaces the label of a test clip in the table; every use raises `TestLabelError`."""

    def _refuse(self, *_: object) -> NoReturn:
        raise TestLabelError("a search read the label of a test clip")

    __str__ = __repr__ = __format__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __hash__ = __bool__ = __len__ = __iter__ = _refuse


@dataclass(frozen=True, eq=False)
class HiddenLabelsDataset(MicroExpressionDataset):
    """A dataset without the labels of `hidden_subjects`."""

    hidden_subjects: frozenset[str] = frozenset()

    def rows(self, subjects: tuple[str, ...]) -> Tensor:
        """Indices of the clips of these subjects; raises `TestLabelError` for a hidden one."""
        if hidden := sorted(self.hidden_subjects & set(subjects)):
            raise TestLabelError(f"a search requested test clips of {', '.join(hidden[:3])}")
        return super().rows(subjects)

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        subject = str(self.clips["subject"].iloc[index])
        if subject in self.hidden_subjects:
            raise TestLabelError(f"a search requested a test clip of {subject}")
        return super().__getitem__(index)


def hide_labels(dataset: MicroExpressionDataset, subjects: Iterable[str]) -> HiddenLabelsDataset:
    """The dataset without the labels of these subjects; flows are shared, not copied."""
    hidden = frozenset(subjects)
    mask = dataset.clips["subject"].isin(hidden).to_numpy(copy=True)  # torch needs a writable array
    named = dataset.clips["label"].astype(object).to_numpy(copy=True)
    named[mask] = HiddenLabel()
    labels = dataset.labels.clone()
    labels[mask] = hidden_label(labels)
    others = {field.name: getattr(dataset, field.name) for field in fields(MicroExpressionDataset)}
    clips = dataset.clips.drop(columns="label").assign(label=named)
    return HiddenLabelsDataset(
        **{**others, "labels": labels, "clips": clips}, hidden_subjects=hidden
    )
