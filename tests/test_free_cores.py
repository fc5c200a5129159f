"""What others leave free, from files as Linux and containers have them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlpkit.system import free_cores
from mlpkit.system.free_cores import Limit, Load, computed_in, computed_on, limit_of, whole
from mlpkit.system.platform import usable_cores

STAT = """\
cpu  9323 4 4549 141015 400 2 40 11 7 0
cpu0 522 4 748 76262 111 1 10 3 7 0
cpu1 8800 0 3800 64752 289 1 30 8 0 0
intr 1843 0 0
ctxt 4
"""
CPU_STAT = "usage_usec 7250000\nuser_usec 7000000\nsystem_usec 250000\nnr_periods 12\nnr_throttled 3\n"
V1 = "12:memory:{0}\n4:cpu,cpuacct:{0}\n1:name=systemd:{0}\n0::/\n"

# files under a root, and the quota that they stand for
QUOTAS: dict[str, tuple[dict[str, str], float | None]] = {
    "no files": ({}, None),
    "2, without a limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "2, a container": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    "2, a service under a limited slice": (
        {
            "proc/self/cgroup": "0::/user.slice/user-1000.slice/session-2.scope\n",
            "sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/user.slice/user-1000.slice/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
        },
        2.0,
    ),
    "2, outside of its own namespace": (
        {"proc/self/cgroup": "0::/../../other\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"},
        0.5,
    ),
    "1, without a limit": (
        {
            "proc/self/cgroup": V1.format("/user.slice"),
            "sys/fs/cgroup/cpu/user.slice/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/user.slice/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
    "1, a container that sees the host's path": (
        {
            "proc/self/cgroup": V1.format("/docker/0123abcd"),
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        2.5,
    ),
    "damaged": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "many 100000\n"}, None),
}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize("name", QUOTAS)
def test_quotas(name: str, tmp_path: Path) -> None:
    files, cores = QUOTAS[name]
    write(tmp_path, files)
    found = limit_of(tmp_path)
    assert (None if found is None else found.cores) == cores


def test_the_time_on_some_cores(tmp_path: Path) -> None:
    """Idle time and waiting for a disk are nobody's; a guest's time is the user's already."""
    write(tmp_path, {"stat": STAT})
    tick = os.sysconf("SC_CLK_TCK")
    assert computed_on(tmp_path / "stat", {0}) == (522 + 4 + 748 + 1 + 10 + 3) / tick
    assert computed_on(tmp_path / "stat", {0, 1}) == (1288 + 8800 + 3800 + 1 + 30 + 8) / tick
    assert computed_on(tmp_path / "stat", {1, 2}) is None  # a container may hide cores
    assert computed_on(tmp_path / "missing", {0}) is None


def test_the_time_in_a_group(tmp_path: Path) -> None:
    write(tmp_path, {"new/cpu.stat": CPU_STAT, "old/cpuacct.usage": "7250000000\n"})
    assert computed_in(tmp_path / "new") == computed_in(tmp_path / "old") == 7.25
    assert computed_in(tmp_path) is None


def later(load: Load, seconds: float) -> None:
    """Make a look's beginning so many seconds older: the files are what they would be then."""
    load.before = load.before._replace(wall=load.before.wall - seconds)


def test_what_others_use_is_not_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_cores, "usable_cores", lambda: {0, 1})
    write(tmp_path, {"proc/stat": STAT})
    load = Load(tmp_path)
    assert load.free() == 2  # nothing is known yet
    tick = os.sysconf("SC_CLK_TCK")
    write(tmp_path, {"proc/stat": STAT.replace("cpu1 8800", f"cpu1 {8800 + 15 * tick}")})
    later(load, 10)
    assert load.free() == pytest.approx(0.5, abs=0.05)
    assert load.free() == pytest.approx(0.5, abs=0.05)  # too soon to say anything else
    later(load, 10)
    assert load.free() == pytest.approx(2, abs=0.05)


def test_others_in_a_container_share_its_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 64 cores that are idle, a group may use two, of which a neighbour in the group takes 1.2."""
    monkeypatch.setattr(free_cores, "usable_cores", lambda: range(64))
    quota = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}
    write(tmp_path, {**quota, "sys/fs/cgroup/cpu.stat": CPU_STAT})
    load = Load(tmp_path)
    assert (load.limit, load.free()) == (Limit(2, tmp_path / "sys/fs/cgroup"), 2)
    write(tmp_path, {"sys/fs/cgroup/cpu.stat": CPU_STAT.replace("7250000", str(7250000 + 12_000_000))})
    later(load, 10)
    assert load.free() == pytest.approx(0.8, abs=0.05)


def test_without_files_all_is_free(tmp_path: Path) -> None:
    load = Load(tmp_path)
    later(load, 10)
    assert load.free() == load.allowed == len(usable_cores())


@pytest.mark.parametrize(("cores", "threads"), [(0, 1), (0.4, 1), (1.4, 1), (1.5, 2), (1.7, 2), (63.6, 64)])
def test_whole(cores: float, threads: int) -> None:
    assert whole(cores) == threads


def test_a_busy_neighbour_is_seen() -> None:
    """For real, on one core that both have."""
    script = (
        "import os, subprocess, sys, time\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from mlpkit.system.free_cores import Load\n"
        "busy = subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass'])\n"
        "load = Load()\n"
        "until = time.monotonic() + 0.3\n"
        "while time.monotonic() < until: pass\n"
        "print(load.free())\n"
        "busy.kill()\n"
        "busy.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.8
