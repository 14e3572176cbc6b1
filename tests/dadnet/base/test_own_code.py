"""Source of a user: what travels with it, and how it finds what travels."""

import json
import random
import sys

import numpy as np
import pytest
import torch

from dadnet.base import own_code
from dadnet.base.errors import DadnetError
from dadnet.base.own_code import OwnCode, read_code
from dadnet.base.own_import import load_function
from dadnet.base.seeding import global_draws


def write(folder, **files):
    """Files by name, without `.py`; a dot is a folder."""
    for name, text in files.items():
        path = folder / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_neighbours_that_are_imported_travel_and_others_stay(tmp_path):
    write(
        tmp_path,
        net="import os\nfrom helper import x\ndef f():\n    import late\n    return x + late.y",
        helper="import deep\nx = deep.z",
        deep="z = 1",
        late="y = 10",
        other="1 / 0",
    )  # fmt: skip
    code = read_code(f"{tmp_path / 'net.py'}:f")
    assert [path for path, _ in code.files] == ["deep.py", "helper.py", "late.py", "net.py"]
    for path in tmp_path.iterdir():
        path.unlink()
    assert load_function(code)() == 11
    assert not {"helper", "deep", "late"} & sys.modules.keys()


@pytest.mark.parametrize(
    "line",
    ["import pack.part as p", "from pack import part as p", "import pack.part; p = pack.part",
     "from .pack import part as p"],
)  # fmt: skip
def test_a_folder_of_neighbours_is_imported_in_every_way(tmp_path, line):
    files = {"net": f"{line}\ndef f():\n    return p.x", "pack.part": "from .more import x"}
    write(tmp_path, **files, **{"pack.more": "x = 5"})
    assert load_function(read_code(f"{tmp_path / 'net.py'}:f"))() == 5


def test_a_module_of_a_package_takes_its_package_along(tmp_path, monkeypatch):
    files = {
        "tool.__init__": "base = 2",
        "tool.net": "from tool.layers import x\nf = lambda: x",
        "tool.layers": "from . import base\nx = base + 1",
        "tool.other": "1 / 0",
        "beside": "1 / 0",
    }
    write(tmp_path, **files)
    monkeypatch.chdir(tmp_path)
    code = read_code("tool.net:f")
    assert code.file == "tool/net.py"
    assert [path for path, _ in code.files] == ["tool/__init__.py", "tool/layers.py", "tool/net.py"]
    assert load_function(code)() == 3


def test_a_network_of_ours_is_one_file_since_every_node_has_the_rest():
    code = read_code("dadnet.models.baselines.ststnet:STSTNet")
    assert [path for path, _ in code.files] == ["ststnet.py"]
    assert load_function(code)(num_classes=3, input_size=28).num_classes == 3


def test_two_sources_of_one_name_do_not_meet(tmp_path):
    functions = []
    for number in (1, 2):
        folder = write(tmp_path / str(number), net="from helper import x\ndef f():\n    return x",
                       helper=f"x = {number}")  # fmt: skip
        functions.append(load_function(read_code(f"{folder / 'net.py'}:f")))
    assert [function() for function in functions] == [1, 2]


def test_a_neighbour_that_changes_is_another_source_and_the_files_own_name_is_not(tmp_path):
    def digest(name, helper):
        write(tmp_path, **{name: "from helper import x\ndef f(): pass", "helper": helper})
        return read_code(f"{tmp_path / name}.py:f").digest

    assert digest("a", "x = 1") == digest("b", "x = 1") != digest("a", "x = 2")


def test_it_goes_through_json(tmp_path):
    code = read_code(f"{write(tmp_path, net='def f(): pass') / 'net.py'}:f")
    fields = {"file": code.file, "function": code.function, "files": code.files}
    assert OwnCode.from_json(json.loads(json.dumps(fields))) == code
    with pytest.raises(DadnetError, match="source: damaged"):
        OwnCode.from_json({"file": "net.py"})


@pytest.mark.parametrize("path", ["../net.py", "/etc/net.py", "a/../net.py", "net.sh", ".net.py"])
def test_a_path_out_of_the_folder_is_refused(path):
    with pytest.raises(DadnetError, match="source: expected paths such as"):
        OwnCode(path, "f", ((path, ""),))


def test_a_folder_of_very_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(own_code, "_MOST_FILES", 3)
    write(tmp_path, net="import a, b, c", a="", b="", c="")
    with pytest.raises(DadnetError, match="it imports more than 3 files"):
        read_code(f"{tmp_path / 'net.py'}:f")


def test_a_syntax_error_of_a_neighbour_is_named(tmp_path):
    write(tmp_path, net="import helper", helper="x = 1\nx = (")
    with pytest.raises(DadnetError, match=r"helper.py line 2: '\(' was never closed"):
        read_code(f"{tmp_path / 'net.py'}:f")


def test_an_error_below_a_neighbour_is_named_there(tmp_path):
    write(tmp_path, net="import helper\ndef f(): pass", helper="\n\nraise RuntimeError('so')")
    with pytest.raises(DadnetError, match=r"^helper.py line 3: RuntimeError: so$"):
        load_function(read_code(f"{tmp_path / 'net.py'}:f"))


def test_global_draws_are_seeded_and_then_as_before():
    def drawn():
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002

    with global_draws(5):
        first = drawn()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    with global_draws(5):
        assert drawn() == first
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]
    with global_draws(6):
        assert all(a != b for a, b in zip(drawn(), first, strict=True))


def test_a_neighbour_that_is_missing_is_named_as_it_is_imported(tmp_path):
    write(tmp_path, net="from .helper import x\ndef f(): pass")
    with pytest.raises(DadnetError, match=r"net.py line 1: .* not installed here: helper$"):
        load_function(read_code(f"{tmp_path / 'net.py'}:f"))
