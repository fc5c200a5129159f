"""Each launcher gives the same runs, and however a job ends, it ends no other."""

import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Refused
from faults.processes import LIMIT, Running, end_all, start_fresh
from running import mlpkit

from mlpkit.cli.main import run as command
from mlpkit.config.launcher import Workers
from mlpkit.config.plugins import Parcel
from mlpkit.errors import MlpkitError, RunInterruptedError
from mlpkit.folders.checkpoint import load
from mlpkit.folders.run_folder import RunFolder
from mlpkit.sweeps.launch import JobLauncher
from mlpkit.sweeps.launcher_processes import ProcessesLauncher
from mlpkit.sweeps.ledger import DONE, FAILED, Ledger
from mlpkit.sweeps.packed_job import train_job
from mlpkit.sweeps.slurm_settings import read
from mlpkit.system.device import cores
from mlpkit.system.plain_json import read_object
from mlpkit.training.stop import StopRequest

MOONS = ("dataset=moons", "model=mlp", "model.hidden=[4]", "run.tensorboard=false")
WIDE = ("dataset=digits", "model=mlp", "model.hidden=[512]", "trainer.batch_size=full")  # for many threads
LONG = 20_000  # epochs that take some seconds
DIVERGED = (
    "step 1 (epoch 1): val loss=nan: training diverged; try a lower optimizer.lr or set trainer.clip_norm=1"
)
LEAVES = "import os, signal\nsignal.signal(signal.SIGALRM, lambda number, frame: os._exit(3))\n"


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    end_all()


def place(name: str) -> tuple[str, str]:
    return "run.root=outputs", f"run.dir=outputs/{name}"


def runs(name: str) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(Path("outputs", name).glob("0*-*"))]


def ledger(name: str) -> list[tuple[str, str]]:
    """Return how the jobs of a sweep have ended, and their errors."""
    with Ledger(Path("outputs", name, "ledger.sqlite")) as opened:
        return [(entry.status, entry.error) for entry in opened.entries()]


def process_of(sweep: Running, run: Path) -> int:
    """Wait until a job trains, and return the number of its process, which its lock tells."""
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        assert not sweep.ended_within(0.01), sweep.stderr()
    return int((run / ".lock").read_text().split()[1])


def process_after(number: int, sweep: Running, run: Path) -> int:
    """Wait until another process than that trains a run, and return its number."""
    while True:
        with suppress(FileNotFoundError):
            words = (run / ".lock").read_text().split()
            if words[1:2] not in ([], [str(number)]):
                return int(words[1])
        assert not sweep.ended_within(0.01), sweep.stderr()


def path_of(sweep: Running, name: str, number: int) -> Path:
    """Wait until a job has its folder, and return it."""
    while not (found := list(Path("outputs", name).glob(f"{number:04d}-*"))):
        assert not sweep.ended_within(0.01), sweep.stderr()
    return found[0]


@pytest.mark.long
def test_processes_give_the_runs_that_one_program_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    swept = (*MOONS, "optimizer.lr=0.01,0.1", "seed=range(2)", "trainer.epochs=30")
    assert command(["train", "-m", *swept, *place("together")]) == 0
    options = ("--launcher=processes", "--workers=3", "--runs-per-job=1")
    Path("t").mkdir()
    done = mlpkit("train", "-m", *swept, *place("apart"), *options, cwd=tmp_path, TMPDIR=str(tmp_path / "t"))
    assert not list(Path("t").glob("pymp-*"))  # of the socket
    assert done.stdout.startswith("sweep of 4 runs: 4 jobs of 1 run, 3 at a time\n")
    assert done.stderr == ""
    assert ledger("apart") == [(DONE, "")] * 4
    together, apart = runs("together"), runs("apart")
    assert [run.path.name for run in together] == [run.path.name for run in apart]
    for ours, theirs in zip(together, apart, strict=True):
        check_same(ours, theirs)
    overrides = [yaml.safe_load(run.overrides.read_text()) for run in (together[3], apart[3])]
    shared = ["trainer.epochs=30", *place("together"), "optimizer.lr=0.1", "seed=1"]
    assert overrides[0] == [*MOONS, *shared]
    assert overrides[1] == [*MOONS, *(line.replace("together", "apart") for line in shared)]


def check_same(ours: RunFolder, theirs: RunFolder) -> None:
    files = [
        sorted(str(file.relative_to(run.path)) for file in run.path.rglob("*")) for run in (ours, theirs)
    ]
    assert files[0] == files[1]
    first, second = (read_object(run.summary) for run in (ours, theirs))
    for split in ("train", "val", "test"):
        assert first[split]["accuracy"] == second[split]["accuracy"]
        assert first[split]["loss"] == pytest.approx(second[split]["loss"], abs=1e-5)
    assert first["best"]["epoch"] == second["best"]["epoch"]
    for name in ("last", "best"):
        tensors = [load(getattr(run, name)).state.tensors() for run in (ours, theirs)]
        for key, tensor in tensors[0].items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor, tensors[1][key], rtol=0, atol=1e-5)


@pytest.mark.long
def test_a_job_that_ends_badly_ends_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One diverges, one leaves its process, one has a segmentation fault, one is killed; two are well."""
    monkeypatch.chdir(tmp_path)
    Path("sitecustomize.py").write_text(LEAVES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    epochs, rates = f"5,{LONG},{LONG},{LONG},5,5", "1e+30,0.01,0.01,0.01,0.01,0.01"
    swept = ("--zip", f"trainer.epochs={epochs}", f"optimizer.lr={rates}", "seed=range(6)")
    options = ("--launcher=processes", "--workers=3", "--runs-per-job=1")
    sweep = start_fresh(tmp_path, "train", "-m", *MOONS, "optimizer=sgd", *swept, *place("s"), *options)
    ends = {1: signal.SIGALRM, 2: signal.SIGSEGV, 3: signal.SIGKILL}
    paths = {number: path_of(sweep, "s", number) for number in ends}
    first = {number: process_of(sweep, path) for number, path in paths.items()}
    for number, end in ends.items():
        os.kill(first[number], end)
    for number, end in ends.items():  # each is tried once more
        os.kill(process_after(first[number], sweep, paths[number]), end)
    assert sweep.wait() == 1
    reasons = {
        0: DIVERGED,
        1: "ended with exit code 3",
        2: "killed by SIGSEGV",
        3: "killed by SIGKILL, which the system sends where memory runs out",
    }
    folders = [run.path for run in runs("s")]
    assert ledger("s") == [*((FAILED, reasons[number]) for number in range(4)), (DONE, ""), (DONE, "")]
    each = zip(epochs.split(","), rates.split(","), strict=True)
    values = [f"trainer.epochs={of} optimizer.lr={rate} seed={seed}" for seed, (of, rate) in enumerate(each)]
    assert sweep.stderr() == "".join(
        f"mlpkit: {line}\n"
        for line in [
            *(f"{folders[number].name} ({values[number]}): {reasons[number]}" for number in range(4)),
            "4 of 6 runs failed; to try them again: mlpkit resume outputs/s",
        ]
    )

    before = {path: path.stat().st_mtime_ns for path in folders[4].rglob("*")}
    again = mlpkit("resume", "outputs/s", cwd=tmp_path, check=False)
    assert again.returncode == 1
    assert again.stdout.startswith("sweep of 6 runs (2 done before): 4 jobs of 1 run, 3 at a time")
    assert ledger("s") == [(FAILED, reasons[0]), *[(DONE, "")] * 5]
    assert before == {path: path.stat().st_mtime_ns for path in folders[4].rglob("*")}
    assert read_object(runs("s")[2].summary)["epochs"] == LONG


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_processes_save_and_end_when_the_sweep_does(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    swept = ("seed=range(3)", "trainer.epochs=100000", "trainer.checkpoint_every=100000")
    options = ("--launcher=processes", "--workers=2", "--runs-per-job=1")
    sweep = start_fresh(tmp_path, "train", "-m", *WIDE, *swept, *place("s"), *options)
    jobs = [process_of(sweep, path_of(sweep, "s", job)) for job in (0, 1)]
    servers = {int(Path(f"/proc/{job}/stat").read_text().rpartition(")")[2].split()[1]) for job in jobs}
    assert [len(list(Path(f"/proc/{server}/task").iterdir())) for server in servers] == [1]
    ends = [os.pidfd_open(job) for job in [*jobs, *servers]]
    sweep.send(number)
    assert sweep.wait() == 128 + number
    for end in ends:
        assert select.select([end], [], [], 60)[0], "a process goes on"
        os.close(end)
    if number == signal.SIGTERM:
        way_on = "to go on: mlpkit resume outputs/s"
        assert sweep.stderr() == f"mlpkit: interrupted: 0 of 3 runs are done; {way_on}\n"
    else:
        assert sweep.stderr() == ""
    first, second = runs("s")
    for run in (first, second):
        assert read_object(run.environment)["threads"] == max(1, cores() // 2)
        assert "  threads: auto\n" in run.config.read_text()
        assert read_object(run.summary)["status"] == "interrupted"
        assert load(run.last).state.progress.epoch > 0
        assert not run.lock.exists()
    assert ledger("s") == [("waiting", "")] * 3


@pytest.mark.long
def test_slurm_trains_each_run_in_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With submitit's own stand-in for Slurm, which runs the jobs on this machine."""
    monkeypatch.chdir(tmp_path)
    swept = (*MOONS, "optimizer=sgd", "optimizer.lr=0.01,1e+30", "trainer.epochs=3")
    assert command(["train", "-m", *swept, *place("together")]) == 1
    capsys.readouterr()
    options = ("--launcher=slurm", "--slurm=cluster=local", "--slurm=partition=gpu", "--workers=2")
    assert command(["train", "-m", *swept, *place("slurm"), *options]) == 1
    printed, said = capsys.readouterr()
    assert printed.startswith("sweep of 2 runs: 2 jobs of 1 run, 2 at a time\n")
    ours, (well, diverged) = runs("together"), runs("slurm")
    check_same(ours[0], well)
    assert ledger("slurm") == [(DONE, ""), (FAILED, DIVERGED)]
    assert said == (
        f"mlpkit: {diverged.path.name} (optimizer.lr=1e+30): {DIVERGED}\n"
        "mlpkit: 1 of 2 runs failed; to try them again: mlpkit resume outputs/slurm\n"
    )


@pytest.mark.long
def test_a_search_gives_its_trials_to_the_same_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of equal size give equal bits, so that the sampler draws the same trials."""
    monkeypatch.chdir(tmp_path)
    searched = (*MOONS, "optimizer.lr=interval(0.001,0.1)", "trainer.epochs=20")
    options = ("--search=random", "--trials=8", "--batch=4", "--runs-per-job=2")
    assert command(["train", "-m", *searched, *place("together"), *options]) == 0
    mlpkit("train", "-m", *searched, *place("apart"), *options, "--launcher=processes", cwd=tmp_path)
    assert ledger("apart") == [(DONE, "")] * 8
    scored = list[Any]()
    for ours, theirs in zip(runs("together"), runs("apart"), strict=True):
        first, second = (read_object(run.summary) for run in (ours, theirs))
        assert (first["val"], first["best"]) == (second["val"], second["best"])
        scored += [second["best"][split] for split in ("test",) if split in second["best"]]
    assert len(scored) == 1  # the winner
    mlpkit("resume", "outputs/apart", "--trials=10", cwd=tmp_path)
    assert read_object(Path("outputs/apart/launcher.json"))["name"] == "processes"
    assert len(runs("apart")) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--launcher=loky",), "--launcher=loky: must be dask, processes, ray, slurm or vectorized"),
        (("--workers=2",), "--workers=2: only for --launcher=dask, processes, ray or slurm"),
        (("--runs-per-job=0",), "--runs-per-job=0: must be auto, or a number from 1 on"),
        (("--address=tcp://a:1",), "--address=tcp://a:1: only for --launcher=dask or ray"),
        (("--slurm=partition=gpu",), "--slurm=partition=gpu: only for --launcher=slurm"),
        (
            ("--launcher=slurm", "--slurm=partition"),
            "--slurm=partition: must be KEY=VALUE, as in --slurm partition=gpu",
        ),
        (
            ("--launcher=slurm", "--slurm=cluster=local", "--slurm=cpus_per_task=many"),
            "--slurm=cpus_per_task=many: must be a whole number from 1 on",
        ),
        *(
            (("--launcher=slurm", f"--slurm={wrong}"), f"--slurm={wrong}: must be {rule}")
            for wrong, rule in {
                "timeout_min=0": "a whole number from 1 on",
                "timeout_min=true": "a whole number from 1 on",
                "timeout_min=2.5": "a whole number from 1 on",
                "gpus_per_node=-1": "a whole number from 0 on",
                "mem_gb=nan": "a number above 0",
            }.items()
        ),
        (
            ("--launcher=slurm", "--slurm=cluster=local", "--workers=1", "--slurm=array_parallelism=2"),
            "--workers=1: --slurm=array_parallelism limits the jobs too; leave out one",
        ),
        (("--launcher=slurm", "--slurm=cluster=loca"), "--slurm=cluster=loca: must be slurm or local"),
        (
            ("--launcher=slurm", "--slurm=cluster=local", "--slurm=mem-per-cpu=4G"),
            "--slurm=mem-per-cpu: no such setting; did you mean mem_per_cpu?",
        ),
        (("--launcher=slurm", "--slurm=nodes=2"), "--slurm=nodes=2: each run is one task of one node"),
        (
            ("--launcher=slurm",),
            "--launcher=slurm: Could not detect \"srun\", are you indeed on a slurm cluster?; "
            "--launcher=processes needs no Slurm",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_launched_is_refused(
    options: tuple[str, ...], message: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))  # without a Slurm that may be installed
    assert refused("train", "-m", *MOONS, "seed=0,1", *options, code=2) == message


def test_a_folder_whose_name_is_a_pattern_of_slurms_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its files would go elsewhere: %j becomes the job's number."""
    monkeypatch.chdir(tmp_path)
    options = ("--launcher=slurm", "--slurm=cluster=local", "run.dir=outputs/100%job")
    assert command(["train", "-m", *MOONS, "seed=0,1", *options]) == 2
    assert capsys.readouterr().err == (
        f"mlpkit: --launcher=slurm: {tmp_path}/outputs/100%job: Slurm takes % for a pattern; set run.root\n"
    )
    assert not list(Path("outputs/100%job").iterdir())


@pytest.mark.long
def test_ctrl_c_while_the_first_process_starts(tmp_path: Path) -> None:
    """The terminal sends it to all processes, also to the server that imports torch for the jobs."""
    arguments = ("train", "-m", *MOONS, f"trainer.epochs={LONG}", "seed=range(4)", "run.dir=sweep")
    sweep = subprocess.Popen(
        [sys.executable, "-m", "mlpkit", *arguments, "--launcher=processes", "--workers=2"],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert sweep.stdout is not None
    assert sweep.stdout.readline().startswith("sweep of 4 runs: ")
    os.killpg(sweep.pid, signal.SIGINT)
    printed, errors = sweep.communicate(timeout=LIMIT)
    assert sweep.returncode == 130
    assert errors == "mlpkit: interrupted: 0 of 4 runs are done; to go on: mlpkit resume sweep\n"
    assert "failed" not in printed


@pytest.mark.long
def test_a_missing_submitit_is_named(tmp_path: Path) -> None:
    (tmp_path / "submitit.py").write_text("raise ModuleNotFoundError(name='submitit')\n")
    arguments = ("train", "-m", *MOONS, "seed=0,1", "--launcher=slurm")
    done = mlpkit(*arguments, cwd=tmp_path, check=False, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (
        2,
        "mlpkit: --launcher=slurm: needs submitit; pip install 'mlpkit[slurm]'\n",
    )


def test_commands_before_a_slurm_job_may_be_several() -> None:
    assert read(["setup=module load cuda", "setup=ulimit -n 4096", "partition=gpu"]) == {
        "slurm_setup": ["module load cuda", "ulimit -n 4096"],
        "slurm_partition": "gpu",
    }


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_signal_that_comes_as_workers_are_opened_counts(when: str, tmp_path: Path) -> None:
    stop = StopRequest()

    class Opened(ProcessesLauncher):
        def open(self, folder: Path, runs: int) -> Workers:
            stop.request(signal.SIGTERM)
            return super().open(folder, runs)

    if when == "before":
        stop.request(signal.SIGTERM)
    with (
        JobLauncher(Opened(name="processes")) as launcher,
        pytest.raises(RunInterruptedError, match="interrupted"),
    ):
        launcher.open(tmp_path, 2, stop)


class Unreadable:
    def __reduce__(self) -> tuple[object, ...]:
        return Path, ("a", "parcel", {"of": "another Python"})


def test_a_parcel_that_cannot_be_read_is_refused() -> None:
    refused = train_job(pickle.loads(pickle.dumps(Parcel(Unreadable())))).refused
    assert isinstance(refused, MlpkitError) and str(refused)
