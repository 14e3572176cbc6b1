"""Flows of clips whose onset and apex were missed, computed anew from other frames."""

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
from dadnet.flow.corruptions import missed
from dadnet.flow.store import flow_digest


@dataclass(frozen=True, eq=False)
class ClipFrames:
    """Where the frames of the clips of a flow store are.

    Attributes:
        rows: clip id -> row of the index, with the apex that the store took.
        options: how the store's flows were made.
    """

    rows: Mapping[str, Mapping[str, Any]]
    options: FlowOptions

    def row(self, clip_id: str) -> dict[str, Any]:
        """The row of a clip; raises `DadnetError` where there is none with frames."""
        row = self.rows.get(clip_id)
        if row is None or not row["onset_path"] or int(row["apex"]) < 0:
            raise DadnetError(f"retiming: there are no frames of {clip_id}, or no apex is known")
        return dict(row)

    def check(self, clip_id: str, stored_digest: str) -> None:
        """Raise unless the frames give the very flow of the store."""
        flow = self._flow(self.row(clip_id), 0.0, 0.0)
        if flow_digest(to_half(flow)) != stored_digest:
            raise DadnetError(
                f"retiming: the frames of {clip_id} do not give its flow in the store; expected "
                "the frames that it was made from"
            )

    def retimed(self, clip_id: str, severity: float) -> Flow:
        """The flow between the frames that are taken for onset and apex.

        A missed frame that the folder does not have is the nearest that it has, and the two are at
        least one frame apart. Onset and apex are missed by the draws of the kind `jitter`, so that
        the two kinds can be compared.

        Args:
            clip_id: the clip.
            severity: of the kind `retiming`.

        Returns:
            Shape (2, H, W) at the store's size, pixels.

        Raises:
            DadnetError: if a frame cannot be read, or the two show the very same picture.
        """
        draws = np.random.default_rng(seed_hash("corruption", "jitter", clip_id))
        return self._flow(self.row(clip_id), *missed(severity, draws))

    def _flow(self, row: dict[str, Any], late_onset: float, late_apex: float) -> Flow:
        onset, apex = int(row["onset"]), int(row["apex"])
        folders, folder = FrameFolders(), Path(row["onset_path"]).parent
        there = np.array(sorted(folders.frames(folder)))
        if not len(there):
            raise DadnetError(f"retiming: {folder} has no numbered frames")
        first, last = (
            int(there[np.abs(there - wanted).argmin()])
            for wanted in (onset + late_onset * (apex - onset), apex + late_apex * (apex - onset))
        )
        if first == last:  # nobody takes one frame for both
            later, earlier = there[there > first], there[there < first]
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
