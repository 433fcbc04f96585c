"""Number of threads for a process: one per core that it may use, at most its container's CPU limit."""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def count_cores(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int:
    """Count the cores that this process may use.

    A container's CPU limit comes from cgroup v2 (`cpu.max`) or v1 (`cpu.cfs_quota_us`), rounded up to whole cores.
    Without a limit, or outside Linux, the process's CPU affinity decides.

    Args:
        cgroups: Where the control groups are mounted.
        own: The file that names this process's control groups.

    Returns:
        A number of cores, at least 1.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = (limit for folder in _find_folders(cgroups, own) for limit in _read_limits(folder))
    return min([allowed, *(ceil(limit) for limit in limits)])


def _find_folders(cgroups: Path, own: Path) -> Iterator[Path]:
    """Find the folders of this process's control groups and their parents: the smallest limit applies."""
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # In a container the mount may start at the container's own group. The path then does not exist.
        mounts = (cgroups / "cpu", cgroups / controllers) if controllers else (cgroups,)
        group = Path(path.lstrip("/"))
        for mount in mounts:
            for part in (group, *group.parents):
                yield mount / part


def _read_limits(folder: Path) -> Iterator[float]:
    """Yield a group's limit in cores, or nothing if it has none."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    try:
        limit = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return
    if limit > 0:  # version 1 writes -1 for no limit
        yield limit


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
