"""Which Ray a run uses, on which address it listens, and which clients it accepts.

A Ray that is started here listens on loopback only and requires a token. A Ray that was started
elsewhere is joined only if it is named: by `RAY_ADDRESS` (`ray job submit` sets it), or by
`ray submit`, which copies the script into the home of a head that `ray up` made. It is refused if
it answers other machines without a token, since any client of Ray can run any code in it.
"""

import contextlib
import logging
import os
import secrets
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import grpc
import ray

from dadnet.base.disk import DiskPath
from dadnet.base.errors import DadnetError, OutsideError, first_line
from orchestration.reporting.waiting import waiting
from orchestration.workers import ray_internals, session
from orchestration.workers.sign_of_life import watch_head

PROBE_S = 10.0
BOOTSTRAP = "ray_bootstrap_config.yaml"


def connect(workers: int, *, quiet: bool = False) -> None:
    """Join the Ray that is named, or start one here with CPU slots for so many workers or more.

    A line on stderr says so, unless `quiet`.

    Raises:
        DadnetError: if the cluster cannot be joined, or answers others without a token.
    """
    if ray.is_initialized():
        return
    # Before Ray starts: its processes inherit these.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    warn_of_no_token()
    address = named_address()
    if address is not None:
        with waiting(f"joining Ray at {address}", quiet=quiet):
            _join(find(address))
    else:
        with waiting("starting Ray (about 10 s)", quiet=quiet):
            _start(max(workers, os.cpu_count() or 1))
        _refuse_if_open(ray.get_runtime_context().gcs_address)  # if this Ray knows loopback no more
    watch_head(ray.get_runtime_context().gcs_address)


def named_address() -> str | None:
    """The cluster that the user named; None: start one here."""
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    # `ray submit` copies the script into the home of a head, where `ray up` left this file.
    home, script = Path.home(), Path(sys.argv[0]).absolute()
    return "auto" if script.parent == home and (home / BOOTSTRAP).is_file() else None


def find(address: str) -> str:
    """Where the head of a named cluster is.

    Args:
        address: ``host:port``, or ``auto`` for the cluster of this machine; one that a run has
            started for itself is none.

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
        head = ray_internals.head_of(address)
    except ConnectionError as error:
        raise DadnetError(
            "no Ray cluster runs on this machine: expected one of `ray up`"
        ) from error
    parsed = ray_internals.parse_address(head)
    if parsed is None:
        raise DadnetError(f"RAY_ADDRESS: expected host:port or auto, got {head}")
    outer = ray_internals.build_address(ray.util.get_node_ip_address(), parsed[1])
    reached_from_outside = not is_outside(head) and is_outside(outer) and _listens(outer)
    return str(outer if reached_from_outside else head)


def _listens(address: str) -> bool:
    host, port = ray_internals.parse_address(address)
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def is_outside(address: str) -> bool:
    """Whether other machines can reach an address, given as host:port."""
    host = ray_internals.parse_address(address)[0]
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return bool(host != "localhost")


def answers_without_token(address: str) -> bool:
    """Whether the head of a cluster answers a client without a token.

    Args:
        address: of its GCS, host:port.

    Raises:
        DadnetError: if it answers neither way.
    """
    # As Ray itself: a proxy for the web is no way to a cluster.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(ray_internals.CHECK_ALIVE)
        try:
            ask(b"", timeout=PROBE_S, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise DadnetError(
                f"Ray at {address}: expected a running cluster, got {error.code().name}"
            ) from error
    return True


def warn_of_no_token() -> None:
    """Warn if the environment turns tokens off."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        print(
            "warning: RAY_AUTH_MODE=disabled: whoever reaches this Ray, as every user of this "
            "machine does, can run code in it; unset it, and Ray requires a token",
            file=sys.stderr,
        )


def ensure_token() -> None:
    """Make the token file that Ray reads, readable by this user only.

    Ray would make it by itself, readable by every user of the machine.

    Raises:
        DadnetError: if a token file is named that is not there.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "token").lower()
    if mode != "token" or "RAY_AUTH_TOKEN" in os.environ:
        return
    if token := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        if not Path(token).is_file():
            raise DadnetError(f"RAY_AUTH_TOKEN_PATH: expected a file, but {token} is none")
        return
    path = Path.home() / ".ray" / "auth_token"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError:  # no home, as in a container or a batch system
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        return
    if not path.exists():
        # Another run may write it at this moment: then that token counts.
        DiskPath(path).write_once(secrets.token_hex(32).encode(), 0o600)
    elif path.stat().st_uid == os.getuid() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)


def _start(cpus: int) -> None:
    ensure_token()
    folder = session.private_folder()
    session.start_guard(folder)
    os.environ[session.FOLDER] = f"{folder}/"  # Ray's processes inherit it
    try:
        with (
            ray_internals.on_loopback(),
            ray_internals.slow_start(),
            _without_signals_of_the_terminal(),
        ):
            ray.init(
                address="local",
                _temp_dir=str(folder),
                num_cpus=cpus,
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                job_config=ray_internals.OwnPackagesFirst(),
                logging_level="critical",  # a start that fails is reported here, in one line
                **ray_internals.NODE_ON_LOOPBACK,
            )
    except Exception as error:  # Ray raises bare ones here
        reason = first_line(error)
        raise OutsideError(
            f"Ray could not start on this machine: {reason}; its logs are in {folder}. It needs "
            "about 20 free ports and processes of its own: look at `ulimit -u` and other programs, "
            "or give --workers 0, which needs no Ray"
        ) from error
    finally:
        del os.environ[session.FOLDER]  # what a user starts later is not Ray's
    logging.getLogger("ray").setLevel(logging.ERROR)


@contextlib.contextmanager
def _without_signals_of_the_terminal() -> Iterator[None]:
    """Processes that begin in here ignore SIGHUP and SIGUSR1.

    A closed terminal and SLURM send them to every process of a run. Ray's would end at once, before
    the folds keep their states; this process ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGHUP, signal.SIGUSR1)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _join(address: str) -> None:
    _refuse_if_open(address)
    # An autoscaler's machines take minutes to come; Ray would give up after one.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "900")
    ray_internals.use_token()
    try:
        with contextlib.nullcontext() if is_outside(address) else ray_internals.on_loopback():
            ray.init(
                address=address,
                job_config=ray_internals.OwnPackagesFirst(),
                log_to_driver=False,
                logging_level="error",
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = first_line(error).rstrip(".")
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
