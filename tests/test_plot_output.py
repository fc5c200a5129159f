"""`mlpkit plot`: one picture to a file, in a paper's style; pictures of older weights beside the run's."""

import itertools
import re
from pathlib import Path

import pytest
from cases import rest_long
from PIL import Image
from running import train

from mlpkit.cli.main import run as command
from mlpkit.folders.run_folder import RunFolder

SMALL = ("run.loggers=[]", "trainer.epochs=6")


@pytest.fixture(scope="module")
def moons(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with pictures, and with checkpoints of several epochs; its best epoch is not the last."""
    root = tmp_path_factory.mktemp("moons")
    often = ("trainer.checkpoint_every=2", "trainer.keep_last=9", "trainer.monitor=accuracy")
    settings = ("model.hidden=[4]", "optimizer=sgd", "optimizer.lr=30", "seed=1")
    folder = train(root, "dataset=moons", "model=mlp", *settings, *often, *SMALL)
    assert folder.plots.is_dir()
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    ("picture", "ending"),
    rest_long(
        itertools.product(("curves", "boundary", "confusion", "probabilities"), (".png", ".pdf", ".svg")),
        lambda case: case in (("curves", ".svg"), ("confusion", ".pdf"), ("boundary", ".png")),
    ),
)
def test_a_picture_for_a_paper(
    picture: str, ending: str, moons: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as wide as asked for, and the same file each time."""
    monkeypatch.chdir(tmp_path)
    how = ("--picture", picture, "--style", "paper", "--width", "8.5")
    for name in ("a", "b"):
        assert command(["plot", str(moons.path), *how, "--output", f"{name}{ending}"]) == 0
    content = Path(f"a{ending}").read_bytes()
    assert content == Path(f"b{ending}").read_bytes()
    if ending == ".png":
        with Image.open("a.png") as image:
            assert image.width == pytest.approx(8.5 / 2.54 * 300, abs=1)
        return
    if ending == ".pdf":
        box = re.search(rb"/MediaBox \[ ?0 0 ([0-9.]+)", content)
        assert b"/Subtype /Type3" not in content
    else:
        box = re.search(rb'<svg [^>]*width="([0-9.]+)pt"', content)
    assert box is not None
    assert float(box[1]) == pytest.approx(8.5 / 2.54 * 72, abs=0.1)


@pytest.mark.long
def test_older_weights_leave_the_pictures_of_the_run_alone(
    moons: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.read_bytes() for path in moons.plots.glob("*.png")}
    for arguments, folder in (
        ([str(moons.path), "--checkpoint", "last"], "epoch-6"),
        ([str(moons.at_step(4))], "epoch-4"),
    ):
        assert command(["plot", *arguments]) == 0
        drawn = [Path(line) for line in capsys.readouterr().out.split()]
        assert {path.parent for path in drawn} == {moons.plots / folder}
        assert {path.name for path in drawn} == set(before)
    assert command(["plot", str(moons.path), "--picture", "boundary"]) == 0
    assert capsys.readouterr().out.split() == [str(moons.plots / "boundary.png")]
    assert {path.name: path.read_bytes() for path in moons.plots.glob("*.png")} == before


@pytest.mark.long
def test_a_picture_says_whose_weights_it_shows(
    moons: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the loss and the output activation by name; in an SVG whose texts are kept as texts."""
    import matplotlib

    from mlpkit.plots import look

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(look._SETTINGS, "svg.fonttype", "none")
    assert matplotlib.rcParams["svg.fonttype"] == "path"

    def texts(*arguments: str) -> str:
        assert command(["plot", *arguments, "--output", "picture.svg"]) == 0
        return Path("picture.svg").read_text(encoding="utf-8")

    run = str(moons.path)
    boundary = texts(run, "--picture", "boundary")
    assert re.search(r"weights of epoch [1-5] \(best by val\)", boundary)
    assert "probability of lower (sigmoid)" in boundary
    assert "weights of epoch 6 (the last)" in texts(run, "--picture", "boundary", "--checkpoint", "last")
    older = texts(str(moons.at_step(4)), "--picture", "confusion")
    assert "weights of epoch 4  " in older
    curves = texts(run, "--picture", "curves")
    assert "binary cross-entropy" in curves
    assert "weights of" not in curves


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--output", "a.pdf"],
            "--output: takes one picture; add --picture, one of curves, boundary, confusion, ",
        ),
        (["--output", "a.bmp"], "--output=a.bmp: the ending must be one of .png, .pdf, .svg"),
        (["--picture", "boundry"], "--picture=boundry: must be one of curves, boundary, confusion, "),
        (
            ["--style", "paper"],
            "--width and --style: need --output FILE; the run's own pictures keep their look",
        ),
        (["--width", "9"], "--width and --style: need --output FILE; the run's own pictures keep their look"),
        (
            ["--picture", "boundary", "--output", "a.png", "--width", "4"],
            "--width: too narrow for this picture; choose a larger one",
        ),
        (["--style", "poster", "--output", "a.pdf"], "--style=poster: must be screen or paper"),
    ],
)
def test_wrong_options_are_one_line(
    arguments: list[str],
    line: str,
    moons: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["plot", str(moons.path), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mlpkit: {line}")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
