"""The commands of README and of each page of the guide run as they are, in a shell, in their order."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from guide import PAGES, PROJECT, README, commands
from real_data import real_data

from faults.counts import FULL

WITH_COMMANDS = [page for page in (README, *PAGES) if commands(page)]


@pytest.mark.skipif(not FULL, reason="minutes; run by `make faults`")
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_command_runs(page: Path, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "mlpkit"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mlpkit "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}"}
    if page.stem in ("mnist", "fashion-mnist"):
        if real_data() is None:
            pytest.skip("no MNIST and FashionMNIST in $MLPKIT_DATA or ../shared/data")
        environment["MLPKIT_DATA"] = str(real_data())
    for line in commands(page):
        command = ["bash", "-c", line]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
