"""OpenMP's waiting threads spin for a short time in every process, unless the user has decided."""

import re
from pathlib import Path

import pytest
from running import mlpkit

SPIN = re.compile(r"GOMP_SPINCOUNT = '(\d+)'")  # as OpenMP itself reports it, where torch has GNU's
SHORT = {"OMP_DISPLAY_ENV": "verbose"}
SWEEP = (
    *("train", "-m", "dataset=line", "model=linear", "seed=0,1"),
    *("trainer.epochs=1", "run.tensorboard=false"),
)


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.long
def test_a_command_spins_briefly(tmp_path: Path) -> None:
    assert SPIN.findall(mlpkit("doctor", cwd=tmp_path, **SHORT).stderr) == ["10000"]


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        pytest.param("GOMP_SPINCOUNT", "77", "77", marks=pytest.mark.long),
        pytest.param("OMP_WAIT_POLICY", "passive", "0", marks=pytest.mark.long),
        pytest.param("KMP_BLOCKTIME", "3", "300000", marks=pytest.mark.long),
    ],
)
def test_what_the_user_has_set_stays(name: str, value: str, found: str, tmp_path: Path) -> None:
    done = mlpkit("doctor", cwd=tmp_path, **SHORT, **{name: value})
    assert SPIN.findall(done.stderr) == [found]


@pytest.mark.long
def test_the_processes_of_jobs_spin_briefly(tmp_path: Path) -> None:
    done = mlpkit(*SWEEP, "--launcher=processes", "--workers=1", cwd=tmp_path, **SHORT)
    found = SPIN.findall(done.stderr)
    assert len(found) > 1  # this process, and the one that jobs are forked from
    assert set(found) == {"10000"}


@pytest.mark.long
def test_the_jobs_of_slurm_spin_briefly(tmp_path: Path) -> None:
    mlpkit(*SWEEP, "--launcher=slurm", "--slurm=cluster=local", "--runs-per-job=1", cwd=tmp_path, **SHORT)
    said = [SPIN.findall(path.read_text()) for path in tmp_path.rglob("*_log.err")]
    assert len(said) == 2
    assert {spin for of_job in said for spin in of_job} == {"10000"}
