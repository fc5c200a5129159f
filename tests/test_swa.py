"""trainer.swa averages the weights of the last epochs as torch's AveragedModel does, and uses the mean."""

import json

import pytest
import running
import torch
from conftest import Refused
from engines import KINDS, Kind, engine_of, evaluated, network_of
from running import content
from torch.optim.swa_utils import AveragedModel

from mlpkit.cli.main import run as command
from mlpkit.config.run import TrainerConfig
from mlpkit.engines.averaging import averaging_of
from mlpkit.errors import ConfigError

SMALL = ("dataset=moons", "dataset.n=80", "model=mlp", "model.hidden=[5]", "optimizer.lr=0.1")
BATCHES = ("trainer.batch_size=16", "trainer.epochs=8")


@pytest.mark.parametrize(
    ("kind", "swa", "before"),
    [(KINDS[0], "4", 3), *((KINDS[1], *each) for each in (("0.5", 4), ("0.99", 7), ("8", 7), ("1", 0)))],
)
def test_it_is_the_averaged_model_of_torch(kind: Kind, swa: str, before: int) -> None:
    """Of the weights at the end of each epoch, from one on; until then the weights themselves are used."""
    engine = engine_of(kind, *SMALL, *BATCHES, f"trainer.swa={swa}", "trainer.precision=float64")
    network, expected = network_of(engine), None
    for epoch in range(8):
        for index, rows in enumerate(engine.rows_of_steps(epoch, 0)):
            step = epoch * engine.steps.per_epoch + index
            engine.step(rows, [0.1], epoch, step, measure=False)
        engine.collect()
        if epoch == before:
            expected = AveragedModel(network.layers)
        if expected is not None:
            expected.update_parameters(network.layers)
        layers = network.layers if expected is None else expected.module
        state = engine.state(0)
        for name, values in layers.named_parameters():
            torch.testing.assert_close(state["model"][f"layers.{name}"], values.detach(), rtol=0, atol=1e-12)
        for name, values in network.state_dict().items():
            assert torch.equal(state["raw"][name], values)
        split = engine.experiments[0].dataset.splits["val"]
        with torch.no_grad():
            outputs = layers(network.scaling(split.inputs.double()))[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs, split.targets.double())
        assert evaluated(engine, "val")["loss"] == pytest.approx(float(loss), rel=1e-9)


def test_within_an_epoch_averages_stay() -> None:
    trainer = TrainerConfig(epochs=4, batch_size=5, swa=2)
    share = averaging_of(trainer, 3)
    assert share is not None
    found = [share(step // 3, step) for step in range(12)]
    assert found == [1, 1, 1, 1, 1, 1, 0, 0, 1 / 2, 0, 0, 1 / 3]
    assert averaging_of(TrainerConfig(), 3) is None


def test_a_stopped_run_resumes_to_the_bit(tmp_path, monkeypatch) -> None:
    """In the middle of an epoch whose weights will be averaged."""
    chosen = (*SMALL, *BATCHES, "trainer.swa=3", "run.loggers=[]", "run.plots=false")
    whole = running.train(tmp_path, *chosen, "trainer.checkpoint_every=10steps", "trainer.keep_last=9")
    expected = content(whole.last)
    assert {name.split("/")[0] for name in expected["tensors"]} >= {"raw", "model"}
    monkeypatch.chdir(tmp_path)
    assert command(["resume", str(whole.at_step(10))]) == 0
    assert content(whole.last) == expected


def test_runs_trained_together_are_those_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = [*SMALL, *BATCHES, "trainer.swa=0.5", "run.loggers=[]", "run.plots=false"]
    assert command(["train", "-m", *chosen, "seed=0,1", "run.root=swept"]) == 0
    paths = list((tmp_path / "swept").glob("**/summary.json"))
    assert len(paths) == 2
    for path in paths:
        seed = int(content(path.parent / "checkpoints" / "last.safetensors")["about"][0]["seed"])
        alone = running.train(tmp_path / f"alone{seed}", *chosen, f"seed={seed}").summary
        found, expected = (json.loads(summary.read_text())["val"] for summary in (path, alone))
        assert found == pytest.approx(expected, rel=1e-4)


REFUSED = {
    ("trainer.swa=3", "model.norm=batch"): (
        "trainer.swa=3: averaged weights have other means and variances than a batch norm has kept; "
        "set model.norm=layer, or take trainer.ema"
    ),
    ("trainer.swa=3", "trainer.ema=0.9"): "trainer: swa=3 and ema=0.9: choose one of the averages",
    ("trainer.swa=9",): "trainer: swa=9 is after the last of 8 epochs; choose a lower one",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_cannot_be_averaged(overrides, refused: Refused) -> None:
    said = refused("train", *SMALL, *BATCHES, *overrides, code=ConfigError.exit_code)
    assert said == REFUSED[overrides]
