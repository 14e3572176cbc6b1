"""Hooks of MkDocs: pages made from files outside of `docs`, and the flags of every command.

A link to a file of the repository that is no page becomes its name, so that the same text is right
on the site and in the repository.
"""

import os
import posixpath
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Files of the repository that are pages of the site.
OUTSIDE = {
    "README.md": "index.md",
    "README.zh-CN.md": "index.zh-CN.md",
    "cluster/README.md": "how-to/cluster.md",
    "benchmarks/README.md": "reference/benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
COMMANDS = "reference/command_line.md"
LINK = re.compile(r"\[([^\]\[]*)\]\((?!\w+:|#)([^)\s#]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in `docs`."""
    for origin, page in OUTSIDE.items():
        text = (ROOT / origin).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, COMMANDS, content=command_line()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links lead to pages."""
    pages = {page: origin for origin, page in OUTSIDE.items()}
    uri = page.file.src_uri
    origin = pages.get(uri, f"docs/{uri}")
    known = {file.src_uri for file in files}

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        inside = OUTSIDE.get(path, path.removeprefix("docs/"))
        if inside in known and (path in OUTSIDE or path.startswith("docs/")):
            there = posixpath.relpath(inside, posixpath.dirname(uri) or ".")
            return f"[{text}]({there}{anchor})"
        if not (ROOT / path).exists():
            return found[0]  # MkDocs reports it
        return text if text.strip("`") == path else f"{text} (`{path}`)"

    return LINK.sub(link, markdown)


def command_line() -> str:
    """The page of all commands: what each prints with `--help`."""
    listed = _output("--help")
    verbs = re.findall(r"^  (\w+) +(\S.*)$", listed, re.MULTILINE)
    if not verbs:
        raise RuntimeError(f"dadnet --help lists no commands: {listed}")
    with ThreadPoolExecutor(2) as pool:
        helps = pool.map(lambda verb: _output(verb[0], "--help"), verbs)
    parts = [
        f"## dadnet {verb}\n\n{meaning[0].upper()}{meaning[1:]}.\n\n```text\n{text.strip()}\n```\n"
        for (verb, meaning), text in zip(verbs, helps, strict=True)
    ]
    status = "Exit status: 0 done, 2 bad input, 3 incomplete."
    head = f"# Command line\n\nWhat each command prints with `--help`. {status}\n"
    return "\n".join([head, *parts])


def _output(*words: str) -> str:
    env: dict[str, Any] = {**os.environ, "COLUMNS": "78", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.main", *words],
        cwd=ROOT, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    text = done.stdout or done.stderr
    return "\n".join(line.rstrip() for line in text.splitlines())
