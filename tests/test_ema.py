"""Moving averages of the weights are those of torch; they are evaluated, kept as best, saved and resumed."""

import json
import signal
from pathlib import Path

import pytest
import torch
from conftest import Refused
from engines import KINDS, Kind, engine_of, evaluated, model_of, network_of
from running import config, content
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mlpkit.analysis.evaluate import evaluate
from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.data.load import load_dataset
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.training.stop import StopRequest

SMALL = ("dataset=moons", "dataset.n=80", "model.hidden=[5]", "optimizer.lr=0.3", "trainer.ema=0.9")
QUIET = ("run.loggers=[]", "run.plots=false", "run.progress=none", "trainer.batch_size=16")
RUN = RunFolder(Path("run"))


@pytest.mark.parametrize("kind", [*KINDS, "norm"])
def test_it_is_the_averaged_model_of_torch(kind: Kind | str) -> None:
    """With batch norm its running means and variances are averaged as well."""
    norm = ("model.norm=batch",) if kind == "norm" else ()
    engine = engine_of(
        AutogradGradients if isinstance(kind, str) else kind, *SMALL, "trainer.precision=float64", *norm
    )
    network = network_of(engine)
    expected = AveragedModel(network.layers, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    split = engine.experiments[0].dataset.splits["val"]
    inputs, targets = network.scaling(split.inputs.double()), split.targets.double()
    for step in range(12):
        engine.step(slice(None), [0.3], step, step, measure=False)
        engine.collect()
        expected.update_parameters(network.layers)
        state = engine.state(0)
        names = dict(expected.module.named_parameters()) | {
            name: own for name, own in expected.module.named_buffers() if own.is_floating_point()
        }
        for name, values in names.items():
            torch.testing.assert_close(state["model"][f"layers.{name}"], values.detach(), rtol=0, atol=1e-12)
        for name, values in network.state_dict().items():
            assert torch.equal(state["raw"][name], values)
        with torch.no_grad():
            outputs = expected.module.eval()(inputs)[:, 0]
        loss = F.binary_cross_entropy_with_logits(outputs, targets)
        assert evaluated(engine, "val")["loss"] == pytest.approx(float(loss), rel=1e-9)
    assert not torch.equal(state["model"]["layers.0.weight"], state["raw"]["layers.0.weight"])


def test_without_averages_nothing_is_kept_of_them() -> None:
    engine = engine_of(KINDS[1], *SMALL[:-1])
    engine.step(slice(None), [0.3], 0, 0, measure=False)
    assert engine.state(0)["raw"] == {}
    assert engine.parameters.average is None


def test_the_best_weights_are_averages() -> None:
    engine = engine_of(KINDS[1], *SMALL)
    for step in range(5):
        engine.step(slice(None), [0.3], step, step, measure=False)
    engine.save_best([True])
    averages = model_of(engine)
    engine.step(slice(None), [0.3], 5, 5, measure=False)
    best = engine.state(0)["best"]
    assert all(torch.equal(best[name], values) for name, values in averages.items())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*overrides: str, code: int = 0, folder: RunFolder = RUN) -> None:
    assert command(["train", *SMALL, *QUIET, *overrides, f"run.dir={folder.path}"]) == code


def test_scores_are_those_of_the_saved_averages(here: Path) -> None:
    """Of both checkpoints; whoever loads one has nothing but `model/`."""
    train("trainer.epochs=12")
    summary = json.loads(RUN.summary.read_text())
    last = checkpoint.load(RUN.last, checkpoint.KINDS).state
    assert last.raw.keys() == last.model.keys()
    assert not torch.equal(last.raw["layers.0.weight"], last.model["layers.0.weight"])
    assert not last.progress.best_is_now
    assert checkpoint.load(RUN.best, checkpoint.KINDS).state.raw == {}
    splits = load_dataset(config(*SMALL).dataset).splits
    for path, scores in ((RUN.last, summary), (RUN.best, summary["best"])):
        predictor, _ = load_predictor(path)
        for split in ("train", "val", "test"):
            found = evaluate(predictor, split, splits[split]).scores
            assert found == pytest.approx(scores[split], rel=1e-6)


@pytest.mark.parametrize("step", [2, 5, 8])
@pytest.mark.parametrize("settings", [("optimizer=sgd",), ("model.norm=batch", "trainer.engine=autograd")])
def test_a_run_goes_on_where_it_stopped(
    here: Path, monkeypatch: pytest.MonkeyPatch, step: int, settings: tuple[str, ...]
) -> None:
    """SGD has no other state, so that its first step is known by its number alone."""
    check, calls = StopRequest.check, iter(range(1, 10**9))

    def counted(self: StopRequest) -> None:
        if next(calls) == step:
            signal.raise_signal(signal.SIGTERM)
        check(self)

    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "check", counted)
        train(*settings, "trainer.epochs=4", code=143)
    assert command(["resume", str(RUN.path)]) == 0
    (here / "whole").mkdir()
    monkeypatch.chdir(here / "whole")
    train(*settings, "trainer.epochs=4")
    whole = RunFolder(here / "whole" / "run")
    for name in ("last", "best"):
        found, expected = (content(getattr(each, name)) for each in (RunFolder(here / "run"), whole))
        assert found == expected


def test_a_checkpoint_without_the_weights_of_the_last_step(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("trainer.epochs=2")
    stored = checkpoint.load(RUN.last, ("model", "optimizer", "epoch", "best"))
    checkpoint.save(RUN.last, stored)
    for older in RUN.older():
        older.unlink()
    capsys.readouterr()
    assert command(["resume", str(RUN.path), "trainer.epochs=3"]) == 65
    assert "the weights before averaging (trainer.ema, trainer.swa) are missing" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["1", "0", "-0.5", "'yes'"])
def test_a_decay_that_is_none(refused: Refused, value: str) -> None:
    assert refused("train", *SMALL[:-1], f"trainer.ema={value}", code=2).startswith(
        f"trainer.ema={value}: must be"
    )
