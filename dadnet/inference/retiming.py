"""Flows with timing errors of onset and apex, computed from other frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import seed_hash
from dadnet.datasets.frames import FrameFolders
from dadnet.flow.clip import FlowOptions, make_clip_flow
from dadnet.flow.compute import Flow, to_half
from dadnet.flow.corruptions import timing_errors
from dadnet.flow.store import flow_digest


@dataclass(frozen=True, eq=False)
class ClipFrames:
    """The frames of the clips of a flow store.

    Attributes:
        rows: clip id -> row of the index, with the apex of the store.
        options: parameters of the store's flows.
    """

    rows: Mapping[str, Mapping[str, Any]]
    options: FlowOptions

    def row(self, clip_id: str) -> dict[str, Any]:
        """The row of a clip; raises `DadnetError` if it has no frames."""
        row = self.rows.get(clip_id)
        if row is None or not row["onset_path"] or int(row["apex"]) < 0:
            raise DadnetError(f"retiming: there are no frames of {clip_id}, or no apex is known")
        return dict(row)

    def check(self, clip_id: str, stored_digest: str) -> None:
        """Raise unless the frames yield the flow of the store."""
        flow = self._flow(self.row(clip_id), 0.0, 0.0)
        if flow_digest(to_half(flow)) != stored_digest:
            raise DadnetError(
                f"retiming: the frames of {clip_id} do not yield its flow in the store; expected "
                "the frames that it was computed from"
            )

    def retimed(self, clip_id: str, severity: float) -> Flow:
        """The flow between a wrong onset and a wrong apex.

        The nearest existing frames are used, at least one frame apart. The timing errors are those
        of the kind `jitter`, so that the two kinds can be compared.

        Args:
            clip_id: the clip.
            severity: of the kind `retiming`.

        Returns:
            Shape (2, H, W) at the store's size, pixels.

        Raises:
            DadnetError: if a frame cannot be read, or the two frames are equal.
        """
        draws = np.random.default_rng(seed_hash("corruption", "jitter", clip_id))
        return self._flow(self.row(clip_id), *timing_errors(severity, draws))

    def _flow(self, row: dict[str, Any], late_onset: float, late_apex: float) -> Flow:
        onset, apex = int(row["onset"]), int(row["apex"])
        folders, folder = FrameFolders(), Path(row["onset_path"]).parent
        numbers = np.array(sorted(folders.frames(folder)))
        if not len(numbers):
            raise DadnetError(f"retiming: {folder} has no numbered frames")
        first, last = (
            int(numbers[np.abs(numbers - wanted).argmin()])
            for wanted in (onset + late_onset * (apex - onset), apex + late_apex * (apex - onset))
        )
        if first == last:  # an annotator would not choose one frame for both
            later, earlier = numbers[numbers > first], numbers[numbers < first]
            if not len(later) and not len(earlier):
                raise DadnetError(f"retiming: {folder} has one frame alone, {first}")
            first, last = (first, int(later[0])) if len(later) else (int(earlier[-1]), last)
        paths = {"onset_path": folders.find(folder, first), "apex_path": folders.find(folder, last)}
        chosen = {**row, "onset": first, "apex": last, **{k: str(v) for k, v in paths.items()}}
        try:
            return make_clip_flow(chosen, self.options).flow
        except DadnetError as error:
            clip = row["clip_id"]
            raise DadnetError(f"retiming: {clip}, frames {first} and {last}: {error}") from error
