"""What predict says of answers that are no numbers, and that a program gets csv whatever the colours."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Refused

from mlpkit.cli.main import run as command
from mlpkit.folders import checkpoint


def forged(run: Path, path: Path, value: float) -> Path:
    """Write a run's checkpoint with all weights the same."""
    stored = checkpoint.load(run / "checkpoints" / "last.safetensors", checkpoint.KINDS)
    model = {name: torch.full_like(tensor, value) for name, tensor in stored.state.model.items()}
    checkpoint.save(path, replace(stored, state=replace(stored.state, model=model)))
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "npz"])
def test_an_answer_that_is_no_number_is_refused(
    ending: str, trained: dict[str, Path], tmp_path: Path, refused: Refused
) -> None:
    """The sums of inputs that are themselves finite overflow: a class would be a guess."""
    problem = (
        "the prediction is not a finite number, since the inputs are too large for the model; correct or "
        "remove "
        "the row"
    )
    output = ("--output", f"out.{ending}")
    line = forged(trained["line"], tmp_path / "line.safetensors", 10.0)
    Path("in.csv").write_text("x\n1\n3e38\n")
    said = refused("predict", str(line), "--input", "in.csv", *output, code=65)
    assert said == f"in.csv: row 2: {problem}"
    assert refused("predict", str(line), "--values", "-3e38", code=65) == f"--values: row 1: {problem}"
    assert command(["predict", str(line), "--values", "1e30"]) == 0


def test_a_model_of_nan_writes_valid_json(
    trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, answer in (("line", {"y": None}), ("moons", {"p(upper)": None, "p(lower)": None})):
        path = forged(trained[name], tmp_path / f"{name}.safetensors", float("nan"))
        values = "1" if name == "line" else "1,2"
        output = tmp_path / "out.jsonl"
        assert command(["predict", str(path), "--values", values, "--output", str(output)]) == 0
        row = json.loads(output.read_text(), parse_constant=lambda text: pytest.fail(text))
        assert {key: row[key] for key in answer} == answer
        assert command(["evaluate", str(path)]) == 0
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 2 and len(set(said)) == 1
        assert said[0].endswith(" holds values that are not finite; the predictions mean nothing")
    assert command(["evaluate", str(tmp_path / "line.safetensors")]) == 0
    assert capsys.readouterr().out.endswith("\n20 of 20 predictions are not finite numbers\n")


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_colours_do_not_make_a_terminal_of_a_pipe(
    variable: str,
    trained: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["predict", str(trained["moons"]), "--split", "train"]
    assert command(arguments) == 0
    plain = capsys.readouterr().out
    assert len(plain.splitlines()) == 1 + 300
    monkeypatch.setenv(variable, "1")
    assert command(arguments) == 0
    assert capsys.readouterr().out == plain
    small = ("trainer.epochs=2", "run.plots=false", "run.tensorboard=false", f"run.root={tmp_path}")
    assert command(["train", "dataset=line", "model=linear", *small]) == 0
    assert command(["train", "-m", "dataset=line", "model=linear", *small, "seed=0,1"]) == 0
    printed = capsys.readouterr().out
    assert "━" not in printed and printed.count("epoch 1/2") == 1
