"""Which Ray a run uses, where it listens, and who may speak to it.

A Ray that is started here listens on loopback alone and wants a token. One that was started
elsewhere is joined only if it is named: by `RAY_ADDRESS` (`ray job submit` sets it), or by
`ray submit`, which copies the script into the home of a head that `ray up` made. It is refused if
it answers other machines without a token, since whoever reaches Ray can run any code in it.
"""

import contextlib
import os
import secrets
import socket
import stat
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import grpc
import ray
from ray._common.network_utils import build_address, parse_address
from ray._private import ray_constants, services
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)

from dadnet.base.errors import DadnetError

PROBE_S = 10.0
# Ray's own switch, meant for macOS and Windows: without it a node takes the address of the
# outside network, whatever address it is given, and listens on all of them.
_ON_NETWORK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
BOOTSTRAP = "ray_bootstrap_config.yaml"
_PROBE = "/ray.rpc.NodeInfoGcsService/CheckAlive"


def connect(workers: int) -> None:
    """Join the Ray that is named, or start one here.

    Args:
        workers: CPU slots that a new local cluster offers at least.

    Raises:
        DadnetError: if the cluster cannot be joined, or answers others without a token.
    """
    if ray.is_initialized():
        return
    # Before Ray starts: its processes inherit these.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    address = named_address()
    if address is not None:
        _join(find(address))
        return
    _start(max(workers, os.cpu_count() or 1))
    _refuse_if_open(ray.get_runtime_context().gcs_address)  # if this Ray knows loopback no more


def named_address() -> str | None:
    """The cluster that the user named; None: start one here."""
    if said := os.environ.get("RAY_ADDRESS"):
        return said
    return "auto" if is_submitted(Path(sys.argv[0]), Path.home()) else None


def is_submitted(script: Path, home: Path) -> bool:
    """Whether `ray submit` runs this script: its copy lies in the home of a head of `ray up`.

    Args:
        script: the file that Python runs.
        home: the user's home.
    """
    return script.absolute().parent == home and (home / BOOTSTRAP).is_file()


def find(address: str) -> str:
    """Where the head of a named cluster is.

    Args:
        address: ``host:port``, or ``auto`` for the cluster of this machine.

    Returns:
        host:port; not of loopback where the head listens on the network too.

    Raises:
        DadnetError: if it is no address, or no cluster runs here.
    """
    if "://" in address:
        raise DadnetError(
            f"RAY_ADDRESS: expected host:port or auto, got {address}; to send a run to a cluster "
            "from outside use `ray job submit` (see cluster/README.md)"
        )
    try:
        found = services.get_ray_address_from_environment(address, None)
    except ConnectionError as error:
        raise DadnetError(
            "no Ray cluster runs on this machine: expected one of `ray up`"
        ) from error
    parsed = parse_address(found)
    if parsed is None:
        raise DadnetError(f"RAY_ADDRESS: expected host:port or auto, got {found}")
    outer = build_address(ray.util.get_node_ip_address(), parsed[1])
    reached_from_outside = not is_outside(found) and is_outside(outer) and _listens(outer)
    return str(outer if reached_from_outside else found)


def _listens(address: str) -> bool:
    host, port = parse_address(address)
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def is_outside(address: str) -> bool:
    """Whether other machines can reach an address, given as host:port."""
    host = parse_address(address)[0]
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return bool(host != "localhost")


def answers_without_token(address: str) -> bool:
    """Whether the head of a cluster answers somebody who shows no token.

    Args:
        address: of its GCS, host:port.

    Raises:
        DadnetError: if it answers neither way.
    """
    # As Ray itself: a proxy for the web is no way to a cluster.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(_PROBE)
        try:
            ask(b"", timeout=PROBE_S, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise DadnetError(
                f"Ray at {address}: expected a running cluster, got {error.code().name}"
            ) from error
    return True


def ensure_token() -> None:
    """Make the token file that Ray reads, for its owner's eyes only.

    Ray would make it by itself, readable by every user of the machine.

    Raises:
        DadnetError: if a token file is named that is not there.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "token").lower()
    if mode != "token" or "RAY_AUTH_TOKEN" in os.environ:
        return
    if named := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        if not Path(named).is_file():
            raise DadnetError(f"RAY_AUTH_TOKEN_PATH: expected a file, but {named} is none")
        return
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        _write_token(path)
    elif path.stat().st_uid == os.getuid() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)


def _write_token(path: Path) -> None:
    """Whole or not at all, since another run may read it at this moment."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another run was quicker: its token counts
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _start(cpus: int) -> None:
    ensure_token()
    with on_loopback():
        ray.init(
            address="local",
            num_cpus=cpus,
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level="error",
            _node_ip_address="127.0.0.1",
        )


def _join(address: str) -> None:
    _refuse_if_open(address)
    # An autoscaler's machines take minutes to come; Ray would give up after one.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "900")
    # By itself Ray looks for a token only where the address is "auto".
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        with contextlib.nullcontext() if is_outside(address) else on_loopback():
            ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise DadnetError(
            f"Ray at {address} cannot be joined: {reason}; expected the token of this cluster in "
            "~/.ray/auth_token or RAY_AUTH_TOKEN_PATH"
        ) from error


def _refuse_if_open(address: str) -> None:
    if answers_without_token(address) and is_outside(address):
        ray.shutdown()
        raise DadnetError(
            f"Ray at {address} answers other machines without a token: expected it to be started "
            "with RAY_AUTH_MODE=token and a token file (see cluster/README.md)"
        )


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """What is started within listens on loopback, and so does all that it starts."""
    before, known = os.environ.get(_ON_NETWORK), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_ON_NETWORK] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment when Ray was imported
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = known
        if before is None:
            del os.environ[_ON_NETWORK]
        else:
            os.environ[_ON_NETWORK] = before
