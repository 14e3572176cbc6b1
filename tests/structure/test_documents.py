"""Documents name only what exists: links, files, modules. Hooks are the checks of `make check`."""

import re

import pytest
import yaml

from tests.build.source import PACKAGES, ROOT, short

# In two languages: the second says the same, heading for heading, with the same code.
TRANSLATED = ("README", "docs/faq", "docs/tutorials/laptop")
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "cluster").rglob("*.md"),
        *(
            ROOT / name / "README.md"
            for name in ("benchmarks", "tests/golden", "tests/data/oracles")
        ),
        *(ROOT / ".github").glob("*.md"),
    ]
)
FOLDERS = (*PACKAGES, "benchmarks", "cluster", "docs", "examples", "tests")
CODE = re.compile(r"```.*?```|`[^`\n]+`|^ {4}\S[^\n]*", re.DOTALL | re.MULTILINE)
PATH = re.compile(rf"(?<![\w./:-])(?:{'|'.join(FOLDERS)})(?:/[\w.-]+)+/?")
MODULE = re.compile(rf"(?<![\w./-])(?:{'|'.join((*PACKAGES, 'benchmarks'))})(?:\.[A-Za-z_]\w*)+")
# Files that a command writes, or that a user has.
NOT_OURS = re.compile(r"\.log$|\.zip$")


@pytest.mark.parametrize("document", DOCUMENTS, ids=short)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    local = {link.split("#")[0] for link in links if "://" not in link} - {""}
    assert not {link for link in local if not (document.parent / link).exists()}


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.name != "CHANGELOG.md"], ids=short)
def test_files_and_modules_that_are_named_exist(document):
    code = "\n".join(CODE.findall(document.read_text()))
    assert not {name for name in PATH.findall(code) if not _is_file(name)}
    assert not {name for name in MODULE.findall(code) if not _is_module(name)}


def _is_file(name: str) -> bool:
    return (ROOT / name).exists() or NOT_OURS.search(name) is not None


def _is_module(name: str) -> bool:
    """Whether a dotted name is a module, or something that its module names."""
    parts = name.split(".")
    for number in range(len(parts), 0, -1):
        base, rest = ROOT.joinpath(*parts[:number]), parts[number:]
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return all(re.search(rf"\b{word}\b", file.read_text()) for word in rest)
    return False


def _headings(text: str) -> list[int]:
    """The levels of the headings, outside of code."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [len(marks) for marks in re.findall(r"^(#+) ", outside, re.MULTILINE)]


@pytest.mark.parametrize("name", TRANSLATED)
def test_both_languages_have_the_same_headings_and_code(name):
    english, chinese = ((ROOT / f"{name}{end}").read_text() for end in (".md", ".zh-CN.md"))
    assert _headings(english) == _headings(chinese)
    blocks = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    assert blocks.findall(english) == blocks.findall(chinese)
    rows = re.compile(r"^\|", re.MULTILINE)
    assert len(rows.findall(english)) == len(rows.findall(chinese))
    for text, other in ((english, f"{name}.zh-CN.md"), (chinese, f"{name}.md")):
        assert f"]({other.rpartition('/')[2]})" in text.split("\n## ")[0]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_a_readme_is_read_in_minutes(name):
    assert len((ROOT / name).read_text().splitlines()) <= 200


def test_the_hooks_are_the_checks_of_make_that_need_no_network():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    [recipe] = re.findall(
        r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    checks = [line.strip().removeprefix("$(BIN)/") for line in recipe.splitlines()]
    assert {" ".join(_tool(entry)) for entry in hooks} == {
        " ".join(_tool(line)) for line in checks if not line.startswith("python .ci/audit.py")
    }


def _tool(line: str) -> list[str]:
    """The program and its verb, without flags and files."""
    return [word for word in line.split() if word != "." and not word.startswith("-")]


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_forms_have_what_github_asks_for(name):
    form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text())
    assert form["name"]
    assert form["description"]
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert {field["type"] for field in form["body"]} <= kinds
    asked = [field for field in form["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in asked]
    assert len(set(ids)) == len(ids)
    assert all(field["attributes"]["label"] for field in asked)
    assert all(f["attributes"]["options"] for f in asked if f["type"] in ("dropdown", "checkboxes"))
