"""When does the teacher help on the synthetic sets? A study with a design fixed beforehand.

Each seed from 11 to 20 draws its own set of micro-expressions, trains its own teacher on a set of
macro-expressions, and runs LOSO of the student alone and of DAD-Net on the same folds: preset
smoke, 20 epochs, selection inner, inputs of 32 (flows of 64 from frames of 224). The outcome of a
seed is DAD-Net's pooled UF1 minus the student's. Ten settings, nine of which change one thing of
the first: see `SETTINGS`. Motion and noise change in the micro-expressions alone.

Test: exact two-sided sign-flip test of the mean difference over the seeds, Holm over the ten
settings; interval: Student's t over the seeds. A seed that the audit refuses (such as a class
without a fit clip in a fold) is left out of its setting and counted. Every setting is reported.

Rule for the demo, fixed beforehand: of the settings that change only subjects, clips or the
teacher's set, and of the base, the one with the largest mean difference is the demo's, if the mean
is above zero, its Holm p is below 0.05 and it fits into a demo of two minutes. Else the demo keeps
the base, and says that the teacher does not help on its set. The demo's seed is 1.

`python -m benchmarks.teacher_helps --work FOLDER --json benchmarks/results/teacher_helps.json`
goes on from what is finished in the folder. The test, the rule and the page: `teacher_figures.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.common import write
from dadnet.base.disk import replacing
from dadnet.base.errors import DadnetError
from dadnet.base.seeding import seed_hash
from dadnet.datasets.synthetic.clips import NOISE, ClipPlan, draw_performance, render_clip
from dadnet.datasets.synthetic.face import Face, draw_face
from dadnet.datasets.synthetic.face_layers import Layers, paint_layers
from dadnet.datasets.synthetic.plan import Parameters, plan_clips
from dadnet.flow.compute import compute_flow, square
from dadnet.inference.model_file import build_network
from dadnet.training.teacher import Teacher
from orchestration import teacher as teacher_command
from orchestration.api import loso
from orchestration.flows.arrays import store_arrays

SEEDS = range(11, 21)
EPOCHS, INPUT_SIZE, FLOW_SIZE, FRAME_SIZE = 20, 32, 64, 224


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a setting of the study draws and trains; the defaults are the base.

    Attributes:
        words: the change, for the page.
        subjects, clips: of the micro-expressions.
        motion, noise: factors on the largest motion and on the sensor's noise.
        teacher_subjects, teacher_clips: of the macro-expressions.
        trained: whether the teacher is trained; else it has its initial weights.
        weight, stages: of the alignment.
        for_demo: whether the demo may have this setting.
    """

    words: str
    subjects: int = 12
    clips: int = 110
    motion: float = 1.0
    noise: float = 1.0
    teacher_subjects: int = 8
    teacher_clips: int = 72
    trained: bool = True
    weight: float = 0.5
    stages: tuple[int, ...] = (2, 3)
    for_demo: bool = False


SETTINGS = {
    "base": Setting(words="base: 12 subjects, 110 clips", for_demo=True),
    "motion-half": Setting(words="half the motion", motion=0.5),
    "motion-double": Setting(words="twice the motion", motion=2.0),
    "noise": Setting(words="four times the noise", noise=4.0),
    "few-clips": Setting(words="48 clips", clips=48, for_demo=True),
    "few-subjects": Setting(words="6 subjects, 55 clips", subjects=6, clips=55, for_demo=True),
    "many-subjects": Setting(words="18 subjects, 165 clips", subjects=18, clips=165, for_demo=True),
    "large-teacher": Setting(
        words="teacher's set of 24 subjects, 288 clips (else 8, 72)",
        teacher_subjects=24, teacher_clips=288, for_demo=True,
    ),
    "published": Setting(
        words="published alignment: lambda 1.5, stages 0,2,3 (else 0.5, 2,3)",
        weight=1.5, stages=(0, 2, 3),
    ),
    "untrained": Setting(words="control: a teacher that is not trained", trained=False),
}  # fmt: skip


@cache
def draw_flows(parameters: Parameters, root: Path, *, motion: float, noise: float) -> Path:
    """Draw onset and apex of every clip, compute the flows, write them as a store; its folder."""
    flows, labels, subjects = [], [], []
    drawn: dict[int, tuple[Face, Layers]] = {}
    for plan in plan_clips(parameters):
        if plan.subject not in drawn:
            face = draw_face(parameters.seed, plan.subject)
            drawn[plan.subject] = face, paint_layers(face, parameters.image_size)
        flows.append(_flow(plan, parameters, *drawn[plan.subject], motion, noise))
        labels.append(plan.emotion)
        subjects.append(f"sub{plan.subject:02d}")
    name = "synthetic" if parameters.amplitude == "micro" else "synthetic-macro"
    return store_arrays(np.stack(flows), labels, subjects, name, root)


def _flow(
    plan: ClipPlan, parameters: Parameters, face: Face, layers: Layers, motion: float, noise: float
) -> npt.NDArray[np.float32]:
    play = draw_performance(plan, parameters.seed, parameters.amplitude)
    play = replace(play, peak=motion * play.peak)
    frames = render_clip(
        face, layers, play, parameters.image_size,
        seed_hash("style", parameters.seed, plan.subject),
        noise=noise * NOISE, only=(0, play.apex),
    )  # fmt: skip
    grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames]
    onset, apex = (square(np.asarray(image), FLOW_SIZE, None) for image in grey)
    return compute_flow(onset, apex)


def make_teacher(setting: Setting, seed: int, work: Path) -> Path:
    """The file of a setting's teacher, made once per seed and set."""
    name = f"teacher-{setting.teacher_subjects}-{setting.teacher_clips}"
    path = work / f"{name}.safetensors"
    if not path.exists():
        macro = Parameters(
            num_subjects=setting.teacher_subjects, num_clips=setting.teacher_clips, seed=seed,
            amplitude="macro", first_subject=101, image_size=FRAME_SIZE,
        )  # fmt: skip
        store = draw_flows(macro, work / "flows", motion=1.0, noise=1.0)
        words = ["--flows", str(store), "--out", str(path), "--seed", str(seed)]
        words += ["--epochs", str(EPOCHS), "--input-size", str(INPUT_SIZE)]
        if teacher_command.main(words) != 0:
            raise DadnetError(f"{path}: the teacher was not trained")
    return path if setting.trained else _untrained(path, seed)


def _untrained(path: Path, seed: int) -> Path:
    """The teacher of a file with the weights that training begins with."""
    out = path.with_stem(f"{path.stem}-untrained")
    teacher = Teacher.load(path)
    draws = torch.Generator().manual_seed(seed_hash("untrained", seed))
    network = build_network(teacher.model, len(teacher.classes), draws)
    made_from = f"untrained {teacher.made_from}"
    replace(teacher, weights=network.state_dict(), made_from=made_from, metrics={}).save(out)
    return out


def measure(name: str, seed: int, work: Path) -> dict[str, Any]:
    """Pooled UF1 of both models in one setting and seed; or why the folds were refused."""
    setting, folder = SETTINGS[name], work / f"seed{seed}"
    row: dict[str, Any] = {"setting": name, "seed": seed}
    micro = Parameters(
        num_subjects=setting.subjects, num_clips=setting.clips, seed=seed, image_size=FRAME_SIZE
    )
    flows = draw_flows(micro, folder / "flows", motion=setting.motion, noise=setting.noise)
    common: dict[str, Any] = {
        "flows": flows, "ledger": folder / "runs", "preset": "smoke", "selection": "inner",
        "epochs": EPOCHS, "input_size": INPUT_SIZE, "seed": seed, "workers": 0, "stack": "12",
        "checkpoint_every": EPOCHS, "keep_features": "none", "quiet": True,
    }  # fmt: skip
    teacher = make_teacher(setting, seed, folder)
    try:
        student = loso(model_type="baseline", **common)
        dual = loso(
            model_type="dad_net", macro_weights=teacher, alignment_weight=setting.weight,
            alignment_stages=setting.stages, **common,
        )  # fmt: skip
        return {**row, "student": student.uf1, "dad_net": dual.uf1}
    except DadnetError as error:
        return {**row, "refused": str(error)}


def study(seeds: Sequence[int], work: Path, out: Path | None) -> None:
    """Measure what is missing; a finished row is a file, and the JSON has all of them."""
    folder = work / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for name in SETTINGS:
            path = folder / f"{seed}-{list(SETTINGS).index(name)}.json"
            if path.exists():
                continue
            row = measure(name, seed, work)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(row), encoding="utf-8")
            if out is not None:
                rows = [json.loads(p.read_text("utf-8")) for p in sorted(folder.glob("*.json"))]
                write("teacher_helps", rows, out)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--work", type=Path, default=Path("build/teacher_helps"))
    parser.add_argument("--json", type=Path, help="file of the figures")
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    study(flags.seeds, flags.work, flags.json)


if __name__ == "__main__":
    main()
