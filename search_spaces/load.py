"""Find a space by its name, or in a user's file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from dadnet.base.digests import content_digest
from dadnet.base.errors import DadnetError, meant
from search_spaces import SPACES
from search_spaces.space import Space


def load_space(word: str) -> Space:
    """The space of a name, or of ``path/to/space.py:function``.

    Args:
        word: one of `SPACES`, or a file and a function in it, from an Optuna trial to
            ``section.field`` -> value. The function may have an attribute ``params_of``.

    Raises:
        DadnetError: if there is no such space, or the file cannot be used.
    """
    if word in SPACES:
        return SPACES[word]
    path, colon, name = word.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise DadnetError(
            f"space: expected one of {', '.join(SPACES)}, or path/to/space.py:function; "
            f"got {word!r}{meant(word, SPACES)}"
        )
    suggest = getattr(_module(Path(path)), name, None)
    if not callable(suggest):
        raise DadnetError(f"space: expected a function {name} in {path}, but there is none")
    # An edited file is another space: it must not continue the old one's study.
    digest = content_digest(Path(path).read_bytes(), 8)
    summary = (suggest.__doc__ or f"{name} of {path}").strip().splitlines()[0]
    return Space(f"{name}@{digest}", summary, suggest, getattr(suggest, "params_of", None))


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"user_space_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DadnetError(f"space: expected a Python file, got {path}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # of the user's file
        raise DadnetError(
            f"space: {path} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return module
