"""`inspect --weights` prints small networks layer by layer; the loss and the epoch are named."""

import re
from pathlib import Path

import pytest
from conftest import Lines
from running import train

from mlpkit.cli.main import run as command
from mlpkit.folders import checkpoint

SMALL = ("trainer.epochs=2", "run.plots=false", "run.loggers=[]")


@pytest.mark.parametrize(
    ("overrides", "headings"),
    [
        (
            ("dataset=moons", "model=mlp", "model.hidden=[7]", "model.norm=layer"),
            [
                "layers.0 Linear unit 1 unit 2 unit 3 unit 4 unit 5 unit 6",
                "layers.0 Linear unit 7",
                "layers.1 LayerNorm weight bias",
                "layers.3 Linear moon",
            ],
        ),
        (
            ("dataset=iris", "model=logistic"),
            ["layers.0 Linear setosa versicolor virginica"],
        ),
        (
            ("dataset=line", "dataset.standardize=true", "model=mlp", "model.hidden=[2]", "model.bias=false"),
            [
                "scaling Scaling mean std",
                "layers.0 Linear unit 1 unit 2",
                "layers.2 Linear y",
                "unscaling Unscaling mean std",
            ],
        ),
    ],
    ids=["moons", "iris", "line"],
)
def test_all_weights_by_layer(
    overrides: tuple[str, ...], headings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(tmp_path, *overrides, *SMALL)
    capsys.readouterr()
    assert command(["inspect", str(folder.path), "--weights", "--checkpoint", "last"]) == 0
    text = capsys.readouterr().out.split("\nscores (last, epoch 2)")[0]
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert [line for line in lines if line in headings] == headings
    assert lines.index("trainer:") < lines.index(headings[0])  # the config stands before the weights
    state = checkpoint.load(folder.last).state.model
    first_row = lines[next(lines.index(name) for name in headings if name.startswith("layers.0")) + 1]
    shown = [float(part) for part in first_row.split()[-2:]]
    of_column = state["layers.0.weight"][:, 0].tolist()
    assert shown == pytest.approx(of_column[:6][-2:], abs=1e-6)
    numbers = re.findall(r"(?<= )-?\d+\.\d{4,}(?:e[-+]\d+)?", text)
    assert len(numbers) == sum(tensor.numel() for tensor in state.values())


def test_a_large_network_is_refused_with_the_way_out(
    trained: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert command(["inspect", str(trained["moons"]), "--weights"]) == 2
    assert capsys.readouterr().err == (
        "mlpkit: --weights: the model has 4,417 parameters, and up to 1,000 are printed; mlpkit export "
        "--format state_dict writes them all\n"
    )


def test_loss_and_epoch_are_named(lines: Lines) -> None:
    inspected = lines("inspect", "outputs/one/done")
    assert "loss: binary cross-entropy on a sigmoid" in inspected
    assert any(re.match(r"scores \(best, epoch [123]\) ", line) for line in inspected)
    evaluated = lines("evaluate", "outputs/one/done", "--split", "val", "--checkpoint", "last")
    assert evaluated[0].startswith("last, epoch 3, 100 rows ")
    assert "loss: binary cross-entropy on a sigmoid" in evaluated
    log = Path("outputs/one/done/train.log").read_text()
    assert "mlp: 17 parameters; loss: binary cross-entropy on a sigmoid\n" in log
