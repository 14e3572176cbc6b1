"""Checkpoints of both public layouts of DAD-Net: their names as ours, and what was loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from dadnet.base.errors import DadnetError

Branch = Literal["student", "teacher"]

_WRAPPER = re.compile(r"^(module|model|backbone)\.")
_BRANCHES: dict[str, Branch] = {
    "micro_branch": "student",
    "macro_branch": "teacher",
    "student": "student",
    "teacher": "teacher",
}
_BRANCH = re.compile(rf"^({'|'.join(_BRANCHES)})\.")
# Names of the second public layout, as ours (those of the first).
_RENAMED = (
    (re.compile(r"^(downsample_layers\.\d+\.\d+)\.mlp\."), r"\1.fc."),
    (re.compile(r"^attention\.enhance\."), "attention.micro_enhance."),
    (re.compile(r"^(adapters\.\d+)\.adapter_conv\."), r"\1.conv."),
)
_CONSTANT = re.compile(r"^stages\.\d+\.\d+\.(sobel|central)_[xy]$")
_SHOWN = 4  # names listed in a one-line message


@dataclass(frozen=True)
class LoadReport:
    """Which weights of a checkpoint were loaded.

    Attributes:
        loaded: Names in the model that were filled.
        skipped: Names in the checkpoint that were not taken, each with the reason.
        missing: Names in the model that the checkpoint did not fill.
    """

    loaded: tuple[str, ...]
    skipped: Mapping[str, str]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"{len(self.loaded)} weights loaded, {len(self.skipped)} of the checkpoint skipped, "
            f"{len(self.missing)} of the model missing"
        ]
        lines += [f"  skipped {name}: {reason}" for name, reason in self.skipped.items()]
        lines += [f"  missing {name}" for name in self.missing]
        return "\n".join(lines)


class Architecture(NamedTuple):
    """The switches of a MicroFlowNeXt, from the names and shapes of its weights."""

    num_classes: int
    use_stn: bool
    channel_attention: bool
    head_attention: bool


def load_reference_state(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    allow_missing: bool = False,
    branch: Branch | None = None,
) -> LoadReport:
    """Fill a model from a state dict of ours or of either public DAD-Net layout.

    Prefixes (module, model, backbone, micro_branch, macro_branch) and renamed parts are
    translated; the central-difference constants are checked and left out. Print the report.

    Args:
        model: A MicroFlowNeXt or a DADNet; filled in place, keeping its dtype and device.
        state_dict: Names and tensors.
        allow_missing: Leave what the checkpoint lacks, or holds in another shape, as it is.
        branch: Which stream of a two-stream checkpoint fills a single MicroFlowNeXt.

    Raises:
        DadnetError: If weights are missing without `allow_missing`, two names mean one weight, a
            constant differs from ours, or a choice of `branch` is needed; the model is then as it
            was.
    """
    target = model.state_dict()
    two_streams = any(name.startswith("teacher.") for name in target)
    if not two_streams:
        branch = _only_branch(state_dict, branch)
    chosen: dict[str, tuple[str, Tensor]] = {}
    skipped: dict[str, str] = {}
    for source, value in state_dict.items():
        stream, name = _translate(source)
        if two_streams and stream is not None:
            name = f"{stream}.{name}"
        reason = _reason_to_skip(name, value, target, two_streams, stream, branch)
        if reason is not None:
            skipped[source] = reason
        elif name in chosen:
            raise DadnetError(f"expected one tensor for {name}, got {chosen[name][0]} and {source}")
        else:
            chosen[name] = (source, value)
    report = LoadReport(
        loaded=tuple(name for name in target if name in chosen),
        skipped=skipped,
        missing=tuple(name for name in target if name not in chosen),
    )
    if report.missing and not allow_missing:
        others = [f"{n} ({r})" for n, r in skipped.items() if not r.startswith("the constant")]
        because = f"; skipped: {_short(others)}" if others else ""
        raise DadnetError(
            f"expected all {len(target)} weights, {len(report.missing)} are missing: "
            f"{_short(report.missing)}{because}; allow_missing=True loads the rest"
        )
    model.load_state_dict({name: value for name, (_, value) in chosen.items()}, strict=False)
    return report


def infer_architecture(state_dict: Mapping[str, Tensor]) -> Architecture:
    """Infer the switches (not the size) of one stream, of ours or of either public layout.

    Raises:
        DadnetError: If there is no `head.weight`.
    """
    shapes = {_translate(source)[1]: value.shape for source, value in state_dict.items()}
    if "head.weight" not in shapes:
        raise DadnetError(
            "expected weights of a MicroFlowNeXt, got none named head.weight among "
            f"{_short(sorted(shapes))}"
        )
    return Architecture(
        num_classes=shapes["head.weight"][0],
        use_stn="fc_loc.0.weight" in shapes,
        channel_attention="downsample_layers.1.1.fc.0.weight" in shapes,
        head_attention="attention.norm.weight" in shapes,
    )


def stream_of(state_dict: Mapping[str, Tensor], branch: Branch | None = None) -> dict[str, Tensor]:
    """One stream of a checkpoint under our names; see `load_reference_state`.

    Raises:
        DadnetError: If a choice of `branch` is needed, or there is no such stream.
    """
    branch = _only_branch(state_dict, branch)
    named = {_translate(source): value for source, value in state_dict.items()}
    return {name: value for (stream, name), value in named.items() if stream == branch}


def _translate(source: str) -> tuple[Branch | None, str]:
    """The stream in a name of a checkpoint, if there is one, and our name within that stream."""
    name = source
    stream: Branch | None = None
    while True:
        if match := _WRAPPER.match(name):
            name = name[match.end() :]
        elif stream is None and (match := _BRANCH.match(name)):
            stream = _BRANCHES[match[1]]
            name = name[match.end() :]
        else:
            break
    for pattern, ours in _RENAMED:
        name = pattern.sub(ours, name)
    return stream, name


def _only_branch(state_dict: Mapping[str, Tensor], branch: Branch | None) -> Branch | None:
    """The stream that fills a single network; None where the checkpoint has no streams."""
    present = {stream for stream, _ in map(_translate, state_dict)} - {None}
    if branch is not None:
        if branch not in present:
            streams = ", ".join(sorted(filter(None, present))) or "no streams"
            raise DadnetError(f"expected weights of the {branch}, the checkpoint has {streams}")
        return branch
    if len(present) > 1:
        raise DadnetError(
            "expected branch='student' or branch='teacher', since the checkpoint has two streams; "
            "got None"
        )
    return next(iter(present), None)


def _reason_to_skip(
    name: str,
    value: Tensor,
    target: Mapping[str, Tensor],
    two_streams: bool,
    stream: Branch | None,
    branch: Branch | None,
) -> str | None:
    if not two_streams and stream != branch:
        return f"of the {stream}" if stream else f"outside the {branch}"
    bare = name.removeprefix("student.").removeprefix("teacher.")
    if _CONSTANT.match(bare):
        if value.flatten().tolist() != [-1.0, 0.0, 1.0]:
            raise DadnetError(
                f"expected the central difference (-1, 0, 1) in {name}, "
                f"got {value.flatten().tolist()}"
            )
        return "the constant (-1, 0, 1), which is built in"
    if two_streams and stream is None and not name.startswith("adapters."):
        return "no stream (micro_branch or macro_branch) in its name"
    if name not in target:
        return "the model has no such weight"
    if value.shape != target[name].shape:
        return f"shape {tuple(value.shape)}, expected {tuple(target[name].shape)}"
    return None


def _short(names: tuple[str, ...] | list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
