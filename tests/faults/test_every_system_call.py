"""A save that is killed at any of its system calls leaves the old checkpoint or the new one, whole."""

import json
from pathlib import Path

import pytest

from faults.counts import count
from faults.separate import separate


@pytest.mark.long
def test_a_save_that_is_killed_at_any_system_call(tmp_path: Path) -> None:
    # An odd step tries entries and exits of the calls in turn.
    done = separate("faults.killed_saves", tmp_path, count(7, 1), cwd=tmp_path, seconds=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    if "skip" in found:
        pytest.skip(found["skip"])
    for outcomes in found.values():
        assert outcomes["old"] > 0 and outcomes["new"] > 0
    print(found)
