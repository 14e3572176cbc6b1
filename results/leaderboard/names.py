"""What experiments are called: the name that a user gave, else the method and what differs.

A given name is a small file beside the experiment, ``name.json``. It changes no number, so it is
no part of the digest. Readers only read it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, replace_file
from results.leaderboard.settings import exact_preset, in_words, of_recipe, place
from results.ledger.files import read_whole, set_damage_aside
from results.ledger.ledger import Ledger
from results.ledger.mirror import readable
from results.ledger.records import Experiment
from results.ledger.sealed import Digest, Sealed, Text

LONGEST = 80
# What the board itself says, or what stands under another key.
_ELSEWHERE = ("data.dataset", "data.protocol", "data.class_set", "data.selection", "seed")


class GivenName(Sealed, frozen=True):
    """The name that a user gave to an experiment.

    Attributes:
        experiment: its digest; name: at most `LONGEST` characters.
    """

    record_kind: ClassVar[str] = "name"

    experiment: Digest
    name: Text


def check_name(name: str) -> str:
    """Return a name that an experiment can have.

    Raises:
        DadnetError: if it is empty, too long, has blanks at an end or cannot be printed.
    """
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= LONGEST:
        shown = name if len(name) <= LONGEST else f"{name[:20]}..."
        raise DadnetError(
            f"name: expected 1 to {LONGEST} printable characters without blanks at the ends, "
            f"got: {shown!r}"
        )
    return name


def check_free(ledger: Ledger, experiment: Experiment, name: str) -> None:
    """Raise `DadnetError` if the name cannot be given, or another row of the board has it."""
    check_name(name)
    local = readable(ledger)
    for other in local.experiments():
        same_board = _board(other) == _board(experiment) and other.digest != experiment.digest
        if same_board and given_name(local, other) == name:
            raise DadnetError(f"name: {name!r} is the name of {other.digest}; expected another one")


def put_name(ledger: Ledger, experiment: Experiment, name: str) -> None:
    """Give an experiment of a ledger a name, in the place of any other."""
    path = _path(ledger, experiment)
    set_damage_aside(path, ledger.folder(experiment), _reader(experiment))
    replace_file(path, GivenName(experiment.digest, check_name(name)).to_json() + "\n")


def given_name(ledger: Ledger, experiment: Experiment) -> str | None:
    """Return the name that a user gave; None without one, or with a warning if it is damaged."""
    return read_whole(_path(ledger, experiment), _reader(experiment))


def names_in(ledger: Ledger, experiments: Sequence[Experiment] | None = None) -> dict[str, str]:
    """Return digest -> name of the experiments of a ledger, all of them by default."""
    chosen = ledger.experiments() if experiments is None else experiments
    found = {e.digest: given_name(ledger, e) for e in chosen}
    return names_of(chosen, {digest: name for digest, name in found.items() if name is not None})


def find_experiment(ledger: Ledger, word: str | None) -> Experiment:
    """Return the experiment whose digest or name is the word, or begins so.

    Raises:
        DadnetError: if there is none, or several; it lists them.
    """
    experiments = ledger.experiments()
    return match(experiments, names_in(ledger, experiments), word)


def begins_so(
    experiments: Sequence[Experiment], names: Mapping[str, str], word: str
) -> list[Experiment]:
    """Return the experiments whose digest or name begins with a word."""
    begin = word.casefold()
    return [
        e
        for e in experiments
        if e.digest.startswith(begin) or names[e.digest].casefold().startswith(begin)
    ]


def match(
    experiments: Sequence[Experiment], names: Mapping[str, str], word: str | None
) -> Experiment:
    """Return what `find_experiment` does, of experiments and names that were read."""
    matches = [e for e in experiments if word in (e.digest, names[e.digest])]
    if len(matches) != 1:
        matches = begins_so(experiments, names, word or "")
    if len(matches) == 1:
        return matches[0]
    there = matches or experiments
    shown = [f"{e.digest} ({_short(names[e.digest])})" for e in there[:4]]
    more = [f"{len(there) - 4} more"] if len(there) > 4 else []
    raise DadnetError(
        f"expected the digest or name of one experiment, got: {_short(repr(word))}; "
        f"there: {', '.join([*shown, *more]) or 'none'}"
    )


def _short(text: str, most: int = 24) -> str:
    """Return a text of at most so many characters, with its beginning and its end."""
    half = most // 2
    return text if len(text) <= most else f"{text[: half - 2]}...{text[1 - half :]}"


def names_of(experiments: Iterable[Experiment], given: Mapping[str, str]) -> dict[str, str]:
    """Return digest -> name, different for all rows of a board.

    Without a given name it is the method, with the settings that differ from those of most rows of
    this method on the board. Where no value has a majority, every row names its own. A row whose
    settings are those of a preset names the preset.

    Args:
        experiments: of any boards.
        given: digest -> name that a user gave.
    """
    boards: dict[tuple[object, ...], list[Experiment]] = defaultdict(list)
    for experiment in experiments:
        boards[_board(experiment)].append(experiment)
    names: dict[str, str] = {}
    for board in boards.values():
        families: dict[str, list[Experiment]] = defaultdict(list)
        for experiment in board:
            families[experiment.method].append(experiment)
        named = {digest: name for family in families.values() for digest, name in _named(family)}
        named.update({e.digest: given[e.digest] for e in board if e.digest in given})
        numbers = Counter(named.values())
        names |= {
            digest: name if numbers[name] == 1 else f"{name}, {digest[:8]}"
            for digest, name in named.items()
        }
    return names


def without_seed(name: str, experiment: Experiment) -> str:
    """Return an automatic name without its seed, for a row over several seeds."""
    return name.replace(f", seed {experiment.seed}", "")


def _named(family: Sequence[Experiment]) -> Iterable[tuple[str, str]]:
    """Yield digest and name of the rows of one method on one board."""
    if len(family) == 1:
        yield family[0].digest, family[0].method
        return
    facts = {e.digest: _facts(e) for e in family}
    keys = sorted({key for known in facts.values() for key in known}, key=place)
    varying = []
    for key in keys:
        numbers = Counter(known.get(key) for known in facts.values())
        if len(numbers) > 1:
            value, number = numbers.most_common(1)[0]
            varying.append((key, value if 2 * number > len(family) else None))
    for e in family:
        known = facts[e.digest]
        exact = exact_preset(e)
        parts = [f"preset {exact}"] if exact and any(of_recipe(key) for key, _ in varying) else []
        for key, usual in varying:
            value = known.get(key)
            if value is not None and value != usual and not (parts and exact and of_recipe(key)):
                parts.append(in_words(key, value))
        yield e.digest, ", ".join([e.method, *parts])


def _facts(experiment: Experiment) -> dict[str, str]:
    """Return all that makes the experiment, as texts by their keys."""
    facts = {
        key: value
        for key, value in experiment.settings
        if key not in _ELSEWHERE and not key.startswith("winners.")
    }
    own = {
        "~1.selection": experiment.selection,
        "~2.seed": experiment.seed,
        "~3.teacher": experiment.teacher_digest,
        "~4.data": experiment.data_digest,
    }
    return facts | {key: str(value) for key, value in own.items() if value is not None}


def _board(experiment: Experiment) -> tuple[object, ...]:
    e = experiment
    return (e.dataset, e.protocol, e.class_set, e.classes, e.multi_label)


def _path(ledger: Ledger, experiment: Experiment) -> Location:
    return ledger.folder(experiment) / "name.json"


def _reader(experiment: Experiment) -> Callable[[bytes], str]:
    def read(data: bytes) -> str:
        found = GivenName.from_json(data)
        if found.experiment != experiment.digest:
            raise DadnetError(f"expected the name of {experiment.digest}, got: {found.experiment}")
        return check_name(found.name)

    return read
