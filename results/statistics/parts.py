"""Composites and official splits are reported by part as well, from the same pooled predictions."""

from __future__ import annotations

from collections.abc import Sequence

from results.statistics.counts import Counts, ScoredClip, count


def part_of(protocol: str, clip: ScoredClip) -> str:
    """Return the part that a clip is reported under beside all test clips, or "".

    Composites are reported by the dataset of the subject, official splits by their test parts.
    """
    if protocol in ("cde", "cross-dataset"):
        dataset, slash, _ = clip.subject.partition("/")
        return dataset if slash else ""
    return clip.part if protocol == "official" else ""


def count_parts(
    protocol: str, rows: Sequence[ScoredClip], classes: Sequence[str], subjects: Sequence[str]
) -> dict[str, Counts]:
    """Return the counts of each part, sorted by name; nothing where there are not several.

    The folds are pooled first, so a part's figures are of models that were trained on all parts.

    Args:
        protocol: of the experiment.
        rows: all its scored clips.
        classes: (K,) class names.
        subjects: of the clips, each once.
    """
    if protocol not in ("cde", "cross-dataset", "official"):
        return {}
    if protocol != "official" and len({name.partition("/")[0] for name in subjects}) < 2:
        return {}
    by_part: dict[str, list[ScoredClip]] = {}
    for row in rows:
        by_part.setdefault(part_of(protocol, row), []).append(row)
    if len(by_part) < 2:
        return {}
    return {part: count(by_part[part], classes) for part in sorted(by_part)}
