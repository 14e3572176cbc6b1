"""Clips as tensors: flows of one size with class labels, normalised per channel."""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dadnet.base.digests import content_digest
from dadnet.base.errors import DadnetError, listed
from dadnet.base.seeding import seed_hash
from dadnet.flow.compute import resize_flow, to_half
from dadnet.flow.files import read_flow
from dadnet.flow.normalisation import normalise
from dadnet.flow.store import Flows, FlowStore, flow_digest
from dadnet.labels.class_sets import get_class_set, set_of_words
from dadnet.labels.label_sets import LabelSet
from dadnet.labels.own_labels import OWN_WORDS
from dadnet.labels.targets import multi_label
from dadnet.labels.tasks import Task, names_in, task_of


@dataclass(frozen=True, eq=False, init=False)
class MicroExpressionDataset(Dataset[tuple[Tensor, int | Tensor]]):
    """All clips of a class set, resident in memory.

    ``dataset[i]`` is the normalised flow of clip i, shape (2, S, S) float32, and its class index
    (with several labels: 0 or 1 of each), so that an ordinary ``DataLoader`` works with it. The
    training engine reads `flows` and `labels`.

    ``MicroExpressionDataset(file_paths, transform=...)`` reads the files of the public project,
    ``CLASS/NAME_SUBJECT_NUMBER.npy`` (see `of_files`).

    Attributes:
        clips: one row per clip: clip_id, subject, part, label (as text, see
            `dadnet.labels.tasks`), flow_digest.
        flows: shape (N, 2, S, S), float16, pixels.
        labels: shape (N,), int64, index into `classes`; with several labels (N, K), float32.
        classes: K class or label names in fixed order.
        dropped: number of clips that the class set leaves out, by emotion or reason.
        source: hash of the labels' column, if the digest of the store does not cover it.
        uncertain: clips that are left out because no label of them is certain, with the text.
        transform: called by ``dataset[i]`` with the flow in pixels, (2, S, S), before it is
            normalised, such as `dadnet.OpticalFlowAugmentation`; the engine has its own.
    """

    clips: pd.DataFrame
    flows: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    dropped: dict[str, int]
    source: str
    uncertain: tuple[str, ...]
    transform: Callable[[Tensor], Tensor] | None

    def __init__(
        self,
        clips: pd.DataFrame | Sequence[str | Path],
        flows: Tensor | None = None,
        labels: Tensor | None = None,
        classes: tuple[str, ...] = (),
        dropped: Mapping[str, int] | None = None,
        source: str = "",
        uncertain: tuple[str, ...] = (),
        transform: Callable[[Tensor], Tensor] | None = None,
        *,
        class_set: str = "3class",
        input_size: int = 224,
    ) -> None:
        given = {
            "clips": clips, "flows": flows, "labels": labels, "classes": classes,
            "dropped": dict(dropped or {}), "source": source,
            "uncertain": uncertain,
        }  # fmt: skip
        if flows is None and not isinstance(clips, pd.DataFrame):
            given = vars(self.of_files(clips, class_set, input_size))
        for name, value in {**given, "transform": transform}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of_files(
        cls, paths: Sequence[str | Path], class_set: str = "3class", input_size: int = 224
    ) -> "MicroExpressionDataset":
        """Read flows of the public project's layout: ``CLASS/NAME_SUBJECT_NUMBER.npy``.

        The folder is the class or the emotion; the subject stands between the first and the last
        "_" of the name. Flows are resized, where the public project cuts or pads them.

        Args:
            paths: .npy files of shape (2, H, W) or (H, W, 2), pixels.
            class_set: name of the class set.
            input_size: side S in pixels.

        Raises:
            DadnetError: if a file cannot be read, or a folder is no emotion of the class set.
        """
        if not paths:
            raise DadnetError("file_paths: expected at least one .npy file, got none")
        stored = np.stack([_file_flow(Path(path), input_size) for path in paths])
        digests = [flow_digest(flow) for flow in stored]
        rows = [_file_row(Path(path)) for path in paths]
        clips = pd.DataFrame(rows).assign(dataset="files", part="", flow_digest=digests)
        return cls.from_store(FlowStore({}, clips, stored), class_set, input_size)

    @classmethod
    def from_store(
        cls, store: FlowStore, class_set: str, input_size: int, shuffle_seed: int | None = None
    ) -> "MicroExpressionDataset":
        """Label and resize the clips of a flow store.

        Args:
            store: the loaded store.
            class_set: name of the class set.
            input_size: side S in pixels; vectors are rescaled with the field.
            shuffle_seed: seed of a permutation of the labels (a control at chance), or None.

        Raises:
            DadnetError: if the class set is unknown, an emotion is unknown to it, or no clip is
                left.
        """
        names, own = set(store.clips["dataset"]), class_set == OWN_WORDS
        words = set_of_words(store.clips["emotion"]) if own else None
        sets = {name: words or get_class_set(class_set, name) for name in names}
        chosen = next(iter(sets.values()))
        if len({s.classes for s in sets.values()}) > 1:
            raise DadnetError(
                f"class set {class_set}: {listed(sorted(sets))} have different classes under it"
            )
        texts = store.clips[chosen.column]
        named = zip(store.clips["dataset"], texts, store.clips["clip_id"], strict=True)
        label = pd.Series([sets[d].label(e, c) for d, e, c in named], dtype=object)
        used = label.notna().to_numpy()
        if not used.any():
            raise DadnetError(f"class set {class_set} leaves none of the {len(used)} clips")
        clips = store.clips.loc[used, ["clip_id", "subject", "part", "flow_digest"]]
        clips = clips.assign(label=label[used]).reset_index(drop=True)
        if shuffle_seed is not None:
            order = np.random.default_rng(seed_hash("shuffle-labels", shuffle_seed))
            clips["label"] = clips["label"].to_numpy()[order.permutation(len(clips))]
        same = bool(used.all()) and store.flows.shape[1:] == (2, input_size, input_size)
        flows = store.flows if same else _resized(store.flows, np.flatnonzero(used), input_size)
        reasons = texts[~used].map(chosen.why_dropped)
        return cls(
            clips=clips,
            flows=torch.from_numpy(flows),
            labels=_labels(clips["label"], chosen.classes, chosen.multi_label),
            classes=chosen.classes,
            dropped={str(k): int(v) for k, v in reasons.value_counts().items()},
            uncertain=tuple(
                f"{clip_id} {text!r}"
                for clip_id, text in zip(store.clips["clip_id"], texts, strict=True)
                if isinstance(chosen, LabelSet) and chosen.uncertain(text)
            ),
            source="" if chosen.column == "emotion" else _hash_of(store.clips["clip_id"], texts),
        )

    @property
    def task(self) -> Task:
        """Whether a clip has one class or several labels."""
        return task_of(multi_label(self.labels))

    def __len__(self) -> int:
        return len(self.clips)

    def share_flows_of(self, other: "MicroExpressionDataset") -> None:
        """Use the equal flows of a copy, for example in a node's shared memory."""
        assert self.flows_digest == other.flows_digest
        object.__setattr__(self, "flows", other.flows)

    @cached_property
    def flows_digest(self) -> str:
        """Hash of the flows, from the digests of the stored ones: 16 hexadecimal digits."""
        parts = [*self.clips["flow_digest"], str(self.flows.shape[-1])]
        return content_digest(",".join(parts))

    def __getstate__(self) -> dict[str, Any]:
        # An array is sent out of band, so all processes of a node share one copy.
        return {**self.__dict__, "flows": self.flows.numpy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            # The shared array is read-only; it is never written.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            flows = torch.from_numpy(state["flows"])
        self.__dict__.update({**state, "flows": flows})

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        flow, label = self.flows[index].float(), self.labels[index]
        if self.transform is not None:
            flow = self.transform(flow)
        return normalise(flow[None])[0], label if label.ndim else int(label)

    def rows(self, subjects: tuple[str, ...]) -> Tensor:
        """Sorted indices of the clips of these subjects, shape (n,), int64."""
        mask = self.clips["subject"].isin(list(subjects)).to_numpy()
        return torch.from_numpy(np.flatnonzero(mask))

    def counts(self) -> dict[str, Any]:
        """Number of clips per class or label, in class order."""
        counts = Counter(name for text in self.clips["label"] for name in names_in(text))
        return {name: counts[name] for name in self.classes}


def _file_flow(path: Path, size: int) -> Flows:
    try:
        return to_half(resize_flow(read_flow(path).flow, size))
    except DadnetError as error:
        raise DadnetError(f"{path}: {error}") from error


def _file_row(path: Path) -> dict[str, str]:
    """Clip, subject and emotion of a flow file of the public project."""
    parts, emotion = path.stem.split("_"), path.parent.name.lower()
    subject = f"files/{'_'.join(parts[1:-1]) or path.stem}"
    return {"clip_id": f"{subject}/{emotion}/{path.stem}", "subject": subject, "emotion": emotion}


def _labels(texts: pd.Series, classes: tuple[str, ...], several: bool) -> Tensor:
    if not several:
        return torch.tensor([classes.index(name) for name in texts])
    return torch.tensor([[float(c in names_in(text)) for c in classes] for text in texts])


def _hash_of(clip_ids: pd.Series, texts: pd.Series) -> str:
    return content_digest(json.dumps(sorted(zip(clip_ids, texts, strict=True))))


def _resized(flows: Flows, rows: npt.NDArray[np.intp], size: int) -> Flows:
    """Some flows at another size, resized one by one to save memory."""
    resized = np.empty((len(rows), 2, size, size), np.float16)
    for position, row in enumerate(rows):
        resized[position] = resize_flow(flows[row], size)
    return resized
