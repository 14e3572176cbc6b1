"""Clips as tensors: flows of one size with class labels, normalised per channel."""

import hashlib
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dadnet.datasets.class_sets import get_class_set
from dadnet.errors import DadnetError
from dadnet.flow import resize_flow
from dadnet.flow_store import Flows, FlowStore
from dadnet.normalisation import normalise
from dadnet.seeding import seed_hash

__all__ = ["MicroExpressionDataset", "normalise"]


@dataclass(frozen=True, eq=False)
class MicroExpressionDataset(Dataset[tuple[Tensor, int]]):
    """All clips of a class set, resident in memory.

    ``dataset[i]`` is the normalised flow of clip i, shape (2, S, S) float32, and its class index,
    so that an ordinary ``DataLoader`` works on it. The training engine reads `flows` and `labels`.

    Attributes:
        clips: one row per clip: clip_id, subject, part, label (class name), flow_digest.
        flows: shape (N, 2, S, S), float16, pixels.
        labels: shape (N,), int64, index into `classes`.
        classes: class names in their fixed order.
        dropped: clips that the class set leaves out, counted per emotion.
    """

    clips: pd.DataFrame
    flows: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    dropped: dict[str, int]

    @classmethod
    def from_store(
        cls, store: FlowStore, class_set: str, input_size: int, shuffle_seed: int | None = None
    ) -> "MicroExpressionDataset":
        """Label and resize the clips of a flow store.

        Args:
            store: the loaded store.
            class_set: name of the class set.
            input_size: side S in pixels; vectors are rescaled with the field.
            shuffle_seed: permute the labels over the clips (a control at chance), or None.

        Raises:
            DadnetError: if the class set is unknown, an emotion is unknown to it, or no clip is
                left.
        """
        sets = {name: get_class_set(class_set, name) for name in set(store.clips["dataset"])}
        chosen = next(iter(sets.values()))
        if len({s.classes for s in sets.values()}) > 1:
            raise DadnetError(
                f"class set {class_set}: {', '.join(sorted(sets))} have different classes under it"
            )
        emotions = store.clips["emotion"]
        named = zip(store.clips["dataset"], emotions, store.clips["clip_id"], strict=True)
        label = pd.Series([sets[d].label(e, c) for d, e, c in named], dtype=object)
        kept = label.notna().to_numpy()
        if not kept.any():
            raise DadnetError(f"class set {class_set} leaves none of the {len(kept)} clips")
        clips = store.clips.loc[kept, ["clip_id", "subject", "part", "flow_digest"]]
        clips = clips.assign(label=label[kept]).reset_index(drop=True)
        if shuffle_seed is not None:
            order = np.random.default_rng(seed_hash("shuffle-labels", shuffle_seed))
            clips["label"] = clips["label"].to_numpy()[order.permutation(len(clips))]
        same = bool(kept.all()) and store.flows.shape[1:] == (2, input_size, input_size)
        flows = store.flows if same else _resized(store.flows, np.flatnonzero(kept), input_size)
        return cls(
            clips=clips,
            flows=torch.from_numpy(flows),
            labels=torch.tensor([chosen.classes.index(name) for name in clips["label"]]),
            classes=chosen.classes,
            dropped={str(k): int(v) for k, v in emotions[~kept].value_counts().items()},
        )

    def __len__(self) -> int:
        return len(self.clips)

    def share_flows_of(self, other: "MicroExpressionDataset") -> None:
        """Take the equal flows of a copy for ours, such as those in a node's shared memory."""
        assert self.flows_digest == other.flows_digest
        object.__setattr__(self, "flows", other.flows)

    @cached_property
    def flows_digest(self) -> str:
        """Hash of the flows, by those of the stored ones: 16 hexadecimal digits."""
        parts = [*self.clips["flow_digest"], str(self.flows.shape[-1])]
        return hashlib.sha256(",".join(parts).encode()).hexdigest()[:16]

    def __getstate__(self) -> dict[str, Any]:
        # As an array the flows travel out of band: all processes of a node share one copy.
        return {**self.__dict__, "flows": self.flows.numpy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            # The shared array is read-only, and so is the use we make of it.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            flows = torch.from_numpy(state["flows"])
        self.__dict__.update({**state, "flows": flows})

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        flow = normalise(self.flows[index : index + 1].float())
        return flow[0], int(self.labels[index])

    def rows(self, subjects: tuple[str, ...]) -> Tensor:
        """Indices of the clips of these subjects, rising, shape (n,), int64."""
        mask = self.clips["subject"].isin(list(subjects)).to_numpy()
        return torch.from_numpy(np.flatnonzero(mask))

    def counts(self) -> dict[str, Any]:
        """Clips per class, in class order, for a person to read."""
        found = self.clips["label"].value_counts()
        return {name: int(found.get(name, 0)) for name in self.classes}


def _resized(flows: Flows, rows: npt.NDArray[np.intp], size: int) -> Flows:
    """Some flows at another size, one at a time: no second copy, and none at full precision."""
    found = np.empty((len(rows), 2, size, size), np.float16)
    for place, row in enumerate(rows):
        found[place] = resize_flow(flows[row], size)
    return found
