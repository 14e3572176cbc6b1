"""A ledger on Azure's protocol, spoken by Microsoft's emulator."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from dadnet.base.location import location
from orchestration import run_loso
from tests.build.flows import make_clips, write_store
from tests.build.runs import ledger_content, storage_words
from tests.servers.azurite import ACCOUNT, CONTAINER, azurite, command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(command() is None, reason="needs azurite (npm install azurite)"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    with (
        azurite(tmp_path_factory.mktemp("azurite") / "log") as env,
        pytest.MonkeyPatch.context() as p,
    ):
        for name, value in env.items():
            p.setenv(name, value)
        yield f"abfs://{CONTAINER}@{ACCOUNT}.dfs.core.windows.net"


def test_of_many_who_create_an_object_one_has_done_it_and_what_is_gone_may_be_removed(base):
    folder = location(f"{base}/objects")
    path = folder / "a b%2F.json"
    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(lambda n: path.write_once(f"writer {n}".encode()), range(8)))
    assert sum(first) == 1
    assert path.read_bytes() == f"writer {first.index(True)}".encode()
    assert [(entry.name, entry.size) for entry in folder.entries()] == [("a b%2F.json", 8)]
    path.overwrite(b"other")
    assert path.read_bytes() == b"other"
    assert path.modified() is not None
    for _ in range(2):
        path.unlink(missing_ok=True)
    assert not path.exists()
    assert not folder.is_dir()


def test_a_run_on_azure_is_the_run_in_a_folder(base, tmp_path, capsys):
    flows = write_store(tmp_path / "flows", make_clips(4, 6))
    assert run_loso.main(storage_words(flows, tmp_path / "runs")) == 0
    ledger = f"{base}/runs"
    assert run_loso.main(storage_words(flows, ledger)) == 0
    assert ledger_content(ledger) == ledger_content(tmp_path / "runs")
    left = [entry.name for entry in location(ledger).entries()]
    assert not [name for name in left if "/claims/" in name or "/checkpoints/" in name]
    assert run_loso.main(storage_words(flows, ledger)) == 0  # nothing is trained again
    assert "4 of 4 folds are in" in capsys.readouterr().out.replace("\n", " ")
