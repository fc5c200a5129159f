"""dataset=image_folder: what it reads equals torchvision's, and what it cannot read is one line."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused
from own_data import COLOURS, draw
from PIL import Image
from running import config, train

from mlpkit.analysis.matching_data import load_matching
from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.data.dataset import Dataset
from mlpkit.data.input_schema import InputSchema, pixel_names
from mlpkit.data.inputs import ReadOptions, read_inputs
from mlpkit.data.load import load_dataset
from mlpkit.datasets.image_folder import ImageFolderDataset
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders import checkpoint
from mlpkit.plots.images import draw_samples
from mlpkit.system.paths import cache_folder

QUICK = ("model=mlp", "model.hidden=[4]", "trainer.epochs=2", "run.tensorboard=false")


def load(folder: Path, **options) -> Dataset:
    return load_dataset(ImageFolderDataset(name="image_folder", path=str(folder), **options))


def sorted_rows(inputs: torch.Tensor, targets: torch.Tensor) -> list[list[float]]:
    return sorted([*row, label] for row, label in zip(inputs.tolist(), targets.tolist(), strict=True))


def everything(dataset: Dataset) -> list[list[float]]:
    splits = dataset.splits.values()
    return sorted_rows(torch.cat([s.inputs for s in splits]), torch.cat([s.targets for s in splits]))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
@pytest.mark.parametrize(("mode", "size"), [("RGB", None), ("RGB", (5, 3)), ("L", None), ("L", (12, 9))])
def test_it_equals_torchvision(mode: str, size: tuple[int, int] | None, suffix: str, tmp_path: Path) -> None:
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    draw(tmp_path / "set", mode, 4, suffix)
    channels = 1 if (mode, suffix) == ("L", "webp") else None  # WebP is always in colour
    dataset = load(tmp_path / "set", size=size, channels=channels, val_fraction=0.25)
    steps = [transforms.Grayscale()] if mode == "L" else []
    steps += [transforms.Resize(size)] if size else []
    reference = ImageFolder(str(tmp_path / "set"), transforms.Compose([*steps, transforms.ToTensor()]))
    rows = [(pixels.flatten(), label) for pixels, label in reference]
    expected = sorted_rows(torch.stack([row for row, _ in rows]), torch.tensor([label for _, label in rows]))
    assert everything(dataset) == expected
    schema = dataset.input_schema
    assert list(schema.classes) == reference.classes == ["blue", "green", "red"]
    height, width = size or (6, 8)
    assert schema.input_shape == ((height, width) if mode == "L" else (3, height, width))
    assert (schema.is_image, schema.task, schema.targets) == (True, "multiclass", ("label",))


def test_grey_is_read_where_all_are_grey_or_where_it_is_said(tmp_path: Path) -> None:
    draw(tmp_path / "set", "L", 4, names=("blue",))
    draw(tmp_path / "other", "RGB", 4, names=("red",))
    shutil.move(tmp_path / "other" / "red", tmp_path / "set")
    found = load(tmp_path / "set")
    assert (found.input_schema.input_shape, found.input_schema.task) == ((3, 6, 8), "binary")
    assert found.input_schema.features[47:49] == ("red47", "green0")
    grey = load(tmp_path / "set", channels=1)
    assert grey.input_schema.input_shape == (6, 8)
    assert grey.remarks[1] == "4 of 8 pictures in colour, read as grey"


def test_splits_are_stratified(tmp_path: Path) -> None:
    draw(tmp_path / "set", count=20)
    splits = load(tmp_path / "set").splits
    shares = {name: torch.bincount(split.targets).tolist() for name, split in splits.items()}
    assert shares == {"train": [14] * 3, "val": [2] * 3, "test": [4] * 3}
    other = load(tmp_path / "set", seed=1).splits
    assert not torch.equal(other["test"].inputs, splits["test"].inputs)
    assert torch.bincount(other["test"].targets).tolist() == [4] * 3


@pytest.mark.parametrize(
    "given", [("train", "val", "test"), ("train", "test"), ("Training", "valid"), ("train",)]
)
def test_folders_may_be_splits(given: tuple[str, ...], tmp_path: Path) -> None:
    sizes = {"train": 10, "Training": 10, "val": 3, "valid": 3, "test": 5}
    for name in given:
        draw(tmp_path / "set" / name, count=sizes[name])
    splits = load(tmp_path / "set", val_fraction=0.1, test_fraction=0.2).splits
    found = {name: torch.bincount(split.targets).tolist() for name, split in splits.items()}
    assert list(found) == ["train", "val", "test"]
    has_val, has_test = len(given) == 3 or "valid" in given, "test" in given
    assert found["val"] == [3 if has_val else 1] * 3
    assert found["test"] == [5 if has_test else 2] * 3
    assert found["train"] == [10 - (not has_val) - 2 * (not has_test)] * 3
    if has_test:
        from torchvision import transforms
        from torchvision.datasets import ImageFolder

        reference = ImageFolder(str(tmp_path / "set" / given[-1]), transforms.ToTensor())
        rows = torch.stack([pixels.flatten() for pixels, _ in reference])
        assert torch.equal(splits["test"].inputs, rows)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    draw(tmp_path / "set", names=("red", "green"))
    (tmp_path / "set" / "red").rename(tmp_path / "set" / "train")
    assert load(tmp_path / "set").input_schema.classes == ("green", "train")


def test_scaling_is_that_of_the_training_rows_channels(tmp_path: Path) -> None:
    draw(tmp_path / "set")
    dataset = load(tmp_path / "set")
    pixels = dataset.splits["train"].inputs.reshape(-1, 3, 48).double()
    scaling = dataset.input_scaling
    torch.testing.assert_close(scaling.mean.reshape(3, 48)[:, 0].double(), pixels.mean((0, 2)))
    torch.testing.assert_close(scaling.std.reshape(3, 48)[:, 7].double(), pixels.std((0, 2), correction=0))
    for split in ("val", "test"):  # which change nothing
        assert len(dataset.splits[split])
    given = load(tmp_path / "set", mean=0.25)
    assert given.input_scaling.mean.unique().tolist() == [0.25]
    assert torch.equal(given.input_scaling.std, scaling.std)
    assert load(tmp_path / "set", standardize=False).input_scaling is None


def test_other_sizes_are_resized_and_other_files_left_out(tmp_path: Path) -> None:
    draw(tmp_path / "set")
    Image.new("RGBA", (20, 30), (1, 2, 3, 4)).save(tmp_path / "set" / "red" / "large.png")
    (tmp_path / "set" / "red" / "notes.txt").write_text("no picture")
    (tmp_path / "set" / "red" / ".hidden.png").write_text("no picture")
    (tmp_path / "set" / "red" / "more").mkdir()
    Image.new("L", (8, 6)).save(tmp_path / "set" / "red" / "more" / "grey.PNG")
    dataset = load(tmp_path / "set")
    assert dataset.input_schema.input_shape == (3, 6, 8)
    assert list(dataset.remarks) == [
        f"{tmp_path / 'set'}: 32 pictures of 3 classes (blue, green, red); left out: 1 other file",
        "1 of 32 pictures resized to 6×8 (height × width)",
        "1 of 32 pictures with transparent pixels, whose colour is read as it is",
    ]
    assert len(everything(dataset)) == 32


def test_a_camera_held_upright(tmp_path: Path) -> None:
    draw(tmp_path / "set", count=2)
    about = Image.Exif()
    about[0x0112] = 6  # to be turned a quarter clockwise
    path = tmp_path / "set" / "red" / "0.png"
    with Image.open(path) as picture:
        turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.save(path, exif=about)
    assert len(load(tmp_path / "set").remarks) == 1
    assert everything(load(tmp_path / "set")) == everything(load(draw(tmp_path / "again", count=2)))


# -------------------------------------------------------------------------------------- the cache


def kept() -> list[Path]:
    return sorted((cache_folder() / "pictures").iterdir())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_decoded_is_kept(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(draw(tmp_path / "set"), invert=True)
    (file,) = kept()
    monkeypatch.setattr(Image, "open", None)  # no picture is opened
    again = load(tmp_path / "set", invert=True)
    assert again.fingerprint == first.fingerprint and again.remarks == first.remarks
    assert load(tmp_path / "set").fingerprint != first.fingerprint
    assert kept() == [file]
    monkeypatch.undo()


def test_a_change_is_noticed(cache: Path, tmp_path: Path) -> None:
    first = load(draw(tmp_path / "set"))
    path = tmp_path / "set" / "red" / "3.png"
    Image.new("RGB", (8, 6), "red").save(path)
    os.utime(path, ns=(0, 1))
    second = load(tmp_path / "set")
    assert second.fingerprint != first.fingerprint
    path.unlink()
    assert load(tmp_path / "set").fingerprint != second.fingerprint
    assert len(kept()) == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "other"])
def test_a_damaged_cache_is_made_again(damage: str, cache: Path, tmp_path: Path) -> None:
    first = load(draw(tmp_path / "set"))
    (file,) = kept()
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    if damage == "other":
        np.savez(file, pixels=np.zeros((30, 3, 6, 8)), about=np.frombuffer(b"[]", np.uint8))
    else:
        file.write_bytes({"cut": whole[:-9], "flipped": flipped, "empty": b"", "text": b"hello"}[damage])
    assert load(tmp_path / "set").fingerprint == first.fingerprint
    assert kept() == [file] and file.read_bytes() == whole


def test_a_cache_that_cannot_be_written(cache: Path, tmp_path: Path) -> None:
    cache.write_text("no folder")
    dataset = load(draw(tmp_path / "set"))
    assert len(everything(dataset)) == 30
    assert dataset.remarks[-1].startswith(f"warning: the pixels cannot be cached: {cache}/mlpkit/pictures/")


# ------------------------------------------------------------------------------- runs and predictions


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run in colour with its folder of pictures beside it, and an inverted one of two grey classes."""
    root = tmp_path_factory.mktemp("pictures")
    draw(root / "rgb")
    draw(root / "grey", "L", names=("blue", "green"))
    about = {"rgb": (), "grey": ("dataset.invert=true",)}
    found = {}
    for name, more in about.items():
        chosen = ("dataset=image_folder", f"dataset.path={root / name}", "dataset.augment.rotation=10")
        found[name] = train(root, *chosen, *more, *QUICK, f"run.dir={root / 'runs' / name}").path
    return {**found, "data": root}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["rgb", "grey"])
def test_predictions_of_files_equal_those_of_splits(name: str, runs: dict[str, Path]) -> None:
    path = runs[name] / "checkpoints" / "best.safetensors"
    predictor, stored = load_predictor(path)
    dataset = load_matching(stored.config.dataset, stored, path, pytest.fail)
    inputs = torch.cat([split.inputs for split in dataset.splits.values()])
    of_split = {row.numpy().tobytes(): predictor.predict(row[None]).probabilities for row in inputs}
    said: list[str] = []
    of_files = read_inputs(str(runs["data"] / name), stored.input_schema, warn=said.append)
    assert len(of_files.values) == len(inputs) and said == []
    assert of_files.names[0] == "blue/0.png"
    for row in of_files.values:
        assert torch.equal(predictor.predict(row[None]).probabilities, of_split[row.numpy().tobytes()])
    one = read_inputs(str(runs["data"] / name / "green" / "7.png"), stored.input_schema)
    assert one.names == ("7.png",)
    assert torch.equal(one.values[0], of_files.values[of_files.names.index("green/7.png")])


def test_other_pictures_are_read_as_in_training(runs: dict[str, Path], tmp_path: Path) -> None:
    from torchvision import transforms

    schemas = {
        name: checkpoint.load(runs[name] / "checkpoints/best.safetensors").input_schema
        for name in ("rgb", "grey")
    }
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "a.png")
    said: list[str] = []
    colour = read_inputs(str(tmp_path / "a.png"), schemas["rgb"], warn=said.append)
    with Image.open(tmp_path / "a.png") as picture:
        wanted = transforms.ToTensor()(transforms.Resize((6, 8))(picture)).flatten()
    assert torch.equal(colour.values[0], wanted)
    grey = read_inputs(str(tmp_path / "a.png"), schemas["grey"], warn=said.append)
    torch.testing.assert_close(grey.values[0], 1 - wanted[:48])
    straight = read_inputs(str(tmp_path / "a.png"), schemas["grey"], ReadOptions(inverted=True), said.append)
    torch.testing.assert_close(straight.values[0], wanted[:48])
    resized = f"{tmp_path / 'a.png'}: 1 of 1 pictures resized to 6×8 (height × width)"
    greyed = f"{tmp_path / 'a.png'}: 1 of 1 pictures in colour, read as grey"
    assert said == [resized, resized, greyed, resized, greyed]


def test_arrays_for_a_model_in_colour(runs: dict[str, Path], tmp_path: Path) -> None:
    schema = checkpoint.load(runs["rgb"] / "checkpoints/best.safetensors").input_schema
    pixels = np.arange(144, dtype="uint8").reshape(1, 3, 6, 8)
    wanted = torch.from_numpy(pixels.reshape(1, -1)).float() / 255
    for name, array in (("a", pixels), ("b", pixels.reshape(1, -1)), ("c", np.moveaxis(pixels, 1, 3))):
        np.save(tmp_path / f"{name}.npy", array)
        assert torch.equal(read_inputs(str(tmp_path / f"{name}.npy"), schema).values, wanted)
    np.save(tmp_path / "d.npy", pixels.reshape(1, 3, 8, 6))
    with pytest.raises(
        DataError, match=r"has shape \(1, 3, 8, 6\), the model reads \(rows, 144\) or \(rows, 3, 6, 8\)"
    ):
        read_inputs(str(tmp_path / "d.npy"), schema)


@pytest.mark.long
def test_commands_on_a_run_in_colour(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = str(runs["rgb"])
    assert (runs["rgb"] / "plots" / "samples.png").is_file()
    assert command(["inspect", run]) == 0
    assert "144 → 4" in capsys.readouterr().out
    assert (
        command(["evaluate", run, f"dataset.path={draw(tmp_path / 'new', count=3, names=('blue', 'red'))}"])
        == 0
    )
    assert "3 rows" not in capsys.readouterr().err
    before = checkpoint.load(runs["rgb"] / "checkpoints" / "last.safetensors").fingerprint
    assert command(["resume", run, "trainer.epochs=3", "run.progress=none"]) == 0
    assert checkpoint.load(runs["rgb"] / "checkpoints" / "last.safetensors").fingerprint == before


def test_a_changed_picture_is_noticed_at_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "set")
    train(tmp_path, "dataset=image_folder", "dataset.path=set", *QUICK, "run.plots=false", "run.dir=run")
    stored = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert stored.config.dataset.model_dump()["path"] == str(tmp_path / "set")
    Image.new("RGB", (8, 6), "white").save(tmp_path / "set" / "red" / "3.png")
    os.utime(tmp_path / "set" / "red" / "3.png", ns=(0, 1))
    monkeypatch.chdir("/")
    assert command(["resume", str(tmp_path / "run"), "trainer.epochs=3"]) == 65
    assert "data" in capsys.readouterr().err


def test_seeds_train_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "set")
    settings = ("dataset=image_folder", "dataset.path=set", *QUICK, "run.plots=false", "seed=0,1,2")
    assert command(["train", "-m", *settings, "dataset.augment.translation=1", "run.progress=none"]) == 0
    said = "".join(capsys.readouterr())
    assert "one of 3 runs that are trained together" in "".join(
        path.read_text() for path in tmp_path.rglob("train.log")
    )
    assert said.count("30 pictures of 3 classes") == 1


def test_photographs_are_drawn_as_they_are(runs: dict[str, Path]) -> None:
    path = runs["rgb"] / "checkpoints" / "best.safetensors"
    predictor, stored = load_predictor(path)
    dataset = load_matching(stored.config.dataset, stored, path, pytest.fail)
    figure = draw_samples(dataset, predictor, "test", predictor.outputs(dataset.splits["test"].inputs))
    shown = figure.axes[0].get_images()[0].get_array()
    assert shown.shape == (6, 8, 3)
    rows = dataset.splits["test"].inputs.reshape(-1, 3, 6, 8).movedim(1, -1).numpy()
    assert any(np.array_equal(shown, row) for row in rows)


def test_large_pictures_leave_the_names_of_pixels_out() -> None:
    shape = (3, 295, 295)
    schema = InputSchema("binary", pixel_names(shape), shape, ("label",), ("a", "b"))
    assert "features" not in schema.to_dict()
    assert InputSchema.completed(schema.to_dict())["features"] == list(schema.features)
    small = InputSchema("binary", pixel_names((2, 2)), (2, 2), ("label",), ("a", "b"))
    assert small.to_dict()["features"] == ["pixel0", "pixel1", "pixel2", "pixel3"]
    for shape in ([3, 10**6, 10**6], [2], "shape", [3.0, 2, 2], None):
        hostile = {"input_shape": shape}
        assert InputSchema.completed(hostile) is hostile


# --------------------------------------------------------------------------------- what is refused

DAMAGED = "not a PNG, JPEG, BMP or WebP picture, or a damaged one; save it again"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def bomb(path: Path) -> None:
    from test_bad_data import png

    path.write_bytes(png(13_000, 10_000))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def deep(path: Path) -> None:
    Image.new("I;16", (8, 6)).save(path)


FAULTY: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, f": {DAMAGED}"),
    "text": (lambda path: path.write_text("hello"), f": {DAMAGED}"),
    "bomb": (bomb, ": far too many pixels; resize it"),
    "fifo": (fifo, ": not a regular file; remove it"),
    "16 bits": (deep, ": mode I;16; save it with 8 bits for each channel, as grey or RGB"),
    "empty": (lambda path: path.write_bytes(b""), f": {DAMAGED}"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_picture(name: str, refused: Refused, tmp_path: Path) -> None:
    fault, message = FAULTY[name]
    draw(tmp_path / "set", count=2)
    fault(tmp_path / "set" / "green" / "1.png")
    said = refused("train", "dataset=image_folder", "dataset.path=set", code=65)
    assert said == f"{tmp_path}/set/green/1.png{message}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_picture(refused: Refused, tmp_path: Path) -> None:
    draw(tmp_path / "set", count=2)
    (tmp_path / "set" / "green" / "1.png").chmod(0)
    said = refused("train", "dataset=image_folder", "dataset.path=set", code=65)
    assert said == f"{tmp_path}/set/green/1.png: cannot be read (Permission denied)"


def link_back(root: Path) -> None:
    (root / "red" / "again").symlink_to(root / "red")


def link_to_itself(root: Path) -> None:
    (root / "red" / "self.png").symlink_to(root / "red" / "self.png")


def link_to_nothing(root: Path) -> None:
    (root / "red" / "none.png").symlink_to(root / "nothing")


def no_pictures(root: Path) -> None:
    (root / "yellow").mkdir()
    (root / "yellow" / "notes.txt").write_text("")


def one_class(root: Path) -> None:
    shutil.rmtree(root / "red")
    shutil.rmtree(root / "green")


def nothing(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def a_file(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text("")


def as_splits(root: Path, **folders: tuple[str, ...]) -> None:
    shutil.rmtree(root)
    for name, classes in folders.items():
        draw(root / name, count=2, names=classes) if classes else (root / name).mkdir(parents=True)


CLASSES = tuple(COLOURS)
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link back": (link_back, "/red/again: a link to a folder that contains it; remove it"),
    "a link to itself": (link_to_itself, "/red/self.png: cannot be read (Too many levels of symbolic links)"),
    "a link to nothing": (link_to_nothing, "/red/none.png: cannot be read (No such file or directory)"),
    "no pictures": (
        no_pictures,
        "/yellow: no .png, .jpg, .jpeg, .bmp, .webp file in it; put pictures into it or remove it",
    ),
    "one class": (
        one_class,
        ": 1 folders in it; put the pictures of each class into a folder of its own, two classes at least",
    ),
    "nothing": (
        nothing,
        ": 0 folders in it; put the pictures of each class into a folder of its own, two classes at least",
    ),
    "a name with a newline": (
        lambda root: (root / "red").rename(root / "re\nd"),
        ": the class 're\\nd' cannot be printed on a line; rename its folder",
    ),
    "an unknown class": (
        lambda root: as_splits(root, train=("blue", "green"), test=CLASSES),
        "/test/red: no such class in training, which has blue, green; remove the folder",
    ),
    "no class in test": (
        lambda root: as_splits(root, train=CLASSES, test=()),
        "/test: no folder for each class in it, as in train; move it elsewhere",
    ),
    "more than splits": (
        lambda root: as_splits(root, train=CLASSES, extra=CLASSES),
        "/extra: neither train, val nor test, which lie beside it; move it elsewhere",
    ),
    "two of a split": (
        lambda root: as_splits(root, train=CLASSES, val=CLASSES, valid=CLASSES),
        "/valid: val is there too; keep one folder for val",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_faulty_folder(name: str, refused: Refused, tmp_path: Path) -> None:
    fault, message = REFUSED[name]
    draw(tmp_path / "set", count=2)
    fault(tmp_path / "set")
    said = refused("train", "dataset=image_folder", "dataset.path=set", code=65)
    assert said == f"{tmp_path}/set{message}"


def test_a_path_that_is_no_folder(refused: Refused, tmp_path: Path) -> None:
    said = refused("train", "dataset=image_folder", "dataset.path=none", code=65)
    assert said == f"dataset.path={tmp_path}/none: no such folder"
    (tmp_path / "file").write_text("")
    said = refused("train", "dataset=image_folder", "dataset.path=file", code=65)
    way = "not a folder; name the one that holds a folder for each class"
    assert said == f"dataset.path={tmp_path}/file: {way}"


def test_pictures_that_are_too_large(refused: Refused, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (400, 300)).save(tmp_path / "set" / name / "0.png")
    said = refused("train", "dataset=image_folder", "dataset.path=set", code=65)
    assert said == (
        f"{tmp_path}/set: pictures of 300×400 pixels (height × width) have more than 262,144 inputs; set a "
        "smaller dataset.size, such as dataset.size=[32,32]"
    )


def test_too_few_pictures_for_the_splits(tmp_path: Path) -> None:
    draw(tmp_path / "set", count=1)
    with pytest.raises(ConfigError, match="leave no row to val"):
        load(tmp_path / "set")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("dataset.path=", "dataset.path='': must be "),
        ("dataset.channels=2", "dataset.channels=2: must be "),
        ("dataset.size=[8]", "dataset.size"),
        ("dataset.size=[0,8]", "dataset.size"),
        ("dataset.std=0", "dataset.std=0: must be "),
    ],
)
def test_a_faulty_option(override: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config("dataset=image_folder", override)
    (said,) = caught.value.args
    assert said.startswith(line), said


def test_equal_pictures_in_two_splits_are_counted(tmp_path: Path) -> None:
    """By their pixels, in whatever files and classes they are; from the cache as well."""
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        draw(tmp_path / "set" / split, names=("blue", "red"), count=4)
        for file in (tmp_path / "set" / split).rglob("*.png"):  # `draw` always draws the same
            Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(file)
    assert len(load(tmp_path / "set").remarks) == 1
    for name in ("0", "1"):
        with Image.open(tmp_path / "set" / "train" / "blue" / f"{name}.png") as picture:
            picture.save(tmp_path / "set" / "test" / "red" / f"again{name}.bmp")
    for _ in range(2):
        assert load(tmp_path / "set").remarks[1:] == (
            "warning: 2 of 10 test pictures are equal to a training picture, so its scores are too good; "
            "remove repeated pictures",
        )
