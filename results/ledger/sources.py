"""The source of a user's own network or augmentation, as an experiment's config keeps it.

`results` never runs it. It lies as files beside the experiment, to be read, and so that a run that
names one of them makes the experiment again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dadnet.base.location import Location, write_once
from dadnet.base.own_code import OwnCode

_WHERE = {"model": "model", "augmentation": "optim"}  # flag: section of the config


def sources_of(config: Mapping[str, Any]) -> dict[str, OwnCode]:
    """The sources of a config by the name of their flag."""
    parts = {flag: config.get(section, {}) for flag, section in _WHERE.items()}
    found = {
        flag: part.get(flag) if isinstance(part, Mapping) else None for flag, part in parts.items()
    }
    return {flag: OwnCode.from_json(code) for flag, code in found.items() if is_source(code)}


def is_source(value: object) -> bool:
    """Whether a value of a config is a source."""
    return isinstance(value, Mapping) and {"file", "function", "files"} <= value.keys()


def source_path(flag: str, code: OwnCode) -> str:
    """The word that names a source in an experiment's folder, as the flag takes it."""
    return f"source/{flag}/{code}"


def write_sources(config: Mapping[str, Any], folder: Location) -> None:
    """Write the sources of a config below an experiment's folder, where they are not there yet."""
    for flag, code in sources_of(config).items():
        for path, text in code.files:
            write_once(folder / "source" / flag / path, text)


def source_note(config: Mapping[str, Any]) -> str:
    """One line about the sources of an experiment; "" where there is none."""
    named = ", ".join(str(code) for code in sources_of(config).values())
    return f"it holds source of its own ({named}), which is not run here" if named else ""
