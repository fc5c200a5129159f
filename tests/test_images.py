"""Image datasets: real ones equal torchvision's, and missing or mismatched files get one line."""

import errno
import functools
import gc
import gzip
import hashlib
import struct
import threading
import warnings
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from cases import rest_long
from real_data import needs_real_data, real_data
from sklearn.datasets import load_digits

from mlpkit.data.images import default_root, missing_files
from mlpkit.data.load import load_dataset
from mlpkit.datasets.digits import DigitsDataset
from mlpkit.datasets.fashion_mnist import FashionMnistDataset
from mlpkit.datasets.mnist import MnistDataset
from mlpkit.errors import ConfigError, DataError

KINDS = {"mnist": (MnistDataset, "MNIST"), "fashion_mnist": (FashionMnistDataset, "FashionMNIST")}
FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


def load(root, name="mnist", **options):
    return load_dataset(KINDS[name][0](name=name, root=str(root), download=False, **options))


def write_files(folder, rows=20, test_rows=6, suffix=""):
    """Write a small set whose row i has the label i mod 10 and only pixels of the value i."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", rows), ("t10k", test_rows)):
        images = struct.pack(">4I", 0x803, count, 28, 28) + bytes(i for i in range(count) for _ in range(784))
        labels = struct.pack(">2I", 0x801, count) + bytes(i % 10 for i in range(count))
        for file, content in ((f"{prefix}-images-idx3", images), (f"{prefix}-labels-idx1", labels)):
            packed = gzip.compress(content) if suffix else content
            (folder / f"{file}-ubyte{suffix}").write_bytes(packed)


@needs_real_data
@pytest.mark.parametrize("name", rest_long(KINDS, lambda name: name == "mnist"))
def test_real_data_equals_torchvision(name):
    from torchvision import datasets

    kind = getattr(datasets, KINDS[name][1])
    train, test = (kind(real_data(), train=train, download=False) for train in (True, False))
    dataset = load(real_data(), name)
    splits = dataset.splits
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 54_000,
        "val": 6000,
        "test": 10_000,
    }
    assert torch.equal(splits["test"].inputs, test.data.reshape(-1, 784).float() / 255)
    assert torch.equal(splits["test"].targets, test.targets)
    dealt = torch.cat([splits[part].inputs for part in ("train", "val")])
    labels = torch.cat([splits[part].targets for part in ("train", "val")])
    order = torch.randperm(60_000, generator=torch.Generator().manual_seed(0))  # tells rows apart
    weights = torch.rand(784, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def rows(pixels, targets):
        sums = (pixels.double() @ weights) + 1e6 * targets
        return sums.sort().values

    expected = rows(train.data.reshape(-1, 784).float()[order] / 255, train.targets[order])
    torch.testing.assert_close(rows(dealt, labels), expected, rtol=0, atol=1e-7)
    pixels = train.data.double() / 255
    mean, std = dataset.input_scaling.mean.unique().item(), dataset.input_scaling.std.unique().item()
    assert (mean, std) == pytest.approx((pixels.mean().item(), pixels.std().item()), abs=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_signature_and_class_names(name, tmp_path):
    from torchvision import datasets

    write_files(tmp_path)
    input_schema = load(tmp_path, name).input_schema
    assert (input_schema.task, input_schema.input_shape, input_schema.targets) == (
        "multiclass",
        (28, 28),
        ("label",),
    )
    assert input_schema.features == tuple(f"pixel{i}" for i in range(784))
    assert input_schema.is_image
    if name == "fashion_mnist":
        assert list(input_schema.classes) == datasets.FashionMNIST.classes
    else:
        assert [f"{label}" for label in range(10)] == list(input_schema.classes)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("folder", ["MNIST/raw", "MNIST", "."])
def test_where_the_files_may_lie(tmp_path, folder, suffix):
    write_files(tmp_path / folder, suffix=suffix)
    assert missing_files("MNIST", tmp_path) == []
    dataset = load(tmp_path)
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 18, "val": 2, "test": 6}
    for split in dataset.splits.values():
        values = (split.inputs * 255).round().long()
        assert torch.equal(values % 10, split.targets.unsqueeze(1).expand(-1, 784))


@pytest.mark.parametrize("standardize", [True, False])
def test_options(tmp_path, standardize):
    write_files(tmp_path)
    dataset = load(tmp_path, standardize=standardize, mean=0.25, std=0.5, val_fraction=0.0)
    assert (list(dataset.splits), dataset.monitored) == (["train", "test"], "test")
    if standardize:
        assert dataset.input_scaling.mean.tolist() == [0.25] * 784
        assert dataset.input_scaling.std.tolist() == [0.5] * 784
    else:
        assert dataset.input_scaling is None


def test_the_split_is_a_function_of_the_seed(tmp_path):
    write_files(tmp_path)
    first, again, other = (load(tmp_path, seed=seed).splits["train"].targets for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()


def test_the_default_root(tmp_path, monkeypatch):
    monkeypatch.setenv("MLPKIT_DATA", str(tmp_path))
    write_files(tmp_path)
    assert default_root() == tmp_path
    assert len(load_dataset(MnistDataset(name="mnist", download=False)).splits["test"]) == 6
    monkeypatch.delenv("MLPKIT_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_root() == tmp_path / "cache" / "mlpkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_root() == tmp_path / "home" / ".cache" / "mlpkit"
    write_files(tmp_path / "home" / "mine")
    assert len(load("~/mine").splits["test"]) == 6


def message_of(load, *arguments, kind=DataError, **options):
    with pytest.raises(kind) as error:
        load(*arguments, **options)
    return str(error.value)


@pytest.mark.parametrize("name", KINDS)
def test_no_files(tmp_path, name):
    assert message_of(load, tmp_path, name) == (
        f"dataset={name}: no files under {tmp_path} and download=false; "
        f"put {', '.join(FILES)} (plain or .gz) into {tmp_path / KINDS[name][1] / 'raw'}, "
        "or set dataset.root or MLPKIT_DATA"
    )


def test_one_file_is_missing(tmp_path):
    write_files(tmp_path / "MNIST" / "raw")
    (tmp_path / "MNIST" / "raw" / FILES[3]).unlink()
    assert missing_files("MNIST", tmp_path) == [FILES[3]]
    assert f"put {FILES[3]} (plain or .gz) into " in message_of(load, tmp_path)


def test_no_network(tmp_path, monkeypatch, capsys):
    """A proxy that nobody runs stands in for no network: each mirror refuses at once."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    config = MnistDataset(name="mnist", root=str(tmp_path))
    raw = tmp_path / "MNIST" / "raw"
    assert message_of(load_dataset, config) == (
        "dataset=mnist: cannot be downloaded "
        f"(<urlopen error [Errno {errno.ECONNREFUSED}] Connection refused>); "
        f"put {', '.join(FILES)} (plain or .gz) into {raw}, or set dataset.root or MLPKIT_DATA"
    )
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"downloading mnist to {raw}\n")
    assert list(tmp_path.iterdir()) == []
    message_of(load_dataset, MnistDataset(name="mnist", root=str(tmp_path / "new")))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server of a small set, where torchvision looks for MNIST."""
    from torchvision import datasets

    write_files(tmp_path / "served", suffix=".gz")
    sums = [
        (f"{name}.gz", hashlib.md5((tmp_path / "served" / f"{name}.gz").read_bytes()).hexdigest())
        for name in FILES
    ]

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(datasets.MNIST, "resources", sums)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield tmp_path / "served"
        server.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


# torchvision leaves the socket of a download that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_downloaded_is_whole_or_not_there(mirror, tmp_path):
    """The last of four files is missing, then damaged, then there."""
    root, last = tmp_path / "new" / "root", mirror / f"{FILES[3]}.gz"
    content = last.read_bytes()
    config = MnistDataset(name="mnist", root=str(root))
    for broken in (None, content[:-1]):
        last.unlink()
        if broken is not None:
            last.write_bytes(broken)
        assert message_of(load_dataset, config).startswith("dataset=mnist: cannot be downloaded (")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["served"]
        last.write_bytes(content)
    assert len(load_dataset(config).splits["test"]) == 6
    assert sorted(path.name for path in root.rglob("*")) == sorted(["MNIST", "raw", *FILES])
    (root / "MNIST" / "raw" / FILES[0]).unlink()
    (root / "MNIST" / "raw" / FILES[1]).write_bytes(b"mine")  # what is there is not touched
    assert "begins with 6d696e65" in message_of(load_dataset, config)
    assert (root / "MNIST" / "raw" / FILES[0]).is_file()


def test_other_numbers_of_images_and_labels(tmp_path):
    write_files(tmp_path)
    labels = tmp_path / FILES[1]
    labels.write_bytes(struct.pack(">2I", 0x801, 19) + bytes(19))
    assert message_of(load, tmp_path) == (
        f"{labels}: 19 labels for 20 images of {FILES[0]}; take both files from the same copy of the dataset"
    )


def test_a_label_outside_the_range(tmp_path):
    write_files(tmp_path)
    labels = tmp_path / FILES[3]
    labels.write_bytes(struct.pack(">2I", 0x801, 6) + bytes([0, 1, 2, 10, 255, 3]))
    assert message_of(load, tmp_path) == f"{labels}: the label 255 is outside 0..9; the file is damaged"


def test_too_few_rows_for_the_split(tmp_path):
    write_files(tmp_path, rows=4)
    message = message_of(load, tmp_path, kind=ConfigError)
    assert message == (
        "dataset: val_fraction=0.1 and test_fraction=0.0 of 4 rows leave no row to val; "
        "change the fractions or have more rows"
    )


def test_digits_equal_sklearn():
    dataset = load_dataset(DigitsDataset(name="digits"))
    splits = dataset.splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 1258, "val": 180, "test": 359}
    assert (dataset.input_schema.input_shape, dataset.input_schema.classes) == ((8, 8), tuple("0123456789"))
    pixels, labels = load_digits(return_X_y=True)
    expected = sorted((*row, label) for row, label in zip(pixels.tolist(), labels.tolist(), strict=True))
    dealt = [
        (*row, label)
        for split in splits.values()
        for row, label in zip((split.inputs * 16).tolist(), split.targets.tolist(), strict=True)
    ]
    assert sorted(dealt) == expected
    mean, std = dataset.input_scaling.mean[0].item(), dataset.input_scaling.std[0].item()
    assert (mean, std) == pytest.approx(((pixels / 16).mean(), (pixels / 16).std()), abs=1e-4)
