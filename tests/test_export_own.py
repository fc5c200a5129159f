"""Exports of models and activations of the user's own."""

from pathlib import Path

import pytest
from cases import rest_long
from conftest import Forget, Refused
from exporting import OWN, QUICK, export

from mlpkit.cli.main import run as command

PLAIN = ("python", "state_dict", "c", "onnx")
HELD = "which only --format=torch can hold"


def train(root: Path, *model: str) -> tuple[str, ...]:
    """Train on the moons with a plug-in; return RUN and --plugin."""
    (root / "own.py").write_text(OWN)
    plugin = ("--plugin", str(root / "own.py"))
    place = (f"run.dir={root / 'run'}", "run.progress=none")
    assert command(["train", "dataset=moons", *model, *QUICK, *place, *plugin]) == 0
    return (str(root / "run"), *plugin)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("model", "why"),
    [
        (("model=wide",), "model=wide has a layer Softsign()"),
        (("model=leaky",), "model=leaky has a layer LeakyReLU(negative_slope=0.2)"),
        (("model=forward",), "model=forward is code of your own"),
        (
            ("model=mlp", "model.hidden=[4]", "model.activation=cubic"),
            "model.activation=cubic is code of your own",
        ),
    ],
)
def test_what_has_no_step_is_refused_but_for_torch(
    model: tuple[str, ...],
    why: str,
    own: Forget,
    tmp_path_factory: pytest.TempPathFactory,
    refused: Refused,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = train(tmp_path_factory.mktemp("own"), *model)
    capsys.readouterr()
    for format_ in PLAIN:
        said = refused("export", *arguments, "--format", format_, "--output", "o", code=2)
        assert said == f"--format={format_}: {why}, {HELD}"
    said = (
        refused("export", *arguments, "--format", "sklearn", "--output", "o", code=2)
        if "=mlp" not in model[0]
        else ""
    )
    assert "=mlp" in model[0] or said.endswith("; use --format=torch")


@pytest.mark.long
@pytest.mark.parametrize(
    "format_", rest_long([*PLAIN, "torch"], lambda name: name not in ("torch", "state_dict"))
)
def test_a_module_of_plain_layers(
    format_: str, own: Forget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(format_, tmp_path / "out", *train(tmp_path, "model=tall"))
