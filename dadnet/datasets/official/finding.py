"""Search of a dataset's annotation and frames below its root folder."""

import re
from collections.abc import Sequence
from pathlib import Path

from dadnet.base.errors import DadnetError, listed
from dadnet.datasets.frames import MANY_FOLDERS, FrameFolders
from dadnet.datasets.official.layout import Layout, Options, Source

_TABLE_SUFFIXES = (".csv", ".xls", ".xlsx")


def find_annotation(layout: Layout, root: Path) -> Path:
    """The only annotation under the root.

    Raises:
        DadnetError: if there is none, or several.
    """
    paths = find_files(root, layout.annotations)
    if not paths:
        raise DadnetError(
            f"no {layout.title} annotation under {root}; {searched_names(layout, root)}"
        )
    if len(paths) > 1:
        names = listed(relative(p, root) for p in paths)
        raise DadnetError(
            f"several annotations under {root}: {names}; choose one by --annotation FILE"
        )
    return paths[0]


def searched_names(layout: Layout, root: Path) -> str:
    """The possible names of an annotation, and the tables that exist instead."""
    others = sorted(p.name for p in nearby(root) if p.suffix.lower() in _TABLE_SUFFIXES)
    seen = f"there is {', '.join(others[:5])}" if others else "there is no table at all"
    names = ", ".join(re.sub(r"\.\*|\.\+", "*", p).replace("\\", "") for p in layout.annotations)
    return f"looked for {names}; {seen}"


def find_files(root: Path, patterns: Sequence[str]) -> list[Path]:
    """Files near the root whose lower-case name matches one of the patterns, sorted."""
    shapes = [re.compile(pattern) for pattern in patterns]
    return [p for p in nearby(root) if any(s.fullmatch(p.name.lower()) for s in shapes)]


def nearby(root: Path) -> list[Path]:
    """Files in the root and up to two folders deeper, without hidden files and Excel's lock files.

    Folders with many folders are not searched: they are subjects with hundreds of thousands of
    frames.
    """
    folders = FrameFolders()
    files: list[Path] = []
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        files += [p for p in folders.files(folder) if not p.name.startswith(("~$", "."))]
        inner = folders.children(folder)
        if depth < 2 and len(inner) <= MANY_FOLDERS:
            waiting += [(child, depth + 1) for child in inner.values()]
    return sorted(files)


def find_source(layout: Layout, root: Path, options: Options) -> Source:
    """The folder of the frames.

    Raises:
        DadnetError: if there is none.
    """
    folders = FrameFolders()
    if options.frames != "auto":
        chosen = root / options.frames
        if not chosen.is_dir():
            raise DadnetError(f"no folder of frames: {chosen}")
        return Source(root, _unnested(chosen, layout, folders), folders)
    top = folders.children(root)
    candidates = [top]
    if len(top) <= MANY_FOLDERS:
        candidates += [folders.children(child) for _, child in sorted(top.items())]
    for name in layout.frame_folders:
        for children in candidates:
            if (folder := children.get(name.lower())) is not None:
                return Source(root, _unnested(folder, layout, folders), folders)
    if _is_frames(root, layout, folders):
        return Source(root, root, folders)
    raise DadnetError(
        f"no folder of frames under {root}; looked for {', '.join(layout.frame_folders)}; "
        "--frames FOLDER names another"
    )


def _is_frames(folder: Path, layout: Layout, folders: FrameFolders) -> bool:
    return any(re.fullmatch(layout.is_frames, name) for name in folders.children(folder))


def _unnested(folder: Path, layout: Layout, folders: FrameFolders) -> Path:
    """The folder, or its subfolder of the same name: archives are often unpacked into a folder."""
    inner = folders.children(folder).get(folder.name.lower())
    return inner if inner is not None and not _is_frames(folder, layout, folders) else folder


def relative(path: Path, root: Path) -> str:
    """The path relative to the root, or unchanged if it is elsewhere."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
