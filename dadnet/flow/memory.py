"""How much memory this process may still take."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Bytes that can be had without swapping, within the container's limit; None if not known."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    found = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines)}
    free = int(found["MemAvailable"]) * 1024
    try:
        limit = (_GROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_GROUP / "memory.current").read_text(encoding="ascii"))
    except OSError:  # no container's limit
        return free
    return free if limit == "max" else min(free, max(0, int(limit) - used))
