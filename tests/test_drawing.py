"""A picture fails no run: the user's settings of matplotlib do not count, and all else is a warning."""

import json
import os
from pathlib import Path

import pytest
from running import mlpkit

from mlpkit.cli.main import run as command
from mlpkit.plots import pictures, style

MOONS = ("dataset=moons", "model=mlp", "trainer.epochs=2", "run.tensorboard=false", "run.progress=none")


@pytest.mark.long
def test_settings_of_matplotlib_and_a_home_that_cannot_be_written_to(tmp_path: Path) -> None:
    """Jupyter sets MPLBACKEND for whatever is started in a notebook, to a backend that only it can load."""
    (tmp_path / "temporary").mkdir()
    odd = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "HOME": os.devnull,
        "XDG_CONFIG_HOME": os.devnull,
        "XDG_CACHE_HOME": os.devnull,
        "MPLCONFIGDIR": "/dev/null/matplotlib",
        "TMPDIR": str(tmp_path / "temporary"),
    }
    done = mlpkit("train", *MOONS, "run.dir=outputs/run", cwd=tmp_path, check=False, **odd)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list(tmp_path.glob("outputs/run/plots/*.png"))) == 4
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n")
    for arguments in (("compare", "outputs/run", "--plot"), ("data", "a.csv", "--plot", "a.png")):
        done = mlpkit(*arguments, cwd=tmp_path, check=False, **odd)
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "outputs/plots/curves.png").exists() and (tmp_path / "a.png").exists()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.long
def test_a_picture_that_fails_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no font\nhere")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "draw_boundary", fail)
    warning = "warning: outputs/run/plots/boundary.png cannot be drawn (RuntimeError: no font here)\n"
    assert command(["train", *MOONS, "run.dir=outputs/run"]) == 0
    assert capsys.readouterr() == ("", warning)
    assert warning in Path("outputs/run/train.log").read_text()
    assert json.loads(Path("outputs/run/summary.json").read_text())["status"] == "done"
    for arguments in (["resume", "outputs/run", "trainer.epochs=3"], ["plot", "outputs/run"]):
        assert command(arguments) == 0
        assert capsys.readouterr().err == warning
        drawn = {path.stem for path in Path("outputs/run/plots").iterdir()}
        assert drawn == {"curves", "confusion", "probabilities"}


def test_no_picture_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("broken")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(style, "applied", fail)
    warning = "warning: pictures cannot be drawn (ValueError: broken)\n"
    assert command(["train", *MOONS, "run.dir=outputs/run"]) == 0
    assert capsys.readouterr().err == warning
    assert command(["plot", "outputs/run"]) == 74
    said = "mlpkit: outputs/run/plots: no picture could be drawn; the warnings say why\n"
    assert capsys.readouterr().err == warning + said
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(style, "render", fail)
    assert command(["compare", "outputs/run", "--plot"]) == 0
    assert (
        capsys.readouterr().err == "warning: outputs/plots/curves.png cannot be drawn (ValueError: broken)\n"
    )
