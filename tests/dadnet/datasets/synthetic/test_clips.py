import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from dadnet.base.errors import DadnetError
from dadnet.datasets.official.registry import read_dataset
from dadnet.datasets.synthetic import __main__ as synthetic
from dadnet.datasets.synthetic.__main__ import main, write_dataset
from dadnet.datasets.synthetic.action_units import head_field, units_field
from dadnet.datasets.synthetic.clips import (
    AMPLITUDES,
    NOISE,
    ClipPlan,
    draw_performance,
    render_clip,
)
from dadnet.datasets.synthetic.face import draw_face
from dadnet.datasets.synthetic.face_layers import paint_layers
from dadnet.datasets.synthetic.face_parts import Pose, paint_parts
from dadnet.datasets.synthetic.plan import Parameters, plan_clips
from dadnet.flow.compute import decode_image, square
from dadnet.labels.class_sets import get_class_set

SMALL = {"num_subjects": 3, "num_clips": 7, "image_size": 64}


def frames_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*.png"))}


def labels_of(root: Path) -> dict[str, str]:
    clips = read_dataset("synthetic", root).clips
    return dict(zip(clips["clip_id"], clips["emotion"], strict=True))


class TestPlan:
    def test_micro_is_as_unequal_as_the_real_sets(self):
        for seed in range(1, 6):
            plans = plan_clips(Parameters(num_subjects=12, num_clips=110, seed=seed))
            assert len(plans) == 110
            emotions = Counter(plan.emotion for plan in plans)
            negative = emotions["disgust"] + emotions["repression"]
            assert negative == 56
            assert negative > 2 * emotions["happiness"] > 2 * emotions["surprise"]
            per_subject = Counter(plan.subject for plan in plans)
            assert min(per_subject.values()) == 2
            assert max(per_subject.values()) >= 15

    def test_some_subjects_show_one_class_only(self):
        chosen = get_class_set("3class", "synthetic")
        for seed in range(1, 6):
            shown: dict[int, set[str | None]] = {}
            for plan in plan_clips(Parameters(seed=seed)):
                shown.setdefault(plan.subject, set()).add(chosen.label(plan.emotion))
            num_classes = [len(classes - {None}) for classes in shown.values()]
            assert num_classes.count(1) >= 2
            assert num_classes.count(3) >= 3

    def test_macro_is_balanced(self):
        plans = plan_clips(Parameters(num_subjects=6, num_clips=72, amplitude="macro"))
        assert set(Counter(plan.subject for plan in plans).values()) == {12}
        emotions = Counter(plan.emotion for plan in plans)
        assert emotions == {"disgust": 12, "repression": 12, "happiness": 24, "surprise": 24}

    @pytest.mark.parametrize(("subjects", "clips"), [(2, 4), (3, 7), (5, 10), (9, 200)])
    def test_every_clip_is_dealt_once(self, subjects: int, clips: int):
        for amplitude in AMPLITUDES:
            plans = plan_clips(
                Parameters(num_subjects=subjects, num_clips=clips, amplitude=amplitude)
            )
            assert len(plans) == len({(plan.subject, plan.filename) for plan in plans}) == clips
            assert {plan.subject for plan in plans} == set(range(1, subjects + 1))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"num_subjects": 1},
            {"num_clips": 23},
            {"amplitude": "huge"},
            {"first_subject": 0},
            {"image_size": 31},
            {"seed": -1},
        ],
    )
    def test_parameters_out_of_range_are_refused(self, wrong: dict):
        with pytest.raises(DadnetError, match="synthetic: "):
            Parameters(**wrong)


class TestFields:
    def test_the_units_of_the_classes_move_where_the_anatomy_has_them(self):
        face = draw_face(1, 1)

        def shift(unit: int, x: float, y: float) -> npt.NDArray[np.float32]:
            return units_field(face, {unit: (1.0, 1.0)}, 224)[round(y), round(face.midline + x)]

        corner, brow = face.mouth_half_width, face.brow_y
        assert shift(12, corner, face.mouth_y)[1] < -0.5  # lip corners up and outwards
        assert shift(12, corner, face.mouth_y)[0] > 0.3
        assert shift(12, -corner, face.mouth_y)[0] < -0.3
        assert shift(15, corner, face.mouth_y)[1] > 0.5
        assert shift(4, face.eye_x - 16, brow)[1] > 0.5  # brows down and together
        assert shift(4, face.eye_x - 16, brow)[0] < -0.2
        assert shift(1, face.eye_x - 15, brow)[1] < -0.5
        assert shift(2, face.eye_x + 12, brow)[1] < -0.5
        assert shift(6, face.eye_x, face.eye_y + 24)[1] < -0.5
        assert shift(26, 0, face.mouth_y + 24)[1] > 0.5

    def test_a_field_scales_with_the_frame_but_not_its_vectors(self):
        face, units = draw_face(1, 1), {12: (1.0, 0.3)}
        large, small = units_field(face, units, 224), units_field(face, units, 112)
        halved = cv2.resize(large, (112, 112), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(small, halved, atol=2e-3)

    def test_the_head_moves_and_the_background_does_not(self):
        field = head_field(draw_face(1, 1), (1.0, 0.5), 0.0, (0.0, 0.0), 0.0, 224)
        np.testing.assert_allclose(field[114, 112], [1.0, 0.5], atol=1e-3)
        assert np.abs(field[0, 0]).max() < 0.1

    def test_no_pixel_of_a_macro_clip_is_torn(self):
        # A warp is one to one while the field's slope stays below 1 per pixel.
        for index in range(12):
            play = draw_performance(ClipPlan(101, index, "surprise"), 1, "macro")
            face = draw_face(1, 101)
            field = units_field(face, {**play.units, **play.strays}, 224)
            field *= play.peak / np.hypot(field[..., 0], field[..., 1]).max()
            slopes = [np.abs(np.gradient(field[..., k], axis=k)).max() for k in (0, 1)]
            assert max(slopes) < 1.0


class TestFace:
    def test_the_parts_open_and_close(self):
        face = draw_face(1, 3)
        layers = paint_layers(face, 112)
        neutral = paint_parts(face, layers, Pose())
        poses = {
            "lid": Pose(lid=-5.0),
            "gaze": Pose(gaze=(2.0, 0.0)),
            "gap": Pose(gap=4.0),
            "furrow": Pose(furrow=1.0),
            "crow": Pose(crow=1.0),
        }
        for name, pose in poses.items():
            changed = np.abs(paint_parts(face, layers, pose) - neutral).max(axis=2) > 4.0
            rows = np.nonzero(changed.any(axis=1))[0]
            assert 4 < changed.sum() < 0.1 * changed.size, name
            assert (rows.mean() > 140) == (name == "gap"), name  # the mouth is in the lower half

    def test_subjects_look_different_and_alike_on_repetition(self):
        assert draw_face(1, 1) == draw_face(1, 1)
        assert len({draw_face(1, subject) for subject in range(1, 20)}) == 19
        assert draw_face(2, 1) != draw_face(1, 1)


class TestRenderClip:
    FACE = draw_face(1, 1)
    PLAY = draw_performance(ClipPlan(1, 0, "surprise"), 1, "micro")

    def frames(self, **changed: object) -> npt.NDArray[np.uint8]:
        layers = paint_layers(self.FACE, 48)
        return np.stack(render_clip(self.FACE, layers, self.PLAY, 48, **changed))  # type: ignore[arg-type]

    def test_chosen_frames_are_those_of_the_whole_clip(self):
        whole, chosen = self.frames(), self.frames(only=(0, self.PLAY.apex))
        np.testing.assert_array_equal(chosen, whole[[0, self.PLAY.apex]])

    def test_noise_is_its_deviation_in_grey_levels(self):
        np.testing.assert_array_equal(self.frames(), self.frames(noise=NOISE))
        still = self.frames(noise=0.0).astype(float)
        for noise in (1.1, 4.4):
            spread = (self.frames(noise=noise) - still).std()
            assert spread == pytest.approx(noise, rel=0.1)


class TestWriteDataset:
    def test_the_real_loader_reads_the_set(self, tmp_path: Path):
        write_dataset(tmp_path / "set", Parameters(seed=3, **SMALL))
        index = read_dataset("synthetic", tmp_path / "set")
        assert index.rejected == ()
        assert len(index.clips) == 7
        assert set(index.clips["subject"]) == {f"synthetic/sub0{k}" for k in (1, 2, 3)}
        assert not get_class_set("3class", "synthetic").unknown(index.clips["emotion"])
        for path in index.clips["apex_path"]:
            assert square(decode_image(path), 64, None).std() > 10
        header = pd.read_excel(tmp_path / "set" / synthetic.ANNOTATION_FILE).columns
        assert [header[2], header[6]] == ["Unnamed: 2", "Unnamed: 6"]
        offsets = [
            Path(row.onset_path).with_name(f"img{row.offset}.png")
            for row in index.clips.itertuples()
        ]
        assert all(path.is_file() for path in offsets)

    def test_a_clip_depends_on_seed_and_subject_alone(self, tmp_path: Path):
        write_dataset(tmp_path / "one", Parameters(seed=5, **SMALL))
        write_dataset(tmp_path / "two", Parameters(seed=5, **SMALL), num_workers=2)
        write_dataset(tmp_path / "more", Parameters(seed=5, **(SMALL | {"num_clips": 30})))
        write_dataset(tmp_path / "other", Parameters(seed=6, **SMALL))
        one, two = frames_of(tmp_path / "one"), frames_of(tmp_path / "two")
        assert one == two
        assert labels_of(tmp_path / "one") == labels_of(tmp_path / "two")
        assert one != frames_of(tmp_path / "other")
        more, more_labels = frames_of(tmp_path / "more"), labels_of(tmp_path / "more")
        shared = [c for c, e in labels_of(tmp_path / "one").items() if more_labels.get(c) == e]
        assert shared
        for clip_id in shared:
            part = clip_id.removeprefix("synthetic/") + "/"
            assert {n: b for n, b in one.items() if part in n} == {
                n: b for n, b in more.items() if part in n
            }

    def test_shuffled_labels_leave_the_frames_and_the_counts(self, tmp_path: Path):
        size = {"num_subjects": 4, "num_clips": 24, "image_size": 32}
        write_dataset(tmp_path / "true", Parameters(**size))
        write_dataset(tmp_path / "shuffled", Parameters(shuffle_labels=True, **size))
        assert frames_of(tmp_path / "true") == frames_of(tmp_path / "shuffled")
        true, shuffled = labels_of(tmp_path / "true"), labels_of(tmp_path / "shuffled")
        assert true != shuffled
        assert Counter(true.values()) == Counter(shuffled.values())
        assert [c for c in true if true[c] == "others"] == [
            c for c in shuffled if shuffled[c] == "others"
        ]

    def test_a_finished_set_is_left_alone_and_another_is_not_overwritten(self, tmp_path: Path):
        root = tmp_path / "set"
        write_dataset(root, Parameters(**SMALL))
        before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
        write_dataset(root, Parameters(**SMALL))
        assert before == {p: p.stat().st_mtime_ns for p in root.rglob("*")}
        with pytest.raises(DadnetError, match="a set of other parameters"):
            write_dataset(root, Parameters(seed=9, **SMALL))
        (root / synthetic.PARAMETERS_FILE).write_text("{")
        with pytest.raises(DadnetError, match="is damaged"):
            write_dataset(root, Parameters(**SMALL))

    def test_a_folder_of_other_files_is_never_touched(self, tmp_path: Path):
        (tmp_path / "thesis.txt").touch()
        with pytest.raises(DadnetError, match="something else"):
            write_dataset(tmp_path, Parameters(**SMALL))
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]

    def test_an_interrupted_set_does_not_appear_and_is_made_anew(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        root = tmp_path / "set"
        (tmp_path / ".set.partial" / "left by a kill").mkdir(parents=True)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(synthetic, "_write_annotation", interrupt)
            with pytest.raises(KeyboardInterrupt):
                write_dataset(root, Parameters(**SMALL))
        assert list(tmp_path.iterdir()) == []
        root.mkdir()  # an empty folder is taken
        write_dataset(root, Parameters(**SMALL))
        assert [p.name for p in tmp_path.iterdir()] == ["set"]

    def test_the_parameters_are_written_down(self, tmp_path: Path):
        write_dataset(tmp_path / "set", Parameters(seed=4, **SMALL))
        found = json.loads((tmp_path / "set" / synthetic.PARAMETERS_FILE).read_text())
        assert found["seed"] == 4
        assert found["version"] == synthetic.VERSION


class TestCommand:
    def test_a_macro_set_has_other_subjects(self, tmp_path: Path, capsys):
        argv = ["--subjects", "2", "--clips", "6", "--image-size", "32", "--workers", "1"]
        assert main(["--out", str(tmp_path / "macro"), "--amplitude", "macro", *argv]) == 0
        assert "6 clips of 2 subjects" in capsys.readouterr().out
        clips = read_dataset("synthetic-macro", tmp_path / "macro").clips
        assert set(clips["subject"]) == {"synthetic-macro/sub101", "synthetic-macro/sub102"}

    def test_bad_input_is_one_line_and_exit_status_2(self, tmp_path: Path, capsys):
        assert main(["--out", str(tmp_path / "x"), "--clips", "3"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: synthetic: expected at least 24 clips")
        assert len(error.splitlines()) == 1
