"""The public archive of flow images, with made-up images."""

from pathlib import Path

import cv2
import numpy as np

# Six subjects of three datasets; two clips of each class for each.
SUBJECTS = ("sub01", "sub02", "s01", "s03", "006", "007")
_CODES = ("ne", "po", "sur")


def clip_name(subject: str, label: int, number: int) -> str:
    """As the datasets name their clips."""
    if subject.startswith("sub"):
        return f"EP0{label + 1}_0{number}f"
    if subject.startswith("s"):
        return f"{subject}_{_CODES[label]}_0{number}"
    return f"{subject}_{label + 1}_{number}"


def image(seed: int, label: int, size: int = 28) -> np.ndarray:
    """Red, green, blue as u, v, strain, stretched to 0..255; where it moves shows the class."""
    noise = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / (size - 1)
    centre = ((0.8, 0.5), (0.5, 0.2), (0.2, 0.5))[label]
    bump = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 0.02)
    channels = [0.5 * bump, -bump, bump]
    stretched = []
    for channel in channels:
        channel = channel + noise.normal(0, 0.1, channel.shape)
        low, high = channel.min(), channel.max()
        stretched.append(255 * (channel - low) / (high - low))
    return np.stack(stretched, axis=-1).astype(np.uint8)


def write_archive(root: Path, size: int = 28) -> dict[str, np.ndarray]:
    """Write SUBJECT/u_train|u_test/CLASS/*.png; returns the image of each clip by its file name."""
    images: dict[str, np.ndarray] = {}
    classes: dict[str, tuple[str, int]] = {}
    for s, subject in enumerate(SUBJECTS):
        for label in range(3):
            for number in (1, 2):
                name = f"{subject}_{clip_name(subject, label, number)}"
                images[name] = image(100 * s + 10 * label + number, label, size)
                classes[name] = (subject, label)
    for subject in SUBJECTS:
        for name, (owner, label) in classes.items():
            part = "u_test" if owner == subject else "u_train"
            folder = root / subject / part / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{name} .png"), images[name][..., ::-1])
    return images
