"""`mlpkit export`: what it checks, what it writes beside the file, and what it refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import running
import tables
import torch
from conftest import Refused
from exporting import MLP, QUICK, Models, export

from mlpkit.cli.main import run as command
from mlpkit.deploy import format as formats
from mlpkit.deploy.format_modules import MODULES
from mlpkit.deploy.portable import Portable, Step
from mlpkit.deploy.python_file import PythonFormat
from mlpkit.folders import checkpoint

SLOWER = ("state_dict", "torch", "sklearn")
OLDER = Path(__file__).with_name("format-3.safetensors")


def test_each_format_has_its_module() -> None:
    for name in MODULES:
        assert isinstance(formats.format_of(name), formats.Format)


@pytest.mark.parametrize("wrong", ["weight", "bias", "mean"])
def test_an_export_that_predicts_something_else_is_not_kept(
    wrong: str,
    models: Models,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The check finds one number of the file that is one in a thousand too large."""
    run = models.run("relu activation")
    capsys.readouterr()
    whole = Step.to_json

    def changed(step: Step) -> dict[str, Any]:
        if wrong not in step.arrays or (step.kind == "linear" and step.arrays["bias"].size == 1):
            return whole(step)
        array = step.arrays[wrong].copy()
        array.flat[int(np.abs(array).argmax())] *= 1.01
        return whole(Step(step.kind, {**step.arrays, wrong: array}, step.name, step.eps))

    monkeypatch.setattr(Step, "to_json", changed)
    said = refused("export", str(run), "--format", "python", "--output", "out", code=65)
    assert "the export gives [" in said and "more than rounding" in said
    assert said.endswith("; nothing was written")


def test_a_label_that_differs_is_found(
    models: Models,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = Portable.to_json
    monkeypatch.setattr(
        Portable, "to_json", lambda model, members=True: {**whole(model, members), "threshold": 0.6}
    )
    run = str(models.run("binary"))
    capsys.readouterr()
    said = refused("export", run, "--format", "python", "--output", "out", code=65)
    assert "the export gives the label 0, mlpkit 1; nothing was written" in said


def test_an_export_that_does_not_run_is_not_kept(
    models: Models, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PythonFormat.write

    def broken(self: PythonFormat, source: formats.Source, folder: Path) -> dict[str, Any]:
        about = whole(self, source, folder)
        with (folder / "model.py").open("a") as file:
            file.write("import mlpkit\n")
        return about

    monkeypatch.setattr(PythonFormat, "write", broken)
    said = refused("export", str(models.run("line")), "--format", "python", "--output", "out", code=65)
    assert said.startswith("--format=python: model: the exported model does not run in a fresh Python: ")


def test_manifest_and_card(models: Models, capsys: pytest.CaptureFixture[str]) -> None:
    """In the run's own folder, as a second export replaces the first."""
    run = models.run("binary")
    for _ in range(2):
        assert command(["export", str(run), "--format", "python"]) == 0
    folder = run / "export" / "python"
    assert {path.name for path in folder.iterdir()} == {"model.py", "manifest.json", "MODEL_CARD.md"}
    assert not list(folder.parent.glob(".*"))
    assert capsys.readouterr().out.splitlines()[-4].startswith("checked with 248 rows: largest difference ")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["format"] == "python" and manifest["threshold"] == 0.5
    assert manifest["checkpoints"][0]["sha256"] == formats_sha256(run / "checkpoints/best.safetensors")
    assert [column["name"] for column in manifest["inputs"]][:2] == ["age", "city"]
    assert manifest["inputs"][1] == {
        "name": "city",
        "kind": "category",
        "levels": ["Oslo", "Paris", "Rome"],
        "refuses": [],
    }
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    summary = json.loads((run / "summary.json").read_text())
    assert "Rows: 144 train, 48 val, 48 test." in card
    assert f"| {summary['best']['test']['accuracy']:.4f} |" in card
    assert "| majority on test |" in card and "95 % intervals on test, of the best weights: " in card
    assert "| city | category | Oslo, Paris, Rome | flagged |" in card
    assert [line for line in card.splitlines() if line.startswith("## ")] == [
        f"## {title}" for title in ("Data", "Scores", "Limits", "Config", "Environment")
    ]


def formats_sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "format_", ["python", "c", "onnx", *(pytest.param(f, marks=pytest.mark.long) for f in SLOWER)]
)
def test_a_checkpoint_of_an_older_format(
    format_: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(format_, tmp_path / "out", OLDER)


def test_without_the_data_made_rows_check_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tables.write_csv(tmp_path / "c.csv", tables.customers(60))
    run = running.train(tmp_path, *tables.of(path), "model=logistic", *QUICK).path
    path.unlink()
    manifest = export("python", tmp_path / "out", run)
    assert manifest["check"]["rows"] == 200
    assert capsys.readouterr().err.splitlines() == [
        f"{path}: no such file; check the path; the export is checked with made rows alone"
    ]
    assert "The data was not there" in (tmp_path / "out/MODEL_CARD.md").read_text(encoding="utf-8")


def test_several_runs_are_an_ensemble(
    models: Models, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    first = models.run("relu activation")
    settings = ("dataset=moons", *MLP, "dataset.standardize=true", *QUICK, "seed=1")
    other = running.train(models.root, *settings).path
    line = models.run("line")
    capsys.readouterr()
    said = refused("export", str(first), str(other), "--format", "c", code=2)
    assert said == "export: an ensemble of several runs has no folder of its own; give --output DIR"
    said = refused("export", str(first), str(line), "--format", "c", "--output", "o", code=2)
    assert said.startswith("--ensemble: the runs read their inputs in different ways")
    manifest = export("python", tmp_path / "out", first, other)
    assert len(manifest["checkpoints"]) == 2


def test_an_ensemble_lies_in_its_sweep(models: Models, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the commands that read sweeps do not take it for a run."""
    sweep = models.sweep()
    assert command(["export", str(sweep), "--ensemble", "--format", "python"]) == 0
    assert (sweep / "export/python/model.py").is_file()
    capsys.readouterr()
    assert command(["compare", str(sweep)]) == 0
    ranked = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("1 "))
    assert " 3 " in ranked


def test_what_is_refused(models: Models, refused: Refused) -> None:
    run = str(models.run("line"))
    all_of_them = "python, state_dict, c, onnx, torch, sklearn"
    assert refused("export", run, code=2) == f"export: give --format, one of {all_of_them}"
    said = refused("export", run, "--format", "pickle", code=2)
    assert said == f"--format=pickle: must be one of {all_of_them}"
    said = refused("export", run, "--format", "c", "--name", "a b", code=2)
    assert said == "--name=a b: must be a letter, then letters, digits and _, such as churn_model"
    for name in ("class", "json", "math", "numpy", "torch"):
        said = refused("export", run, "--format", "python", "--name", name, code=2)
        assert said.startswith(f"--name={name}: is a word or a module of Python")
    said = refused("export", run, "--format", "python", "--output", "a/b", code=2)
    assert said == "--output=a/b: its folder does not exist; make it first"
    said = refused("export", run, "--format", "python", "--threshold", "0.3", code=2)
    assert said == "--threshold=0.3: only for two classes or labels, the task is regression; leave it out"
    inside = Path(run) / "checkpoints" / "out"
    said = refused("export", run, "--format", "python", "--output", str(inside), code=2)
    assert said == f"--output={inside}: belongs to {run}; choose another name"
    said = refused("export", str(OLDER), "--format", "python", code=2)
    assert said == f"export: {OLDER} is not in a run folder; give --output DIR"
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    said = refused("export", run, "--format", "python", "--output", "mine", code=2)
    assert said == "--output=mine: holds files that are no export; choose another name"


def test_a_link_in_a_foreign_run_is_not_followed(
    tmp_path_factory: pytest.TempPathFactory, refused: Refused, models: Models
) -> None:
    run, elsewhere = tmp_path_factory.mktemp("foreign") / "run", tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(models.run("line"), run, ignore=shutil.ignore_patterns("export"))
    (run / "export").symlink_to(elsewhere)
    said = refused("export", str(run), "--format", "python", code=65)
    assert said == f"{run / 'export'}: may lead out of the run; put a folder of its own there"
    assert not list(elsewhere.iterdir())


@pytest.mark.sampled(3)
@pytest.mark.parametrize("content", ["[]", "{}", '{"best": [], "final": 3}', '{"final": {"split": []}}'])
def test_a_damaged_summary_does_not_matter(content: str, models: Models, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(models.run("line"), run, ignore=shutil.ignore_patterns("export"))
    (run / "summary.json").write_text(content)
    export("python", tmp_path / "out", run)
    assert "has no summary of its scores" in (tmp_path / "out/MODEL_CARD.md").read_text(encoding="utf-8")


def test_a_model_without_a_finite_prediction(
    trained: dict[str, Path], tmp_path: Path, refused: Refused
) -> None:
    stored = checkpoint.load(trained["digits"] / "checkpoints" / "last.safetensors", checkpoint.KINDS)
    path = tmp_path / "digits.safetensors"
    for value, problem in (
        (3e38, "export: no row of the check has a finite prediction; train the model again"),
        (np.nan, f"{path}: layers.0.bias holds values that are not finite; train the model again"),
    ):
        model = {name: torch.full_like(tensor, value) for name, tensor in stored.state.model.items()}
        checkpoint.save(path, replace(stored, state=replace(stored.state, model=model)))
        said = refused("export", str(path), "--format", "python", "--output", "out", code=65)
        assert said == problem
