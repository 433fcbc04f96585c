import os
from pathlib import Path

import pytest

from credit_risk_model.cores import count_cores


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 16 cores, all of which the process may use."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def make_group(folder: Path, own: str, **files: str) -> tuple[Path, Path]:
    """Control groups as Linux shows them, and the file that names the process's own; `__` in a name is a slash."""
    (folder / "own").write_text(own)
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("cpu_max", "cpu.max").replace("cfs_", "cpu.cfs_")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder, folder / "own"


@pytest.mark.parametrize(
    ("limit", "cores"), [("200000 100000", 2), ("250000 100000", 3), ("50000 100000", 1), ("max 100000", 16)]
)
def test_limit_of_version_2_counts_in_whole_cores(limit: str, cores: int, tmp_path: Path) -> None:
    """A limit of cgroup v2 is rounded up to whole cores, and `max` is no limit."""
    assert count_cores(*make_group(tmp_path, "0::/\n", cpu_max=f"{limit}\n")) == cores


@pytest.mark.parametrize(("quota", "cores"), [("400000", 4), ("-1", 16)])
def test_limit_of_version_1_counts_too(quota: str, cores: int, tmp_path: Path) -> None:
    """A limit of cgroup v1 stands in two files, and -1 is no limit."""
    files = {"cpu__pod__cfs_quota_us": quota, "cpu__pod__cfs_period_us": "100000"}
    assert count_cores(*make_group(tmp_path, "4:cpu,cpuacct:/pod\n2:memory:/pod\n", **files)) == cores


def test_limit_of_a_group_around_it_holds(tmp_path: Path) -> None:
    """The smallest limit of a group and of those around it decides."""
    groups = make_group(
        tmp_path, "0::/slice/unit\n", slice__cpu_max="300000 100000", slice__unit__cpu_max="800000 100000"
    )
    assert count_cores(*groups) == 3


def test_without_groups_the_affinity_decides(tmp_path: Path) -> None:
    """Where there is no control group, the cores that the process may run on are counted."""
    assert count_cores(tmp_path, tmp_path / "none") == 16


def test_limit_above_the_cores_adds_none(tmp_path: Path) -> None:
    """A limit of more cores than the process may run on gives it no more."""
    assert count_cores(*make_group(tmp_path, "0::/\n", cpu_max="9900000 100000")) == 16
