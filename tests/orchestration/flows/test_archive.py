import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from dadnet.flow.normalisation import normalise
from dadnet.flow.store import load_flow_store, read_card
from dadnet.models.baselines.ststnet import STSTNet
from orchestration import ingest, run_loso
from results.leaderboard.ranking import leaderboard
from tests.build.archive import SUBJECTS, write_archive


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """The folder of an archive, in the working directory, and its images."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "three_norm_u_v_os", write_archive(tmp_path / "three_norm_u_v_os")


def refused(capsys, *words) -> str:
    assert ingest.main(["--archive", "three_norm_u_v_os", "--workers", "0", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_an_archive_goes_to_a_cde_leaderboard_in_two_commands(archive, monkeypatch, capsys):
    _, images = archive
    assert ingest.main(["--archive", "three_norm_u_v_os", "--workers", "0"]) == 0

    seen = []
    classify = STSTNet.classify

    def watched(self, x, masks):
        if not self.training:
            seen.append(x.detach().clone())
        return classify(self, x, masks)

    monkeypatch.setattr(STSTNet, "classify", watched)
    words = ["--dataset", "megc2019", "--protocol", "cde", "--preset", "ststnet", "--epochs", "2"]
    assert run_loso.main([*words, "--selection", "last", "--workers", "0"]) == 0
    printed = capsys.readouterr().out
    assert "megc2019, cde, 3class (negative, positive, surprise)" in printed
    assert "resized" not in printed

    board = leaderboard("runs")
    assert [(g.protocol, g.subset) for g in board.groups] == [
        ("cde", ""), ("cde", "casme2"), ("cde", "samm"), ("cde", "smic"),
    ]  # fmt: skip
    assert [row.rank for row in board.groups[0].rows] == [1]
    assert board.groups[0].rows[0].num_clips == 36
    assert board.groups[0].rows[0].num_subjects == len(SUBJECTS)

    # The network gets every image's own values, z-scored as all flows are.
    got = torch.cat(seen)
    for rgb in images.values():
        mapped = (rgb[..., :2].transpose(2, 0, 1).astype(np.float32) - 127.5) / 128
        expected = normalise(torch.from_numpy(mapped)[None])[0]
        apart = (got - expected).abs().amax((1, 2, 3))
        assert apart.min() < 1e-5, "an image did not reach the network as it is"


def test_a_store_of_each_dataset_holds_the_values_of_the_images_and_the_card_says_how(archive):
    _, images = archive
    assert ingest.main(["--archive", "three_norm_u_v_os", "--out", "stores", "--workers", "0"]) == 0
    clips = []
    for name in ("casme2", "samm", "smic"):
        store = load_flow_store(f"stores/{name}")
        clips += store.clips["clip_id"].tolist()
        for row, flow in zip(store.clips.itertuples(), store.flows, strict=True):
            file = f"{row.subject.split('/')[1]}_{row.filename}"
            expected = (images[file][..., :2].transpose(2, 0, 1).astype(np.float64) - 127.5) / 128
            np.testing.assert_array_equal(flow, expected)
        card = read_card(f"stores/{name}")
        assert card["parameters"]["size"] == 28
        assert card["parameters"]["normalisation"] == "clip"
        assert card["parameters"]["images"] == {"zero": 127.5, "step": 0.0078125}
        notes = " ".join(card["source"]["notes"])
        assert "12 clips: flow images: u and v are red and green, (value - 127.5) x 0.0078" in notes
        assert set(store.clips["emotion"]) == {"negative", "positive", "surprise"}
    assert "casme2/sub01/EP01_01f" in clips
    assert "smic/s03/s03_sur_02" in clips
    assert "samm/006/006_2_1" in clips


def test_the_scale_of_the_images_is_a_flag_and_another_scale_another_store(archive, capsys):
    words = ["--archive", "three_norm_u_v_os", "--workers", "0"]
    assert ingest.main([*words, "--image-step", "0.125", "--image-zero", "128"]) == 0
    flows = load_flow_store("flows/megc2019/casme2").flows
    assert flows.min() == -16.0
    assert ingest.main(words) == 2
    assert "holds another flow store" in capsys.readouterr().err


def test_a_larger_network_gets_resized_flows_and_it_is_said(archive, capsys):
    assert ingest.main(["--archive", "three_norm_u_v_os", "--workers", "0"]) == 0
    words = ["--dataset", "megc2019", "--protocol", "cde", "--preset", "resnet20", "--dry-run"]
    assert run_loso.main([*words, "--workers", "0"]) == 0
    assert "flows of 28 x 28 pixels are resized to 32 x 32" in capsys.readouterr().out


def test_all_subjects_may_be_of_one_dataset_by_flag(archive, capsys):
    root, _ = archive
    for number, subject in enumerate(SUBJECTS):
        for path in sorted(root.rglob(f"{subject}_*.png")):
            label = ("negative", "positive", "surprise")[int(path.parent.name)]
            path.rename(path.with_name(f"p{number}_{label}{path.stem.strip()[-2:]}.png"))
        (root / subject).rename(root / f"p{number}")
    assert "subject 'p0': expected an id like sub01 (casme2)" in refused(capsys)
    words = ["--archive", "three_norm_u_v_os", "--dataset", "mine", "--workers", "0"]
    assert ingest.main(words) == 0
    assert load_flow_store("flows/mine").clips["subject"].nunique() == 6


def test_the_class_folders_may_mean_something_else(archive, capsys):
    words = ["--archive", "three_norm_u_v_os", "--workers", "0"]
    assert ingest.main([*words, "--labels", "0=positive,1=negative,2=surprise"]) == 0
    clips = load_flow_store("flows/megc2019/casme2").clips.set_index("clip_id")
    assert clips.loc["casme2/sub01/EP01_01f", "emotion"] == "positive"
    assert clips.loc["casme2/sub01/EP02_01f", "emotion"] == "negative"
    assert "--labels WORD=KNOWN" in refused(capsys, "--labels", "7=surprise", "--out", "other")


def test_class_counts_are_compared_with_the_literature(archive, capsys):
    assert ingest.main(["--archive", "three_norm_u_v_os", "--workers", "0"]) == 0
    printed = capsys.readouterr().out
    assert "samm: class counts 4/4/4 (negative, positive, surprise) differ from the" in printed


def move_class(root):
    folder = root / "sub01" / "u_train"
    shutil.move(next((folder / "0").glob("s01*")), folder / "1")


def add_own_clip(root):
    shutil.copy(next((root / "sub01/u_test/0").iterdir()), root / "sub01/u_train/0")


def add_unknown(root):
    path = next((root / "sub01/u_train/0").glob("s01*"))
    shutil.copy(path, path.with_name("s01_s01_ne_77 .png"))


def change_image(root):
    first, second = sorted((root / "sub01/u_train/0").glob("s01*"))
    shutil.copy(first, second)


def swap_subject(root):
    shutil.copy(next((root / "sub02/u_test/0").iterdir()), root / "sub01/u_test/0")


def second_class(root):
    path = next((root / "sub01/u_test/0").iterdir())
    shutil.copy(path, root / "sub01/u_test/1")


def wrong_smic_class(root):
    for path in list(root.rglob("s01_s01_ne_01*")):
        shutil.move(path, path.parent.parent / "1")


def fourth_class(root):
    (root / "sub01/u_test/3").mkdir()


def no_tests(root):
    for folder in root.glob("*/u_test"):
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (move_class, "is in the class positive"),
        (add_own_clip, "is a clip of sub01, which this part leaves out"),
        (add_unknown, "is a training clip that no u_test part has"),
        (change_image, "are different images"),
        (swap_subject, "is in the test part of sub01, its name says sub02"),
        (second_class, "is in two places"),
        (wrong_smic_class, "is in the class positive, its name says negative"),
        (fourth_class, "expected the class folders 0, 1, 2"),
        (no_tests, "expected folders SUBJECT/u_test/CLASS"),
    ],
)
def test_a_contradiction_in_an_archive_is_one_line(archive, capsys, damage, message):
    damage(archive[0])
    assert message in refused(capsys)
    assert not (archive[0].parent / "flows").exists()


def test_missing_training_clips_are_said(archive, capsys):
    root, _ = archive
    next((root / "sub01/u_train/0").iterdir()).unlink()
    assert ingest.main(["--archive", "three_norm_u_v_os", "--workers", "0"]) == 0
    assert "u_train lacks clips of other subjects for sub01 (1)" in capsys.readouterr().out


def test_images_of_several_sizes_need_a_size(archive, capsys):
    import cv2

    root, _ = archive
    for path in root.rglob("s01_s01_ne_01*"):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (32, 30)))
    assert "size: the images have 28 x 28, 32 x 30 pixels" in refused(capsys)
    assert ingest.main(["--archive", "three_norm_u_v_os", "--size", "28", "--workers", "0"]) == 0
    notes = read_card("flows/megc2019/smic")["source"]["notes"]
    assert "1 clip: flows of 32 x 30 pixels were resized to 28 x 28" in notes


def test_an_archive_and_a_table_together_are_refused(archive, capsys):
    pd.DataFrame().to_csv("a.csv")
    assert "expected --archive without --index" in refused(capsys, "--index", "a.csv")
