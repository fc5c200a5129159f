"""Films: run.film records the weights while training, and `mlpkit film` shows them."""

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running import config, train
from sklearn.decomposition import PCA

from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.data.load import load_dataset
from mlpkit.engines.frames import shapes_of_frame
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders import checkpoint, film_file
from mlpkit.folders.film_file import FilmFile, read_film, spacing
from mlpkit.folders.run_folder import RunFolder
from mlpkit.models.torch_network import build_model
from mlpkit.plots.film_view import view_of
from mlpkit.plots.log_axis import needs_log

SMALL = ("run.loggers=[]", "run.plots=false")
MOONS = ("dataset=moons", "model=mlp", "model.hidden=[4]", *SMALL)


def weights_at(path: Path) -> dict[str, np.ndarray]:
    """Return the weights in a checkpoint, without the scaling's."""
    model = checkpoint.load(path).state.model
    return {name: tensor.float().numpy() for name, tensor in model.items() if name.startswith("layers.")}


def assert_frame(folder: RunFolder, epoch: int, weights: dict[str, np.ndarray]) -> None:
    film = read_film(folder.film)
    frame = film.epochs.index(epoch)
    assert film.tensors.keys() == weights.keys()
    for name, values in weights.items():
        np.testing.assert_array_equal(film.tensors[name][frame], values, err_msg=name)


def test_frames_are_the_weights_of_their_epochs(tmp_path: Path) -> None:
    """Those of the checkpoints after the same epochs, and before the first epoch the initial ones."""
    often = ("trainer.checkpoint_every=4", "trainer.keep_last=9", "trainer.epochs=10")
    folder = train(tmp_path, *MOONS, "run.film=4", *often)
    assert read_film(folder.film).epochs == [0, 4, 8]
    settings = config(*MOONS)
    network = build_model(settings, load_dataset(settings.dataset))
    first = {
        name: value.numpy() for name, value in network.state_dict().items() if name.startswith("layers.")
    }
    assert_frame(folder, 0, first)
    for epoch in (4, 8):
        assert_frame(folder, epoch, weights_at(folder.at_step(epoch)))


@pytest.mark.parametrize("more", [("model.norm=batch",), ("trainer.precision=float64",)])
def test_frames_of_norm_layers_and_of_float64(more: tuple[str, ...], tmp_path: Path) -> None:
    settings = ("trainer.batch_size=64", "trainer.epochs=2", "run.film=2")
    folder = train(tmp_path, *MOONS, *more, *settings)
    weights = weights_at(folder.last)
    assert_frame(folder, 2, {name: weights[name] for name in weights if "num_batches" not in name})


def test_a_resumed_film_is_that_of_an_uninterrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte; from an older checkpoint, and behind half a frame of a killed process."""
    monkeypatch.chdir(tmp_path)
    often = ("trainer.checkpoint_every=5", "trainer.keep_last=9", "run.film=2")
    whole = train(Path("whole"), *MOONS, *often, "trainer.epochs=14")
    parts = train(Path("parts"), *MOONS, *often, "trainer.epochs=11")
    with parts.film.open("ab") as stream:
        stream.write(b"\x0c\0\0\0\0\0\0\0half")
    assert command(["resume", str(parts.at_step(5)), "trainer.epochs=14", "run.progress=none"]) == 0
    assert parts.film.read_bytes() == whole.film.read_bytes()


def test_runs_trained_together_have_films_as_if_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where narrower networks are padded to the width of others."""
    monkeypatch.chdir(tmp_path)
    shared = ("dataset=moons", "model=mlp", *SMALL, "run.film=3", "trainer.epochs=7")
    assert (
        command(
            ["train", "-m", *shared, "run.progress=none", "model.hidden=[3],[5]", "seed=0,1", "run.dir=sweep"]
        )
        == 0
    )
    films = [read_film(path) for path in sorted(Path("sweep").glob("*/film.bin"))]
    assert [film.epochs for film in films] == [[0, 3, 6]] * 4
    widths = sorted(film.tensors["layers.0.weight"].shape for film in films)
    assert widths == [(3, 3, 2), (3, 3, 2), (3, 5, 2), (3, 5, 2)]
    for path in Path("sweep").glob("*/config.yaml"):
        settings = checkpoint.load(RunFolder(path.parent).last).config
        hidden, seed = list(settings.model.hidden), settings.seed  # type: ignore[attr-defined]
        alone = read_film(train(Path("alone"), *shared, f"model.hidden={hidden}", f"seed={seed}").film)
        for name, values in read_film(path.parent / "film.bin").tensors.items():
            np.testing.assert_allclose(values, alone.tensors[name], rtol=1e-4, atol=1e-6)


def test_a_long_film_is_thinned_out(tmp_path: Path) -> None:
    """It never has more than MOST_FRAMES, evenly spaced, and is the same if it is continued later."""
    shapes = {"w": (2, 3)}
    frame = lambda epoch: np.full(6, epoch, "<f4").tobytes()  # noqa: E731
    film = FilmFile(tmp_path / "film.bin", 1, shapes, 0)
    for epoch in range(2000):
        film.add(epoch, frame(epoch))
        film.add(epoch, frame(epoch))  # is there already
    film.flush()
    found = read_film(film.path)
    assert found.epochs == list(range(0, 2000, 8))
    assert len(found.epochs) <= film_file.MOST_FRAMES
    assert found.tensors["w"][:, 1, 2].tolist() == found.epochs
    again = FilmFile(tmp_path / "again.bin", 1, shapes, 0)
    for epoch in range(1500):
        again.add(epoch, frame(epoch))
    again.flush(to_disk=True)
    again = FilmFile(again.path, 1, shapes, 700)
    for epoch in range(701, 2000):
        again.add(epoch, frame(epoch))
    again.flush()
    assert again.path.read_bytes() == film.path.read_bytes()
    assert all(epoch // spacing(epoch, 3, 10) < 10 for epoch in range(5000))


def test_a_network_may_be_too_large_for_a_film(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^run\.film=5: a frame of this network has 64 MB, and a film at most"
    ):
        FilmFile(tmp_path / "film.bin", 5, {"w": (4000, 4000)}, 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"[" * 60_000 + b"\n",
        b'{"format": 1, "every": 1, "tensors": {"w": [2, -2]}}\n' + b"\0" * 99,
        b'{"format": 1, "every": 1, "tensors": {"w": [9999999, 9999999]}}\n',
        b'{"format": 1, "every": 1, "tensors": {"w": [1]}}\n',
        b'{"format": 1, "every": 1, "tensors": {"w": [1]}}\n' + b"\0" * 24,  # epoch 0 twice
    ],
)
def test_damaged_and_foreign_films_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match="train the run again"):
        read_film(path)


def test_of_a_film_with_too_many_frames_few_are_read(tmp_path: Path) -> None:
    path = tmp_path / "film.bin"
    frames = b"".join(epoch.to_bytes(8, "little") + bytes(4) for epoch in range(10_000))
    path.write_bytes(b'{"format": 1, "every": 1, "tensors": {"w": [1]}}\n' + frames)
    assert read_film(path).epochs == list(range(2 * film_file.MOST_FRAMES))


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with filmed runs of several kinds, and a sweep."""
    root = tmp_path_factory.mktemp("filmed")
    kinds = {
        "fit": ("dataset=line", "model=mlp", "model.hidden=[3]"),
        "values": ("dataset=sum", "model=mlp", "model.hidden=[3]"),
        "probability": ("dataset=moons", "model=mlp", "model.hidden=[3]"),
        "classes": ("dataset=iris", "model=logistic"),
    }
    for kind, settings in kinds.items():
        train(root, *settings, *SMALL, "run.film=2", "trainer.epochs=5", f"run.dir={root / kind}")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        runs = ("optimizer.lr=0.1,0.01", "seed=0,1,2", "run.dir=sweep", "run.film=2", "trainer.epochs=4")
        assert command(["train", "-m", *MOONS, "run.progress=none", *runs]) == 0
    return root


def page_of(path: Path) -> dict:
    """Return the numbers in a page."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="film">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize("kind", ["fit", "values", "probability", "classes"])
def test_a_page_shows_what_the_model_predicts(
    kind: str, filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its last frame, that of the last checkpoint: the curve, or the lowest row of the map."""
    monkeypatch.chdir(tmp_path)
    assert command(["film", str(filmed / kind), "--output", "film.html"]) == 0
    text = Path("film.html").read_text(encoding="utf-8")
    assert "http" not in re.sub(r"http-equiv", "", text)  # nothing is loaded
    assert len(text) < 5_000_000
    content = page_of(Path("film.html"))
    (scene,), (view,) = content["scenes"], content["views"]
    assert (view["kind"], scene["epochs"]) == (kind, [0, 2, 4, 5])
    assert ("principal directions" in text) is (kind == "classes")
    size, raw = scene["size"], base64.b64decode(scene["surface"])
    left, right, bottom, _ = view["extent"]
    x = np.linspace(left, right, size, dtype=np.float32)
    if kind == "classes":
        return
    inputs = torch.from_numpy(x)[:, None]
    if kind != "fit":
        inputs = torch.cat((inputs, torch.full_like(inputs, bottom)), 1)
    predictor, _ = load_predictor(RunFolder(filmed / kind).last)
    predicted = predictor.predict(inputs)
    if kind == "fit":
        shown = np.frombuffer(raw, "<f4").reshape(4, size)[3]
        np.testing.assert_allclose(shown, predicted.values[:, 0], rtol=1e-4)
        return
    row = np.frombuffer(raw, np.uint8).reshape(4, size, size)[3, 0].astype(float)
    if predicted.probabilities is not None:
        expected = predicted.probabilities[:, 1]
    else:
        low, high = view["range"]
        expected = (predicted.values[:, 0] - low) / (high - low)
    np.testing.assert_allclose(row / 255, expected.numpy().clip(0, 1), atol=0.003)


@pytest.mark.parametrize("rows", [150, 3], ids=["more rows than features", "fewer rows"])
def test_the_plane_is_that_of_scikit_learn(rows: int) -> None:
    """Of its PCA of the scaled training rows, but for the sign."""
    settings = config("dataset=iris", "model=logistic")
    dataset = load_dataset(settings.dataset)
    network = build_model(settings, dataset)
    few = {
        name: replace(split, rows=torch.arange(min(rows, len(split))))
        for name, split in dataset.splits.items()
    }
    view = view_of(replace(dataset, splits=few), network)
    with torch.no_grad():
        scaled = network.scaling(few["train"].inputs).numpy()
    fitted = PCA(2).fit(scaled)
    np.testing.assert_allclose(view.origin.numpy(), fitted.mean_, atol=1e-6)
    np.testing.assert_allclose(np.abs(view.directions.numpy()), np.abs(fitted.components_), atol=1e-4)
    assert f"({fitted.explained_variance_ratio_.sum():.0%} of their variance)" in view.note
    np.testing.assert_allclose(
        np.abs(view.points["train"][:, :2]), np.abs(fitted.transform(scaled)), rtol=1e-3, atol=1e-3
    )


def test_lines_of_units_are_where_they_are_zero(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["film", str(filmed / "probability"), "--output", "film.html"]) == 0
    content = page_of(Path("film.html"))
    scene, view = content["scenes"][0], content["views"][0]
    units = np.frombuffer(base64.b64decode(scene["units"]), "<f4").reshape(4, 3, 3)[3].astype(float)
    left, right, bottom, top = view["extent"]
    stored = checkpoint.load(RunFolder(filmed / "probability").last)
    weight, bias = (stored.state.model[f"layers.0.{name}"].double().numpy() for name in ("weight", "bias"))
    for (u, v, w), row, shift in zip(units, weight, bias, strict=True):
        place = np.array((-w / u, 0.0)) if abs(u) > abs(v) else np.array((0.0, -w / v))
        point = np.array((left, bottom)) + place * np.array((right - left, top - bottom))
        if "scaling.mean" in stored.state.model:
            point = (point - stored.state.model["scaling.mean"].numpy()) / stored.state.model[
                "scaling.std"
            ].numpy()
        assert row @ point + shift == pytest.approx(0, abs=1e-5 * max(1, np.abs(point).max()))


def test_a_sweep_side_by_side(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = str(filmed / "sweep")
    assert command(["film", sweep, "--output", "all.html"]) == 0
    labels = sorted(scene["label"] for scene in page_of(Path("all.html"))["scenes"])
    assert labels == sorted(f"seed={seed}, lr={lr}" for seed in range(3) for lr in (0.01, 0.1))
    assert capsys.readouterr().err == ""
    assert command(["film", sweep, "--by", "lr", "--output", "by.html"]) == 0
    by = [scene["label"].split(",")[0] for scene in page_of(Path("by.html"))["scenes"]]
    assert by == ["lr=0.01", "lr=0.1"]
    assert "2 of 6 runs are shown: the best of each value" in capsys.readouterr().err
    assert command(["film", sweep]) == 0
    assert (filmed / "sweep" / "plots" / "film.html").is_file()
    assert command(["film", sweep, "--by", "momentum", "--output", "no.html"]) == 2
    assert "no run has this key" in capsys.readouterr().err


def test_runs_of_a_sweep_that_cannot_be_shown_are_left_out(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(filmed / "sweep", "sweep")
    first, second, *others = sorted(Path("sweep").glob("0*"))
    shutil.rmtree(first / "checkpoints")  # as of a run that diverged in its first step
    Path(second, "film.bin").write_bytes(b"")
    assert command(["film", "sweep", "--output", "film.html"]) == 0
    assert len(page_of(Path("film.html"))["scenes"]) == len(others) == 4
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in said] == ["left out"] * 2
    for run in (second, *others):
        Path(run, "film.bin").write_bytes(b"")
    assert command(["film", "sweep", "--output", "film.html"]) == 65


@pytest.mark.long
def test_a_gif_has_a_picture_for_each_frame(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("fit", "sweep"):
        assert command(["film", str(filmed / kind), "--output", f"{kind}.gif"]) == 0
    with Image.open("fit.gif") as image:
        assert (image.n_frames, image.info["loop"]) == (4, 0)  # type: ignore[attr-defined]
        pictures = []
        for frame in (0, 3):
            image.seek(frame)
            pictures.append(np.asarray(image.convert("RGB")).astype(int))
        assert np.abs(pictures[0] - pictures[1]).max() > 100
        assert (pictures[0][5:20, 5:150] < 100).any()  # the heading
    with Image.open("sweep.gif") as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]


def test_without_a_film_one_line_says_what_to_add(
    trained: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = trained["moons"]
    assert command(["film", str(run)]) == 2
    assert capsys.readouterr().err == (
        f"mlpkit: {run}: has no film; train with run.film=50, which records the weights every 50 epochs "
        "(mlpkit resume cannot record past epochs)\n"
    )
    assert command(["film", str(run), "--output", "film.avi"]) == 2
    assert "must be one of .html, .gif, .mp4" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command(["film", str(run), "--output", "film.mp4"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mlpkit: --output: a .mp4 needs ffmpeg, which is not installed")
    assert said.count("\n") == 1


def test_several_targets_have_no_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{i / 9},{i % 3},{i % 2},{i % 5}" for i in range(40))
    Path("two.csv").write_text(f"a,b,y,z\n{rows}\n")
    folder = train(
        tmp_path,
        *("dataset=table", "dataset.path=two.csv", "dataset.target=[y,z]", "dataset.task=regression"),
        *("model=mlp", "run.film=1", "trainer.epochs=2", *SMALL),
    )
    assert command(["film", str(folder.path)]) == 2
    assert capsys.readouterr().err == "mlpkit: film: shows one target, and this run has 2 (y, z)\n"


def test_a_film_of_another_network_is_refused(
    filmed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(filmed / "probability", run)
    shutil.copy(filmed / "fit" / "film.bin", run / "film.bin")
    assert command(["film", str(run)]) == 65
    assert "its tensors are not those of the run's network" in capsys.readouterr().err


def test_ffmpeg_writes_the_movie_where_there_is_one(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any program of that name: this one writes how much it was given."""
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor last; do :; done\n/usr/bin/wc -c > "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert command(["film", str(filmed / "fit"), "--output", "film.mp4"]) == 0
    assert int(Path("film.mp4").read_text()) == 4 * 768 * 392 * 3


@pytest.mark.parametrize(
    ("values", "zeros", "wanted"),
    [
        ([1.0, 31.0], False, True),
        ([1.0, 29.0], False, False),
        ([-1.0, 1.0, 90.0], True, False),
        ([0.0, 1.0, 90.0], False, False),
        ([0.0, 1.0, 90.0], True, True),
        ([np.nan, 1.0, np.inf], False, False),
        ([], False, False),
    ],
)
def test_one_rule_for_logarithmic_axes(values: list[float], zeros: bool, wanted: bool) -> None:
    assert needs_log([np.array(values, dtype=np.float64)], zeros) is wanted


def test_frames_have_all_that_training_changes() -> None:
    settings = config(*MOONS, "model.norm=batch")
    shapes = shapes_of_frame(build_model(settings, load_dataset(settings.dataset)))
    assert {name.split(".")[-1] for name in shapes} == {"weight", "bias", "running_mean", "running_var"}
