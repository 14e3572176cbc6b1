import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from dadnet import MicroExpressionDataset
from dadnet.base.digests import content_digest
from dadnet.base.errors import DadnetError
from dadnet.flow.compute import resize_flow
from dadnet.flow.normalisation import normalise
from dadnet.flow.store import FlowStore, flow_digest, load_flow_store
from tests.build.flows import make_clips


@pytest.fixture
def dataset(store):
    return MicroExpressionDataset.from_store(load_flow_store(store), "3class", 32)


def test_labels_are_class_names_in_their_fixed_order(dataset):
    assert dataset.classes == ("negative", "positive", "surprise")
    names = [dataset.classes[i] for i in dataset.labels]
    assert names == dataset.clips["label"].tolist()


def test_an_ordinary_data_loader_works(dataset):
    flows, labels = next(iter(DataLoader(dataset, batch_size=4)))
    assert flows.shape == (4, 2, 32, 32)
    torch.testing.assert_close(flows.mean((2, 3)), torch.zeros(4, 2), atol=1e-5, rtol=0)
    assert labels.tolist() == dataset.labels[:4].tolist()


def test_dropped_emotions_are_counted(make_store):
    clips = make_clips(4, 3)
    clips.loc[clips["clip_id"].str.endswith("clip0"), "emotion"] = "others"
    flows = np.random.default_rng(0).normal(size=(12, 2, 32, 32)).astype(np.float16)
    store = load_flow_store(make_store("s", clips, flows=flows))
    dataset = MicroExpressionDataset.from_store(store, "3class", 32)
    assert dataset.dropped == {"others": 4}
    assert len(dataset) == 8


@pytest.mark.parametrize("size", [32, 16])
def test_every_flow_is_that_of_its_clip_where_the_class_set_drops_clips(make_store, size):
    clips = make_clips(4, 3)
    clips.loc[[0, 4, 5, 9], "emotion"] = "others"
    flows = np.random.default_rng(0).normal(size=(12, 2, 32, 32)).astype(np.float16)
    store = load_flow_store(make_store("s", clips, flows=flows))
    dataset = MicroExpressionDataset.from_store(store, "3class", size)
    row_of = {name: row for row, name in enumerate(store.clips["clip_id"])}
    emotion_of = dict(zip(clips["clip_id"], clips["emotion"], strict=True))
    plain = MicroExpressionDataset.from_store(store, "3class", 32)
    labels = {"happiness": "positive", "surprise": "surprise"}
    for i, clip in enumerate(dataset.clips["clip_id"]):
        own = store.flows[row_of[clip]]
        expected = own if size == 32 else resize_flow(own, size).astype(np.float16)
        np.testing.assert_array_equal(dataset.flows[i].numpy(), expected, err_msg=clip)
        assert dataset.clips["label"][i] == labels.get(emotion_of[clip], "negative")
        assert dataset.clips["flow_digest"][i] == store.clips["flow_digest"][row_of[clip]]
    assert dataset.clips["clip_id"].tolist() == plain.clips["clip_id"].tolist()
    assert len(dataset) == 8


def in_memory(**columns: list[str]) -> FlowStore:
    """A store of clips a, b, ... with these columns and random flows of 8 x 8."""
    number = len(next(iter(columns.values())))
    flows = np.random.default_rng(0).normal(size=(number, 2, 8, 8)).astype(np.float16)
    plain = {"dataset": "synthetic", "subject": "synthetic/s", "part": "", "emotion": "surprise"}
    digests = [flow_digest(flow) for flow in flows]
    clips = pd.DataFrame({"clip_id": list("abcdefgh")[:number], "flow_digest": digests})
    return FlowStore({}, clips.assign(**{**plain, **columns}), flows)


def test_labels_of_units_are_read_counted_and_hashed():
    texts = ["4+1", "", "24", "?", "12 or 9", "L12A+R9"]
    dataset = MicroExpressionDataset.from_store(in_memory(action_units=texts), "action-units", 8)
    assert dataset.classes == ("AU1", "AU4", "AU9", "AU12", "AU15")
    assert dataset.clips["clip_id"].tolist() == ["a", "c", "f"]
    assert dataset.clips["label"].tolist() == ["AU1+AU4", "none", "AU9+AU12"]
    assert dataset.labels.tolist() == [[1, 1, 0, 0, 0], [0] * 5, [0, 0, 1, 1, 0]]
    assert dataset.dropped == {
        "no unit coded": 1, "no certain unit": 1, "alternatives 12 or 9": 1,
    }  # fmt: skip
    assert dataset.uncertain == ("d '?'",)
    assert dataset.counts() == {"AU1": 1, "AU4": 1, "AU9": 1, "AU12": 1, "AU15": 0}
    assert dataset.source == content_digest(
        json.dumps([list(pair) for pair in zip("abcdef", texts, strict=True)])
    )
    assert dataset[2][1].tolist() == [0, 0, 1, 1, 0]


def test_classes_of_own_words_are_those_of_the_store():
    store = in_memory(emotion=["tense", "calm", "tense"])
    dataset = MicroExpressionDataset.from_store(store, "own", 8)
    assert dataset.classes == ("calm", "tense")
    assert dataset.labels.tolist() == [1, 0, 1]
    assert (dataset.source, dataset.uncertain, dataset.dropped) == ("", (), {})


def test_the_flow_is_normalised_after_the_transform():
    plain = MicroExpressionDataset.from_store(in_memory(emotion=["surprise"] * 3), "3class", 8)
    dataset = MicroExpressionDataset(
        plain.clips, plain.flows, plain.labels, plain.classes, transform=lambda flow: flow.flip(0)
    )
    expected = normalise(plain.flows[1:2].float().flip(1))[0]
    torch.testing.assert_close(dataset[1][0], expected, rtol=0, atol=0)
    assert dataset[1][0].dtype == torch.float32


def test_files_of_the_public_layout_become_clips(tmp_path):
    names = ["Surprise/ME_s_02_1", "happiness/ME_s01_1", "disgust/lone"]
    flows = np.random.default_rng(0).normal(size=(3, 2, 20, 20)).astype(np.float32)
    for name, flow in zip(names, flows, strict=True):
        (tmp_path / name).parent.mkdir()
        np.save(tmp_path / f"{name}.npy", flow)
    dataset = MicroExpressionDataset([str(tmp_path / f"{name}.npy") for name in names])
    assert dataset.classes == ("negative", "positive", "surprise")
    assert dataset.flows.shape == (3, 2, 224, 224)
    small = MicroExpressionDataset.of_files(
        [tmp_path / f"{name}.npy" for name in names], "4class", 8
    )
    assert len(small.classes) == 4
    expected = [resize_flow(flow, 8).astype(np.float16) for flow in flows]
    np.testing.assert_array_equal(small.flows.numpy(), np.stack(expected))
    rows = small.clips.drop(columns="flow_digest").to_dict("records")
    subjects = ["files/s_02", "files/s01", "files/lone"]
    ends = [name.replace("S", "s", 1) for name in names]
    for row, subject, end, label in zip(
        rows, subjects, ends, ["surprise", "positive", "negative"], strict=True
    ):
        assert row["clip_id"] == f"{subject}/{end}"
        assert (row["subject"], row["part"]) == (subject, "")
        assert row["label"] == label
    assert small.clips["flow_digest"].tolist() == [flow_digest(flow) for flow in expected]
    with pytest.raises(DadnetError, match=r"at least one \.npy file"):
        MicroExpressionDataset([])


def test_an_unknown_emotion_is_refused_by_name(make_store):
    clips = make_clips(4, 3).assign(emotion="puzzled")
    flows = np.ones((12, 2, 32, 32), np.float16)
    with pytest.raises(DadnetError, match="unknown emotion 'puzzled'"):
        MicroExpressionDataset.from_store(
            load_flow_store(make_store("s", clips, flows=flows)), "3class", 32
        )


def test_shuffling_keeps_the_class_counts_and_is_seeded(store):
    loaded = load_flow_store(store)
    plain = MicroExpressionDataset.from_store(loaded, "3class", 32)
    one = MicroExpressionDataset.from_store(loaded, "3class", 32, shuffle_seed=1)
    again = MicroExpressionDataset.from_store(loaded, "3class", 32, shuffle_seed=1)
    assert one.counts() == plain.counts()
    assert one.labels.tolist() == again.labels.tolist() != plain.labels.tolist()
    other = MicroExpressionDataset.from_store(loaded, "3class", 32, shuffle_seed=2)
    assert other.labels.tolist() not in (one.labels.tolist(), plain.labels.tolist())


def test_pickling_sends_the_flows_out_of_band(dataset):
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(dataset, protocol=5, buffer_callback=buffers.append)
    assert sum(b.raw().nbytes for b in buffers) >= dataset.flows.nbytes > len(data)
    back = pickle.loads(data, buffers=[b.raw() for b in buffers])
    assert torch.equal(back.flows, dataset.flows)
    assert back.flows.data_ptr() == dataset.flows.data_ptr()


def test_normalise_gives_mean_0_and_deviation_1_per_channel_of_each_clip():
    flow = torch.randn(3, 2, 8, 8, dtype=torch.float64) * 5 + 2
    out = normalise(flow)
    torch.testing.assert_close(out.mean((2, 3)), torch.zeros(3, 2, dtype=torch.float64))
    std = out.std((2, 3), correction=0)
    torch.testing.assert_close(std, torch.ones(3, 2, dtype=torch.float64), atol=1e-5, rtol=0)


def test_normalise_takes_given_statistics():
    flow = torch.randn(3, 2, 8, 8)
    mean, std = torch.tensor([1.0, -1.0]), torch.tensor([2.0, 0.5])
    expected = (flow - mean.view(1, 2, 1, 1)) / std.view(1, 2, 1, 1)
    torch.testing.assert_close(normalise(flow, (mean, std)), expected, atol=1e-4, rtol=1e-4)


def test_normalise_takes_statistics_of_every_clip():
    flow = torch.randn(3, 2, 8, 8)
    mean, std = torch.randn(3, 2), torch.rand(3, 2) + 0.5
    found = normalise(flow, (mean, std))
    for k in range(3):
        alone = normalise(flow[k : k + 1], (mean[k], std[k]))
        torch.testing.assert_close(found[k : k + 1], alone)


def test_a_nearly_constant_flow_is_not_blown_up():
    flow = torch.tensor([1e-6, -1e-6] * 8, dtype=torch.float64).view(1, 1, 4, 4).expand(1, 2, 4, 4)
    torch.testing.assert_close(normalise(flow), flow / 2e-6)  # the deviation and its floor
    given = torch.zeros(2, dtype=torch.float64), torch.full((2,), 1e-6, dtype=torch.float64)
    torch.testing.assert_close(normalise(flow, given), flow / 2e-6)
