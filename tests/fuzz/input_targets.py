"""Targets of the inputs of a run: flags, stores, cards, model files, flow files, class sets."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from hypothesis import strategies as st
from safetensors import safe_open

from dadnet.base.boundary import run_command
from dadnet.config.experiment import DataConfig, ExperimentConfig, ModelConfig
from dadnet.flow.files import read_flow
from dadnet.flow.store import FLOW_FILE
from dadnet.inference.model_file import (
    CARD,
    ModelCard,
    TrainedModel,
    build_network,
    load_model_file,
)
from dadnet.labels.own_labels import class_set_text
from orchestration.folds.plan import load_inputs, plan_of
from orchestration.main import main as dadnet
from tests.build.flows import make_clips, write_store
from tests.fuzz.mutations import (
    changes,
    flips,
    spoil_bytes,
    spoil_json,
    spoil_words,
    to_text,
    words,
)
from tests.fuzz.running import Target

_RUN = ["--preset", "smoke", "--epochs", "3", "--lr", "0.1", "--input-size", "32", "--seed", "1"]
_RUN += ["--batch-size", "4", "--protocol", "loso", "--class-set", "3class"]
_VERBS = {
    "loso": ([*_RUN, "--stack", "auto", "--model-type", "baseline"], ["--flows", "nowhere"]),
    "tune": ([*_RUN, "--num-trials", "2"], ["--flows", "nowhere"]),
    "ablate": (_RUN, ["--flows", "nowhere"]),
    "ingest": (["--size", "32", "--alpha", "0.1"], ["--dataset", "casme2", "--root", "nowhere"]),
    "predict": (["--clips", "x"], ["--weights", "nowhere.safetensors"]),
    "leaderboard": (["--run-pages", "2", "--format", "csv"], ["--ledger", "nowhere"]),
    "leaklab": (["--k", "1,2", "--repeats", "2"], ["--ledger", "nowhere"]),
    "verify": (["--seed", "1"], ["nowhere.zip"]),
    "watch": (["--rows", "2"], ["--once", "--ledger", "nowhere"]),
}


def _flags(folder: Path, valid: None, given: tuple[str, list[int], list[str]]) -> int:
    verb, picks, new = given
    middle, end = _VERBS[verb]
    return dadnet([verb, *spoil_words(middle, picks, new), *end])


def _planned(flows: str) -> int:
    config = ExperimentConfig(
        data=DataConfig(selection="last"), model=ModelConfig(model_type="baseline", input_size=32)
    )

    def use(_: object) -> int:
        plan_of(config, load_inputs(config, flows, None))
        return 0

    return run_command(use, [])


def _store(folder: Path) -> tuple[Any, bytes]:
    write_store(folder / "flows", make_clips(4, 6))
    card = json.loads((folder / "flows" / "card.json").read_bytes())
    return card, (folder / "flows" / FLOW_FILE).read_bytes()


def _spoilt_store(folder: Path, valid: tuple[Any, bytes], given: tuple[Any, Any]) -> int:
    (card, flows), (wanted, spoilt) = valid, given
    (folder / "flows" / "card.json").write_text(to_text(spoil_json(card, wanted)))
    (folder / "flows" / FLOW_FILE).write_bytes(spoil_bytes(flows, spoilt))
    return _planned(str(folder / "flows"))


def _model(folder: Path) -> bytes:
    config = ModelConfig(model_type="baseline", micro_size="ultralight", input_size=32)
    network = build_network(config, 3, torch.Generator())
    card = ModelCard(kind="teacher", model=config, classes=("a", "b", "c"), subjects=("d/s",))
    TrainedModel(network.state_dict(), card).save(folder / "w.safetensors")
    return (folder / "w.safetensors").read_bytes()


def _loaded(path: Path) -> int:
    def use(_: object) -> int:
        load_model_file(path)
        return 0

    return run_command(use, [])


def _spoilt_file(folder: Path, valid: bytes, given: tuple[Any, bool]) -> int:
    flipped, at_start = given
    if at_start:  # the header, where a byte says most
        found, end = flipped
        flipped = ([(position % 3000, value) for position, value in found], end)
    (folder / "w.safetensors").write_bytes(spoil_bytes(valid, flipped))
    return _loaded(folder / "w.safetensors")


def _spoilt_card(folder: Path, valid: bytes, wanted: Any) -> int:
    path = folder / "w.safetensors"
    path.write_bytes(valid)
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()[CARD])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = to_text(spoil_json(card, wanted))
    path.write_bytes(safetensors.torch.save(weights, {CARD: text}))
    return _loaded(path)


def _arrays(folder: Path) -> dict[str, bytes]:
    flow = np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32)
    made = {}
    for name, save in (("f.npy", np.save), ("f.npz", np.savez_compressed)):
        held = io.BytesIO()
        save(held, flow)
        made[name] = held.getvalue()
    made["f.flo"] = b"PIEH" + np.int32([16, 16]).tobytes() + flow.transpose(1, 2, 0).tobytes()
    return made


_HEADER = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }"
_KINDS = ("<f4", "<f8", "|O", "<U9", "|V4", "<M8", "|b1", "<c8", "x")
_SHAPES = ("(2, 16, 16)", "(2, 2000000, 2000000)", "(-1, 2)", "()", "(2,)", "None", "9" * 400)


def _flow_file(
    folder: Path, valid: dict[str, bytes], given: tuple[str, Any, str, str, bool]
) -> int:
    name, flipped, kind, shape, header = given
    data = valid[name]
    if header and name == "f.npy":
        text = (_HEADER % (kind, shape)).encode()
        data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data[128:]
    (folder / name).write_bytes(spoil_bytes(data, flipped))

    def use(_: object) -> int:
        read_flow(folder / name)
        return 0

    return run_command(use, [])


_CLASS_SET = {"name": "own", "classes": {"a": ["x", "y"], "b": ["z"]}, "dropped": ["w"]}


def _class_set(folder: Path, valid: None, given: tuple[Any, Any]) -> int:
    wanted, flipped = given
    text = to_text(spoil_json(_CLASS_SET, wanted)).encode(errors="replace")
    (folder / "c.yaml").write_bytes(spoil_bytes(text, flipped))

    def use(_: object) -> int:
        class_set_text(str(folder / "c.yaml"))
        return 0

    return run_command(use, [])


_wanted = st.one_of(st.just([]), changes)
TARGETS = (
    Target(
        "flags",
        st.tuples(
            st.sampled_from(sorted(_VERBS)), st.lists(st.integers(0, 99), max_size=4), words
        ),
        lambda folder: None,
        _flags,
    ),
    Target("stores", st.tuples(_wanted, flips), _store, _spoilt_store),
    Target("cards", changes, _model, _spoilt_card),
    Target("model files", st.tuples(flips, st.booleans()), _model, _spoilt_file),
    Target(
        "flow files",
        st.tuples(
            st.sampled_from(("f.npy", "f.npz", "f.flo")), flips, st.sampled_from(_KINDS),
            st.sampled_from(_SHAPES), st.booleans(),
        ),
        _arrays,
        _flow_file,
    ),
    Target("class sets", st.tuples(_wanted, flips), lambda folder: None, _class_set),
)  # fmt: skip
