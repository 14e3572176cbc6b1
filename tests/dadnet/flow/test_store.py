import json

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dadnet.base.errors import DadnetError
from dadnet.flow import store as flow_store
from dadnet.flow.store import FLOW_FILE, META_COLUMNS, load_flow_store, read_card, store_digest
from tests.build.flows import make_clips


def test_flows_come_back_bit_for_bit(make_store):
    flows = np.random.default_rng(1).normal(size=(6, 2, 32, 32)).astype(np.float16)
    loaded = load_flow_store(make_store("s", make_clips(2, 3), flows=flows))
    np.testing.assert_array_equal(loaded.flows, flows)
    assert list(loaded.clips.columns) == META_COLUMNS


def test_plain_pyarrow_pandas_and_duckdb_read_the_file(store):
    path = store / FLOW_FILE
    flow = load_flow_store(store).flows[0]
    tensor = pq.read_table(path)["flow"].combine_chunks().to_numpy_ndarray()
    np.testing.assert_array_equal(tensor[0], flow)
    frame = pd.read_parquet(path)
    np.testing.assert_array_equal(np.asarray(frame["flow"][0]), flow.reshape(-1))
    found = duckdb.sql(
        f"select subject, count(*) n, any_value(len(flow)) size from '{path}' group by subject"
    ).fetchall()
    assert sorted(found)[0] == ("synthetic/sub01", 6, 2 * 32 * 32)


def test_the_digest_ignores_the_order_and_sees_labels_parts_and_normalisation(store):
    clips = load_flow_store(store).clips
    digest = store_digest(clips, "none")
    assert store_digest(clips.sample(frac=1, random_state=1), "none") == digest
    assert store_digest(clips.assign(emotion="fear"), "none") != digest
    assert store_digest(clips.assign(part="train"), "none") != digest
    assert store_digest(clips, "dataset") != digest


def test_a_folder_without_a_card_is_no_store(tmp_path):
    with pytest.raises(DadnetError, match=r"expected .*card\.json .* there is none"):
        load_flow_store(tmp_path)


def test_a_truncated_file_is_one_clear_line(store):
    data = (store / FLOW_FILE).read_bytes()
    (store / FLOW_FILE).write_bytes(data[: len(data) // 2])
    with pytest.raises(DadnetError, match="cannot be read") as error:
        load_flow_store(store)
    assert "\n" not in str(error.value)


def test_a_changed_label_is_noticed(store):
    card = read_card(store)
    (store / "card.json").write_text(json.dumps({**card, "digest": "0" * 16}))
    with pytest.raises(DadnetError, match="not what its card says"):
        load_flow_store(store)


def test_a_changed_flow_is_noticed(make_store):
    folder = make_store("s", make_clips(3, 2))
    clips = load_flow_store(folder).clips
    from dadnet.flow.store import flow_table, write_flow_file

    other = np.ones((6, 2, 32, 32), np.float16)
    write_flow_file(folder / FLOW_FILE, [flow_table(clips, other)])
    with pytest.raises(DadnetError, match="flow of synthetic/sub01/clip0 is damaged"):
        load_flow_store(folder)


@pytest.mark.parametrize(
    "name", ["../secret.parquet", "/etc/passwd", "..", "", "a/../b.parquet", "a\0b"]
)
def test_a_card_cannot_lead_outside_its_folder(store, name):
    card = read_card(store)
    (store / "card.json").write_text(json.dumps({**card, "files": [name]}))
    with pytest.raises(DadnetError, match="plain file name"):
        load_flow_store(store)


def test_a_store_that_memory_cannot_hold_is_refused_before_it_is_read(store, monkeypatch):
    monkeypatch.setattr(flow_store, "free_memory", lambda: 100_000)
    with pytest.raises(DadnetError, match=r"takes 0.0 GB of memory as float16.*ingest --size"):
        load_flow_store(store)
    monkeypatch.setattr(flow_store, "free_memory", lambda: 10**9)
    assert len(load_flow_store(store).flows) == 30


def test_a_link_cannot_lead_outside_the_folder(store, tmp_path):
    (store / FLOW_FILE).rename(tmp_path / "elsewhere.parquet")
    (store / FLOW_FILE).symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(DadnetError, match="a link that leads out of its folder"):
        load_flow_store(store)
    # The folder itself may be reached by one.
    (store / FLOW_FILE).unlink()
    (tmp_path / "elsewhere.parquet").rename(store / FLOW_FILE)
    (tmp_path / "shared").symlink_to(store)
    assert len(load_flow_store(tmp_path / "shared").clips) == 30


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65504])
def test_a_flow_that_is_not_finite_is_refused_although_its_digest_is_right(make_store, value):
    flows = (
        np.ones((6, 2, 32, 32), np.float16) * np.arange(6, dtype=np.float16)[:, None, None, None]
    )
    flows[2, 1, 31, 31] = value
    folder = make_store("s", make_clips(3, 2), flows=flows)
    if np.isfinite(value):  # the largest number of float16
        assert load_flow_store(folder).flows.max() == value
        return
    with pytest.raises(DadnetError, match="the flow of synthetic/sub02/clip0 holds NaN or inf"):
        load_flow_store(folder)
