"""The public three-dataset archive of flow images, as STSTNet and HTNet read it.

``SUBJECT/u_test/CLASS/SUBJECT_CLIP.png`` holds the clips of one subject, ``SUBJECT/u_train`` those
of all others; classes are 0 negative, 1 positive, 2 surprise. The test parts give each clip once,
with its subject. The train parts hold nothing new; they are compared with the test parts.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dadnet.base.digests import file_digest
from dadnet.base.errors import DadnetError
from dadnet.datasets.frames import IMAGE_SUFFIXES, FrameFolders
from dadnet.datasets.index import ClipIndex, build_index
from dadnet.datasets.literature import difference_from_literature
from dadnet.datasets.subjects import clip_pattern, dataset_of_subject

CLASSES = {"0": "negative", "1": "positive", "2": "surprise"}
_SMIC_CODES = {"ne": "negative", "po": "positive", "sur": "surprise"}
_TEST, _TRAIN = "u_test", "u_train"


@dataclass(frozen=True)
class _Image:
    """One image: its name without ending, and the class of its folder."""

    stem: str
    emotion: str
    path: Path


def read_archive(root: Path, dataset: str | None = None, *, as_named: bool = False) -> ClipIndex:
    """The clips of an archive.

    Args:
        root: folder of the subjects' folders.
        dataset: of all subjects, if their ids do not say it or say one; None: by their ids, see
            `dadnet.datasets.subjects`.
        as_named: keep the names of the class folders as labels, for a translation of the user's.

    Raises:
        DadnetError: if it is no such archive, or its parts contradict each other.
    """
    folders = FrameFolders()
    subjects = {
        folder.name: folder
        for folder in folders.children(root).values()
        if _TEST in folders.children(folder)
    }
    if not subjects:
        raise DadnetError(
            f"archive: expected folders SUBJECT/{_TEST}/CLASS with flow images in {root}, got none"
        )
    classes = None if as_named else CLASSES
    test = {n: list(_images(folders, folder, _TEST, classes)) for n, folder in subjects.items()}
    datasets = _datasets(sorted(subjects), dataset)
    rows = [_row(datasets[name], name, image) for name, images in test.items() for image in images]
    notes = _check_train(folders, subjects, test, classes)
    for name in sorted(n for n, images in test.items() if not images):
        notes += (f"{name}/{_TEST} has no images",)
    index = build_index(rows)
    if index.rejected:
        raise DadnetError(f"archive: {index.rejected[0].clip_id}: {index.rejected[0].reason}")
    if not as_named:
        notes += tuple(_literature(rows))
    return replace(index, notes=("archive of flow images with u_train and u_test", *notes))


def _literature(rows: Sequence[Mapping[str, str | int]]) -> Iterator[str]:
    """Where the class counts of a known set are not those of the literature."""
    for dataset in sorted({str(row["dataset"]) for row in rows}):
        found = Counter(str(row["emotion"]) for row in rows if row["dataset"] == dataset)
        counts = {name: found[name] for name in CLASSES.values()}
        if told := difference_from_literature(dataset, counts):
            yield f"{dataset}: {told}"


def _datasets(subjects: Sequence[str], dataset: str | None) -> dict[str, str]:
    """The dataset of each subject."""
    try:
        found = {name: dataset_of_subject(name) for name in subjects}
    except DadnetError:
        if dataset is None:
            raise
        return dict.fromkeys(subjects, dataset)
    one = dataset is not None and len(set(found.values())) == 1
    return dict.fromkeys(found, str(dataset)) if one else found


def _images(
    folders: FrameFolders, subject: Path, part: str, classes: Mapping[str, str] | None
) -> Iterator[_Image]:
    """The images of one part of a subject's folder."""
    folder = folders.children(subject).get(part)
    for name, inner in sorted(folders.children(folder).items()) if folder else ():
        emotion = name if classes is None else classes.get(name, name)
        if classes is not None and emotion not in classes.values():
            raise DadnetError(
                f"archive: expected the class folders 0, 1, 2 (negative, positive, surprise), "
                f"got {inner}; --labels {name}=WORD,... says what others mean"
            )
        for path in folders.files(inner):
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
                # The public files have a blank in front of the ending.
                yield _Image(path.stem.strip(), emotion, path)


def _row(dataset: str, subject: str, image: _Image) -> dict[str, str | int]:
    clip = _clip_name(dataset, subject, image.stem)
    code = re.fullmatch(r"s[0-9]+_(ne|po|sur)_.*", clip, re.IGNORECASE)
    named = image.emotion in CLASSES.values()
    if dataset == "smic" and named and code and _SMIC_CODES[code[1].lower()] != image.emotion:
        raise DadnetError(
            f"archive: {image.path} is in the class {image.emotion}, its name says "
            f"{_SMIC_CODES[code[1].lower()]}"
        )
    return {
        "clip_id": f"{dataset}/{subject}/{clip}", "dataset": dataset,
        "subject": f"{dataset}/{subject}", "filename": clip, "onset": -1, "apex": -1, "offset": -1,
        "emotion": image.emotion, "action_units": "", "part": "",
        "onset_path": "", "apex_path": "", "flow_path": str(image.path.resolve()),
    }  # fmt: skip


def _clip_name(dataset: str, subject: str, stem: str) -> str:
    """The name of the clip: the file's, without the subject in front.

    SAMM and SMIC have the subject in the clip's own name as well: ``006_006_1_2``.
    """
    rest = stem.removeprefix(f"{subject}_")
    pattern = clip_pattern(dataset)
    return stem if pattern.fullmatch(stem) and not pattern.fullmatch(rest) else rest


def _check_train(
    folders: FrameFolders,
    subjects: dict[str, Path],
    test: dict[str, list[_Image]],
    classes: Mapping[str, str] | None,
) -> tuple[str, ...]:
    """Compare the train parts with the test parts; returns notes of what is only missing."""
    known: dict[str, tuple[str, _Image]] = {}
    for subject, images in test.items():
        for image in images:
            owner = _owner(image.stem, subject, subjects)
            if owner != subject:
                raise DadnetError(
                    f"archive: {image.path} is in the test part of {subject}, its name says {owner}"
                )
            if image.stem in known:
                raise DadnetError(
                    f"archive: {image.stem} is in two places: {known[image.stem][1].path} and "
                    f"{image.path}"
                )
            known[image.stem] = (subject, image)
    digests: dict[str, str] = {}
    lacking: list[str] = []
    checked = 0
    for subject, folder in subjects.items():
        if _TRAIN not in folders.children(folder):
            continue
        checked += 1
        seen: set[str] = set()
        for image in _images(folders, folder, _TRAIN, classes):
            _check_one(subject, image, known, digests)
            if image.stem in seen:
                raise DadnetError(f"archive: {image.stem} is twice in {folder / _TRAIN}")
            seen.add(image.stem)
        others = {stem for stem, (owner, _) in known.items() if owner != subject}
        if others - seen:
            lacking.append(f"{subject} ({len(others - seen)})")
    if not checked:
        return (f"no {_TRAIN} to compare with",)
    if lacking:
        return (f"{_TRAIN} lacks clips of other subjects for {', '.join(lacking)}",)
    return ()


def _owner(stem: str, subject: str, subjects: dict[str, Path]) -> str:
    """The subject that a file's name begins with; `subject` where it names none."""
    if stem.startswith(f"{subject}_"):
        return subject
    return next((other for other in subjects if stem.startswith(f"{other}_")), subject)


def _check_one(
    subject: str, image: _Image, known: dict[str, tuple[str, _Image]], digests: dict[str, str]
) -> None:
    if image.stem not in known:
        raise DadnetError(f"archive: {image.path} is a training clip that no {_TEST} part has")
    owner, original = known[image.stem]
    if owner == subject:
        raise DadnetError(
            f"archive: {image.path} is a clip of {subject}, which this part leaves out"
        )
    if original.emotion != image.emotion:
        raise DadnetError(
            f"archive: {image.path} is in the class {image.emotion}, {original.path} in "
            f"{original.emotion}"
        )
    if image.stem not in digests:
        digests[image.stem] = file_digest(original.path)
    if file_digest(image.path) != digests[image.stem]:
        raise DadnetError(f"archive: {image.path} and {original.path} are different images")
