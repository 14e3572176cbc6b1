"""Counts of each dataset in the literature, with sources; the doctor compares with them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ClassCounts:
    """Clips of a class set.

    Attributes:
        counts: clips by class.
        source: origin of the counts.
        subjects: subjects with a clip of the set, if known.
    """

    counts: Mapping[str, int]
    source: str
    subjects: int | None = None


@dataclass(frozen=True)
class Known:
    """One dataset.

    Attributes:
        rows: number of rows of the annotation -> release.
        subjects: subjects with clips; None if unknown.
        emotions: clips by emotion.
        emotions_source: origin of these counts.
        class_sets: counts by name of the class set.
        parts: clips by part of an official split.
        remarks: notes on published numbers.
    """

    rows: Mapping[int, str]
    subjects: int | None = None
    emotions: Mapping[str, int] = field(default_factory=dict)
    emotions_source: str = ""
    class_sets: Mapping[str, ClassCounts] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def _three(negative: int, positive: int, surprise: int) -> dict[str, int]:
    return {"negative": negative, "positive": positive, "surprise": surprise}


_THREE = ("3class", "3class-megc")
_MEGC = "Micro-Expressions Grand Challenge 2019"
_RELEASED = "counted in the released table"
_CASME3_EMOTIONS = {
    "disgust": 249, "surprise": 187, "others": 157, "fear": 85, "anger": 64, "sad": 57, "happy": 55,
}  # fmt: skip
_CKPLUS = {
    "anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happy": 69, "sadness": 28,
    "surprise": 83,
}  # fmt: skip

LITERATURE: Mapping[str, Known] = {
    "casme2": Known(
        rows={255: "the released table", 256: "the updated table, as MEB uses it"},
        subjects=26,
        emotions={
            "others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25,
            "sadness": 7, "fear": 2,
        },
        emotions_source=_RELEASED,
        class_sets={
            "3class": ClassCounts(_three(90, 32, 25), f"plain filter, {_RELEASED}", 24),
            "3class-megc": ClassCounts(_three(88, 32, 25), _MEGC, 24),
            "3class-156": ClassCounts(_three(99, 32, 25), "with sadness and fear", 25),
            "5class": ClassCounts(
                {"happiness": 32, "surprise": 25, "disgust": 63, "repression": 27, "others": 99},
                _RELEASED,
            ),
        },
        remarks=(
            "the 2014 paper counts 247 clips in five classes (33, 25, 60, 27, 102); papers that "
            "say three classes mean 145, 147, 150, 156 or 254 clips",
        ),
    ),
    "samm": Known(
        rows={159: "SAMM_Micro_FACS_Codes_v2"},
        subjects=29,  # 32 took part
        emotions={
            "anger": 57, "other": 26, "happiness": 26, "surprise": 15, "contempt": 12,
            "disgust": 9, "fear": 8, "sadness": 6,
        },
        emotions_source=_RELEASED,
        class_sets=dict.fromkeys(_THREE, ClassCounts(_three(92, 26, 15), _MEGC, 28)),
        remarks=("the challenge's list of labels in circulation lacks one negative clip (132)",),
    ),
    "smic": Known(
        rows={164: "SMIC-HS"},
        subjects=16,
        emotions=_three(70, 51, 43),
        emotions_source=_MEGC,
        class_sets=dict.fromkeys(_THREE, ClassCounts(_three(70, 51, 43), _MEGC, 16)),
        remarks=(
            "the videos SMIC-HS-E lack five clips of the challenge: s03_ne_03, s03_ne_20, "
            "s04_ne_05, s04_ne_06, s09_sur_02",
        ),
    ),
    "casme3": Known(
        rows={860: "part A, list v2"},
        subjects=94,
        emotions=_CASME3_EMOTIONS,
        emotions_source="854 clips after cleaning",
        class_sets={
            "3class": ClassCounts(_three(455, 55, 187), "854 clips without others"),
            "4class": ClassCounts({**_three(455, 55, 187), "others": 157}, "854 clips"),
            "7class": ClassCounts(
                {
                    "happiness": 55, "surprise": 187, "disgust": 249, "sadness": 57, "fear": 85,
                    "anger": 64, "others": 157,
                },
                "854 clips",
            ),
        },
        remarks=("1,109, as often printed, are the clips of parts A and C together",),
    ),
    "casme3c": Known(rows={166: "part C"}, subjects=31),
    "fourdme": Known(
        rows={267: "4DME_Labelling_Micro_release v1"},
        remarks=("no counts per class were found in print; 690 clips count several cameras",),
    ),
    "dfme": Known(
        rows={2629: "the official challenge: 1,856 + 474 + 299", 1856: "its training part alone"},
        subjects=259,
        class_sets={
            "3class": ClassCounts(_three(1871, 311, 447), "sum of the official parts"),
            "4class": ClassCounts(
                {"disgust": 735, "surprise": 447, "sadness": 359, "happiness": 311},
                "sum of the official parts",
            ),
        },
        parts={"train": 1856, "testA": 474, "testB": 299},
        remarks=("7,526, as often printed, is the whole DFME; the official split has 2,629",),
    ),
    "ckplus": Known(
        rows={593: "all sequences; 327 have a label"},
        emotions=_CKPLUS,
        emotions_source="the official readme",
        class_sets={
            "3class": ClassCounts(_three(175, 69, 83), "327 labelled sequences"),
            "7class": ClassCounts(
                {"happiness": 69, **{k: n for k, n in _CKPLUS.items() if k != "happy"}},
                "the official readme",
            ),
        },
    ),
}  # fmt: skip

# The composite of the Micro-Expressions Grand Challenge 2019: 145 + 164 + 133 clips.
_COMPOSITES: Mapping[str, tuple[ClassCounts, ...]] = {
    "megc2019": (ClassCounts(_three(250, 109, 83), _MEGC, 68),)
}


def known_class_counts(dataset: str, classes: Iterable[str]) -> tuple[ClassCounts, ...]:
    """The literature's counts of a dataset or composite, in class sets of these classes."""
    known = LITERATURE.get(dataset)
    sets = _COMPOSITES.get(dataset, tuple(known.class_sets.values()) if known else ())
    wanted = set(classes)
    return tuple(counts for counts in sets if set(counts.counts) == wanted)


def difference_from_literature(dataset: str, counts: Mapping[str, int]) -> str | None:
    """Compare the clips of each class with the literature.

    Returns:
        None if the dataset or its classes are not known, "" if the counts are those of one of its
        class sets, otherwise one line with both.
    """
    known = known_class_counts(dataset, counts)
    if not known:
        return None
    if any(dict(one.counts) == dict(counts) for one in known):
        return ""
    first = known[0]
    ours, theirs = ("/".join(str(c[name]) for name in counts) for c in (counts, first.counts))
    return (
        f"class counts {ours} ({', '.join(counts)}) differ from the literature's {theirs} "
        f"({first.source})"
    )
