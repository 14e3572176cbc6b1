"""Changes of a module's source, one at a time, by the operators of mutmut.

mutmut's own runner changes the bodies of undecorated functions only: neither tables (classes,
corrections, severities) nor defaults nor properties. The one of cosmic-ray starts an interpreter
for each change, which imports torch for seconds. So its operators are used here without its runner.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, ParentNodeProvider
from mutmut.mutation.mutators import mutation_operators

# A name of a type: `Rows = npt.NDArray[np.intp]` computes nothing.
_ALIAS = re.compile(r"[A-Z][a-z]+[A-Za-z]*$")
# Functions that compute nothing, and an argument that only checks.
_FOR_TYPES, _CHECK = {"cast", "TypeVar", "field"}, "strict"


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Attributes:
        module: path of the module from the root of the checkout.
        line: number of the first changed line.
        before: the changed lines, without indentation.
        after: what they became.
        repeat: how many earlier changes of the module have the same texts.
        source: the whole changed module.
    """

    module: str
    line: int
    before: str
    after: str
    repeat: int
    source: str

    @property
    def key(self) -> str:
        """What names the change, also after lines were added above it."""
        return f"{self.before} -> {self.after}" + (f" #{self.repeat}" if self.repeat else "")


def mutants_of(
    root: Path, module: str, most: int | None, seed: int = 0
) -> tuple[list[Mutant], int]:
    """A seeded random sample of a module's mutants, and how many it has in total.

    The sample is by the hash of each change, so that an edit elsewhere in the module changes
    little of it.

    Args:
        root: the checkout.
        module: path of the module in it.
        most: size of the sample; None: all.
        seed: another one gives another sample.
    """
    text = (root / module).read_text()
    found: dict[str, Mutant] = {}
    seen: dict[tuple[str, str], int] = {}
    for source in _sources(text):
        try:
            compile(source, module, "exec")
        except SyntaxError:
            continue
        line, before, after = _difference(text, source)
        repeat = seen.get((before, after), 0)
        seen[before, after] = repeat + 1
        mutant = Mutant(module, line, before, after, repeat, source)
        found[mutant.key] = mutant
    order = sorted(
        found.values(),
        key=lambda m: hashlib.sha256(f"{seed} {module} {m.key}".encode()).hexdigest(),
    )
    return sorted(order[:most], key=lambda m: (m.line, m.key)), len(found)


def _sources(text: str) -> Iterator[str]:
    """The module with one change each."""
    tree = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    visitor = _Visitor()
    tree.visit(visitor)
    spans, whole, code = (
        tree.resolve(ByteSpanPositionProvider),
        text.encode(),
        tree.module.code_for_node,
    )
    for node in visitor.nodes:
        for kind, operator in mutation_operators:
            if not isinstance(node, kind):
                continue
            # Of a text the first change: its other two are the cases of its letters.
            for new in list(operator(node))[: 1 if isinstance(node, cst.BaseString) else None]:
                old, span = code(node).encode(), spans[node]
                # The span leaves out the parentheses around an expression, its code has them.
                start = span.start - old.find(whole[span.start : span.start + span.length])
                if whole[start : start + len(old)] == old:
                    rest = whole[start + len(old) :]
                    yield (whole[:start] + code(new).encode() + rest).decode()
                else:  # code that is generated in another form: slower, but always right
                    yield tree.module.deep_replace(node, new).code


class _Visitor(cst.CSTVisitor):
    """The nodes that compute something: no annotations, imports, decorators, texts of errors."""

    METADATA_DEPENDENCIES = (ParentNodeProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(
            node,
            cst.Annotation | cst.Import | cst.ImportFrom | cst.Decorator | cst.Raise
            | cst.FormattedString | cst.Assert,
        ):  # fmt: skip
            return False
        if isinstance(node, cst.Arg) and node.keyword and node.keyword.value == _CHECK:
            return False
        if isinstance(node, cst.Call) and _name(node.func) in _FOR_TYPES:
            return False
        if isinstance(node, cst.Expr) and isinstance(node.value, cst.BaseString):
            return False
        if isinstance(node, cst.Assign) and self._is_alias(node):
            return False
        if not (isinstance(node, cst.Call) and any(_is_check(arg) for arg in node.args)):
            self.nodes.append(node)
        return True

    def _is_alias(self, node: cst.Assign) -> bool:
        above = self.get_metadata(ParentNodeProvider, self.get_metadata(ParentNodeProvider, node))
        name = _name(node.targets[0].target)
        return isinstance(above, cst.Module) and _ALIAS.match(name) is not None


def _is_check(arg: cst.Arg) -> bool:
    return arg.keyword is not None and arg.keyword.value == _CHECK


def _name(node: cst.CSTNode) -> str:
    return node.value if isinstance(node, cst.Name) else ""


def _difference(before: str, after: str) -> tuple[int, str, str]:
    """Number of the first changed line; the changed lines in both texts."""
    old, new = before.splitlines(), after.splitlines()
    shorter = min(len(old), len(new))
    first = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    rest = shorter - first
    last = next((i for i in range(rest) if old[-1 - i] != new[-1 - i]), rest)
    texts = (lines[first : len(lines) - last] for lines in (old, new))
    one, other = (" ".join(line.strip() for line in lines) for lines in texts)
    return first + 1, one, other
