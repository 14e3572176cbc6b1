"""Impossible sizes are refused before memory is taken for them, and pipes before they are read."""

import io
import os
import resource
import zipfile

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from dadnet.base.disk import read_input
from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ExperimentConfig, ModelConfig, OptimConfig
from dadnet.convert import read_checkpoint
from dadnet.datasets.sheets import read_sheets
from dadnet.flow.faces import read_points
from dadnet.flow.files import read_flow
from dadnet.flow.store import FLOW_FILE, load_flow_store
from dadnet.labels.own_labels import class_set_text
from dadnet.models import load_weights
from results.exchange.logs import read_foreign
from results.leaderboard.leaklab import labels_of_table
from tests.build.flows import make_clips

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def little_memory():
    """More than 4 GiB beyond what is mapped already cannot be taken."""
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - no file on a disk
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**32, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize("shape", ["(2, 1000000, 1000000)", "(2, 64, 64)", "(-2, 64, 64)"])
def test_an_array_whose_header_declares_more_than_the_file_has_is_refused(tmp_path, shape):
    path = tmp_path / "a.npy"
    path.write_bytes(header(shape) + bytes(100))
    with pytest.raises(DadnetError, match="its header declares -?[0-9]+ bytes, the file has"):
        read_flow(path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("flow.npy", header(shape) + bytes(100))
    with pytest.raises(DadnetError, match="its header declares"):
        read_flow(tmp_path / "a.npz")


def test_an_archive_that_grows_when_it_is_unpacked_is_refused(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as packed,
        packed.open("flow.npy", "w", force_zip64=True) as entry,
    ):
        entry.write(header("(2, 16384, 16400)"))
        for _ in range(2050):
            entry.write(bytes(2**18))
    assert (tmp_path / "a.npz").stat().st_size < 2**21
    with pytest.raises(DadnetError, match="at most 536870912 bytes when unpacked"):
        read_flow(tmp_path / "a.npz")


def workbook(change) -> bytes:
    """A small workbook, its sheet's XML changed."""
    made, out = io.BytesIO(), io.BytesIO()
    book = openpyxl.Workbook()
    book.active.append(["subject", "label"])
    book.active.merge_cells("A1:B1")
    book.save(made)
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            text = old.read(name)
            new.writestr(name, change(text) if name.startswith("xl/worksheets") else text)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda xml: xml.replace(b"A1:B1", b"A1:XFD1048576"), "at most 10000000 cells"),
        (lambda xml: xml.replace(b"A1:B1", b"&#65;1:XFD1048576"), "merged cells such as A1:B2"),
        (
            lambda xml: xml.replace(b'r="A1"', b'r="XFD1"').replace(b'r="1"', b'r="1048576"'),
            "at most 10000000 cells",
        ),
        (lambda xml: xml + b" " * 2**27, "at most 134217728 bytes when unpacked"),
    ],
)  # fmt: skip
def test_a_workbook_that_would_fill_the_memory_is_refused(tmp_path, change, message):
    path = tmp_path / "t.xlsx"
    path.write_bytes(workbook(lambda xml: xml))
    assert read_sheets(path)[0].lines[0].cells == ("subject", "")
    path.write_bytes(workbook(change))
    with pytest.raises(DadnetError, match=message):
        read_sheets(path)


def test_a_sparse_weight_file_is_refused(tmp_path):
    size = 2**38
    body = f'{{"w":{{"dtype":"F32","shape":[{size // 4}],"data_offsets":[0,{size}]}}}}'.encode()
    for name, read in (("w.safetensors", load_weights), ("w.pth", read_checkpoint)):
        path = tmp_path / name
        path.write_bytes(len(body).to_bytes(8, "little") + body)
        os.truncate(path, 8 + len(body) + size)
        with pytest.raises(DadnetError, match="expected at most 8589934592 bytes in "):
            read(path)
    with open(tmp_path / "text", "wb") as file:  # noqa: PTH123
        file.truncate(2**38)
    with pytest.raises(DadnetError, match="at most 1073741824 bytes"):
        read_input(tmp_path / "text")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (pa.fixed_shape_tensor(pa.float16(), (2, 4, 4)), None),
        (pa.fixed_shape_tensor(pa.float32(), (2, 4, 4)), "expected float16 of"),
        (pa.fixed_shape_tensor(pa.float16(), (3, 4, 4)), "expected float16 of"),
        (pa.fixed_shape_tensor(pa.float16(), (2, 16)), "expected float16 of"),
        (pa.fixed_shape_tensor(pa.float16(), (2, 1, 5000)), "expected float16 of"),
    ],
)
def test_flows_of_another_shape_are_refused(make_store, kind, message):
    folder = make_store("s", make_clips(3, 2), size=4)
    table = pq.read_table(folder / FLOW_FILE)
    values = pa.array(np.ones(6 * int(np.prod(kind.shape))), pa.float64())
    values = values.cast(pa.float32()).cast(kind.value_type) if message else None
    if message is None:
        load_flow_store(folder)
        return
    storage = pa.FixedSizeListArray.from_arrays(values, int(np.prod(kind.shape)))
    column = pa.ExtensionArray.from_storage(kind, storage)
    position = table.column_names.index("flow")
    pq.write_table(table.set_column(position, "flow", column), folder / FLOW_FILE)
    with pytest.raises(DadnetError, match=message):
        load_flow_store(folder)


CARDS = (
    "[]",
    "null",
    '{"digest": 1, "files": ["x"], "parameters": {"normalisation": "none"}}',
    '{"digest": "1", "files": [], "parameters": {"normalisation": "none"}}',
    '{"digest": "1", "files": null, "parameters": {"normalisation": "none"}}',
    '{"digest": "1", "files": ["x"], "parameters": null}',
    "[" * 100_000,
    "1" * 5000,
    "\xff",
)


@pytest.mark.parametrize("text", CARDS, ids=range(len(CARDS)))
def test_a_card_of_another_shape_is_one_line(store, text):
    (store / "card.json").write_text(text, encoding="latin-1")
    with pytest.raises(DadnetError, match=r"card\.json (is no card|cannot be read)") as caught:
        load_flow_store(store)
    assert "\n" not in str(caught.value)


def test_a_null_in_a_column_is_refused(store):
    table = pq.read_table(store / FLOW_FILE)
    names = table["subject"].to_pylist()
    names[3] = None
    position = table.column_names.index("subject")
    pq.write_table(table.set_column(position, "subject", pa.array(names)), store / FLOW_FILE)
    with pytest.raises(DadnetError, match="column subject is string with 1 nulls"):
        load_flow_store(store)


READERS = {
    "f.npy": read_flow,
    "f.flo": read_flow,
    "t.xlsx": read_sheets,
    "t.csv": lambda path: read_foreign(path, "auto", "casme2", False),
    "l.csv": labels_of_table,
    "p.csv": read_points,
    "c.yaml": lambda path: class_set_text(str(path)),
    "w.safetensors": load_weights,
}


@pytest.mark.parametrize("name", READERS)
def test_a_named_pipe_is_refused_at_once_and_a_link_to_a_file_is_followed(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DadnetError, match="expected a regular file at .* got a named pipe"):
        READERS[name](tmp_path / name)
    if name == "w.safetensors":
        made = safetensors.torch.save({"w": torch.ones(2)})
        (tmp_path / "real.safetensors").write_bytes(made)
        (tmp_path / "link.safetensors").symlink_to("real.safetensors")
        assert load_weights(tmp_path / "link.safetensors").weights["w"].shape == (2,)


def test_a_store_whose_files_are_pipes_is_refused(store):
    for name in (FLOW_FILE, "card.json"):
        (store / name).unlink()
        os.mkfifo(store / name)
        with pytest.raises(DadnetError, match="got a named pipe"):
            load_flow_store(store)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelConfig(input_size=1_000_000), "input_size: .* at most 4096, got 1000000"),
        (lambda: OptimConfig(epochs=10**400), "epochs: expected a whole number below 2"),
        (lambda: OptimConfig(batch_size=10**7), "batch_size: expected at most 1000000"),
        (lambda: OptimConfig(lr=float("inf")), "lr: expected a finite number"),
        (lambda: OptimConfig(lr=None), "lr: expected a finite number, got None"),
        (lambda: ExperimentConfig(seed=10**400), "seed: expected a whole number"),
        (lambda: ExperimentConfig.from_json({"seed": None}), "seed: expected a whole number"),
        (lambda: ExperimentConfig.from_json({"optim": None}), "optim: expected fields by name"),
        (lambda: ExperimentConfig.from_json([]), "experiment: expected fields by name"),
        (lambda: ExperimentConfig.from_json({"loss": {"alignment_stages": [[]]}}), "rising stages"),
    ],
)
def test_impossible_values_of_a_configuration_are_one_line(make, message):
    with pytest.raises(DadnetError, match=message) as caught:
        make()
    assert len(str(caught.value)) < 400
