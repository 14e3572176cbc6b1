"""A flow store of flows that are in memory, such as those of a notebook."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dadnet.base.errors import DadnetError
from dadnet.flow.store import (
    CARD,
    FLOW_FILE,
    flow_digest,
    flow_table,
    store_digest,
    write_card,
    write_flow_file,
)

_LARGEST = float(np.finfo(np.float16).max)


def store_arrays(
    flows: npt.ArrayLike, labels: Sequence[str], subjects: Sequence[str], dataset: str, root: Path
) -> Path:
    """Write flows as a store, named by dataset and content; the same ones are written once.

    Args:
        flows: shape (N, 2, H, W), u right and v down, in pixels.
        labels: N class or emotion words, as in the column `label` of a table of clips.
        subjects: N names.
        dataset: its name.
        root: folder of the store's folder.

    Returns:
        The folder of the store.

    Raises:
        DadnetError: if shapes or values do not fit.
    """
    array = np.asarray(flows)
    _check(array, labels, subjects)
    if not dataset.strip() or "/" in dataset:
        raise DadnetError(f"dataset: expected a name without '/', got {dataset!r}")
    stored = array.astype(np.float16)
    order = sorted(range(len(stored)), key=lambda row: str(subjects[row]))  # keeps equal ones
    count: Counter[str] = Counter()
    rows = []
    for row in order:
        subject = f"{dataset}/{subjects[row]}"
        name = f"clip{count[subject]:04d}"
        count[subject] += 1
        rows.append(
            {
                "clip_id": f"{subject}/{name}", "dataset": dataset, "subject": subject,
                "filename": name, "onset": -1, "apex": -1, "offset": -1,
                "emotion": str(labels[row]), "action_units": "", "part": "",
                "flow_digest": flow_digest(stored[row]),
            }
        )  # fmt: skip
    clips = pd.DataFrame(rows)
    digest = store_digest(clips, "none")
    folder = root / f"{dataset}-{digest}"
    if not (folder / CARD).exists():
        folder.mkdir(parents=True, exist_ok=True)
        groups = clips.groupby("subject", sort=False).indices.values()
        tables = (flow_table(clips.iloc[rows], stored[order][rows]) for rows in groups)
        write_flow_file(folder / FLOW_FILE, tables)
        card = {"schema": 1, "digest": digest, "files": [FLOW_FILE], "source": "arrays"}
        write_card(folder, {**card, "parameters": {"normalisation": "none"}})
    return folder


def _check(array: npt.NDArray[np.generic], labels: Sequence[str], subjects: Sequence[str]) -> None:
    if array.ndim != 4 or array.shape[1] != 2 or array.dtype.kind not in "fiu":
        raise DadnetError(
            f"flows: expected numbers of shape (N, 2, H, W), got {array.dtype} {array.shape}"
        )
    if not len(array) == len(labels) == len(subjects):
        raise DadnetError(
            f"flows: expected as many labels and subjects as flows ({len(array)}), got "
            f"{len(labels)} and {len(subjects)}"
        )
    largest = np.abs(array, dtype=np.float64).max(axis=(1, 2, 3), initial=0)
    if not (largest <= _LARGEST).all():  # NaN is not
        row = int(np.flatnonzero(~(largest <= _LARGEST))[0])
        raise DadnetError(f"flows: expected finite numbers up to {_LARGEST:.0f}, not so in {row}")
    if bad := [name for name in map(str, subjects) if not name.strip() or "/" in name]:
        raise DadnetError(f"subjects: expected names without '/', got {bad[0]!r}")
