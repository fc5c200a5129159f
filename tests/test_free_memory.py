"""The memory that a process may take: the least of what the machine has free, and of what groups leave."""

from pathlib import Path

import pytest

from mlpkit.config.byte_size import in_bytes
from mlpkit.system.free_memory import free_memory

GB = 10**9


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux has these files")
def test_the_least_limit_counts(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"proc/meminfo": "MemTotal:  9 kB\nMemAvailable:  2000 kB\n", "proc/self/cgroup": ""}
    )
    assert free_memory(root) == 2_048_000
    version_2 = {
        "proc/self/cgroup": "0::/a/b\n",
        "sys/fs/cgroup/a/b/memory.max": "max\n",
        "sys/fs/cgroup/a/b/memory.current": "500\n",
        "sys/fs/cgroup/a/memory.max": "1000000\n",
        "sys/fs/cgroup/a/memory.current": "600000\n",
        "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 100000\n",
    }
    assert free_memory(write(root, version_2)) == 500_000
    version_1 = {
        "proc/self/cgroup": "3:cpu,cpuacct:/x\n2:memory:/x\n",
        "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "300000\n",
        "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "200000\n",
        "sys/fs/cgroup/memory/x/memory.stat": "cache 5\ntotal_inactive_file 50000\n",
    }
    assert free_memory(write(root, version_1)) == 150_000


def test_this_machine_has_some() -> None:
    assert 10**6 < free_memory() < 10**15


@pytest.mark.parametrize(
    ("size", "wanted"),
    [(5 * GB, 5 * GB), ("4GB", 4 * GB), ("1.5GB", 1.5 * GB), ("2MiB", 2 << 20), ("1TiB", 1 << 40)],
)
def test_sizes(size: int | str, wanted: float) -> None:
    assert in_bytes(size) == wanted
