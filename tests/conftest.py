"""Fixtures that several tests share."""

import gc
import os
import shutil
import tempfile

# Two test processes that each use all cores wait for each other's threads; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Collecting tests makes a million objects that stay: to look through them again and again takes seconds.
gc.disable()
# What a run measures of the machine stays out of the user's cache.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="mlpkit-tests-")

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlpkit.cli.main import run as command
from mlpkit.config import plugins, registry

if TYPE_CHECKING:
    from exporting import Models

# What imports torch is imported by fixtures: the process that hands the tests out to others uses none.
Lines = Callable[..., list[str]]
Refused = Callable[..., str]
Forget = Callable[[], None]


@pytest.hookimpl(tryfirst=True)  # before -m selects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked `sampled(n)`, every n-th case runs in `make test`; `make faults` runs the rest."""
    cases: Counter[tuple[Path, str]] = Counter()
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled is None or item.get_closest_marker("long") is not None:
            continue
        test = (item.path, item.name.partition("[")[0])
        if cases[test] % sampled.args[0]:
            item.add_marker("long")
        cases[test] += 1


def pytest_collection_finish() -> None:
    """Let garbage be collected again, but for what was made so far."""
    gc.freeze()
    gc.enable()


DONE, FAILED, SWEEP = Path("outputs/one/done"), Path("outputs/a/failed"), Path("outputs/a/sweep")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny run of a regression, a binary and an image dataset, by the dataset's name."""
    from running import train

    root = tmp_path_factory.mktemp("trained")
    small = ("trainer.epochs=2", "run.plots=false", "run.tensorboard=false")
    models = {"line": "linear", "moons": "mlp", "digits": "logistic"}
    return {
        name: train(root, f"dataset={name}", f"model={model}", *small).path for name, model in models.items()
    }


@pytest.fixture(scope="session")
def sample_outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a failed one, and a later sweep of four runs, two of which have failed."""
    root = tmp_path_factory.mktemp("sample")
    small = (
        *("dataset=moons", "model=mlp", "model.hidden=[4]", "trainer.epochs=3", "trainer.checkpoint_every=1"),
        *("trainer.keep_last=3", "run.loggers=[]", "run.plots=false", "run.progress=none"),
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        assert command(["train", *small, f"run.dir={DONE}"]) == 0
        assert command(["train", *small, f"run.dir={FAILED}", "optimizer.lr=1e38"]) == 65
        assert command(["train", "-m", *small, f"run.dir={SWEEP}", "optimizer.lr=0.1,1e38", "seed=0,1"]) == 1
    return root


@pytest.fixture
def outputs(sample_outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sample outputs, to be changed, in the working directory."""
    shutil.copytree(sample_outputs / "outputs", tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lines(outputs: Path, capsys: pytest.CaptureFixture[str]) -> Lines:
    """Run a command beside the sample outputs; return its lines on stdout."""
    capsys.readouterr()

    def say(*arguments: str) -> list[str]:
        assert command(list(arguments)) == 0
        return capsys.readouterr().out.splitlines()

    return say


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> "Models":
    """Small trained models for the tests of exports."""
    from exporting import Models

    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forget after the test, or when called, which choices and plug-ins it has registered."""
    for group in registry.PACKAGES:
        registry.choices(group)  # which registers mlpkit's own
    kept = {group: dict(names) for group, names in registry._registered.items()}

    def forget() -> None:
        monkeypatch.setattr(registry, "_registered", {group: dict(names) for group, names in kept.items()})
        monkeypatch.setattr(plugins, "_loaded", {})

    forget()
    return forget


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command line that must fail, in an empty folder; return its lines on stderr.

    It must print nothing else and leave nothing behind. Each problem is one line.
    """
    monkeypatch.chdir(tmp_path)

    def check(*arguments: str, code: int) -> str:
        before = sorted(tmp_path.rglob("*"))
        found = command(list(arguments))
        printed, said = capsys.readouterr()
        assert (found, printed) == (code, ""), said
        assert sorted(tmp_path.rglob("*")) == before
        assert said.endswith("\n")
        lines = said.removesuffix("\n").split("\n")
        assert all(line.startswith("mlpkit: ") and line.isprintable() for line in lines)
        return "\n".join(line.removeprefix("mlpkit: ") for line in lines)

    return check
