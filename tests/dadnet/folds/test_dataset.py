import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dadnet import MicroExpressionDataset
from dadnet.base.errors import DadnetError
from dadnet.flow.compute import resize_flow
from dadnet.flow.normalisation import normalise
from dadnet.flow.store import load_flow_store
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
