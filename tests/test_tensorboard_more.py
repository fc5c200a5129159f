"""What TensorBoard shows besides scalars and pictures, read back by its own reader; and the names of runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import config, mlpkit, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util

from mlpkit.analysis.predict import load_predictor
from mlpkit.data.load import load_dataset
from mlpkit.folders.metrics_file import Record, read_metrics
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_name import file_name, run_name
from mlpkit.loggers.tensorboard import TensorBoard

KEPT = {"scalars": 0, "tensors": 0, "images": 0}


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance=KEPT).Reload()


def tensor(events: EventAccumulator, tag: str) -> Any:
    return tensor_util.make_ndarray(events.Tensors(tag)[-1].tensor_proto)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    small = ("dataset=moons", "dataset.n=60", "model=mlp", "model.hidden=[4]", "trainer.epochs=6")
    return train(tmp_path_factory.mktemp("run"), *small, "run.histograms=2", "optimizer.lr=0.02")


@pytest.fixture(scope="module")
def events(folder: RunFolder) -> EventAccumulator:
    return read(folder.tensorboard)


@pytest.mark.long
def test_each_score_has_one_chart_of_all_splits(events: EventAccumulator) -> None:
    layout = Layout.FromString(tensor(events, "custom_scalars__config__").item())
    charts = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
    assert charts == {
        "Accuracy": ["^Accuracy/(train|val|test)$"],
        "Loss": ["^Loss/(train|val|test)$"],
    }


def test_histograms_count_every_weight_and_gradient(folder: RunFolder, events: EventAccumulator) -> None:
    predictor, _ = load_predictor(folder.last)
    weights = dict(predictor.network.named_parameters())
    for name, weight in weights.items():
        for kind in ("weights", "gradients"):
            seen = events.Tensors(f"{kind}/{name}")
            assert [event.step for event in seen] == [2, 4, 6]
        rows = tensor(events, f"weights/{name}")  # from, to, count
        values = weight.detach().double().numpy().ravel()
        assert rows[:, 2].sum() == values.size
        if values.size > 1:
            assert (rows[0, 0], rows[-1, 1]) == pytest.approx((values.min(), values.max()))


def test_norms_by_layer_make_up_the_whole_norm(folder: RunFolder, events: EventAccumulator) -> None:
    lines = [line for line in read_metrics(folder.metrics) if line["split"] == "train"]
    layers = ("grad_norm_layers_0", "grad_norm_layers_2")
    assert [line["epoch"] for line in lines if layers[0] in line] == [2, 4, 6]
    for line in lines[1::2]:
        assert np.hypot(*(line[layer] for layer in layers)) == pytest.approx(line["grad_norm"], rel=1e-4)
    shown = events.Scalars("grad_norm_by_layer/layers_0")
    assert [event.value for event in shown] == pytest.approx([line[layers[0]] for line in lines[1::2]])


def test_the_config_is_a_table_of_what_differs_and_the_whole(
    folder: RunFolder, events: EventAccumulator
) -> None:
    text = tensor(events, "config").item().decode()
    assert "| `optimizer.lr` | `0.02` | `0.001` |" in text
    assert "| `dataset.name` | `moons` | `moons` |" in text
    assert "| `optimizer.eps`" not in text  # a default
    assert all(f"    {line}" in text for line in folder.config.read_text().splitlines())


def test_the_graph_has_the_layers(events: EventAccumulator) -> None:
    graph = GraphDef.FromString(events.Graph().SerializeToString())
    assert [node.name for node in graph.node] == ["inputs", "0_Linear", "1_ReLU", "2_Linear", "outputs"]
    assert [list(node.input) for node in graph.node[1:]] == [[node.name] for node in graph.node[:-1]]


def test_precision_and_recall_are_those_of_the_best_weights(
    folder: RunFolder, events: EventAccumulator
) -> None:
    predictor, stored = load_predictor(folder.best)
    rows = load_dataset(stored.config.dataset).splits["test"]
    chances, positive = predictor.predict(rows.inputs).probabilities[:, 1].numpy(), rows.targets.numpy() == 1
    true, false, _, missed, precision, recall = tensor(events, "test")
    for index in (0, 31, 63, 126):
        named = chances >= index / 126
        assert true[index] == (named & positive).sum()
        assert false[index] == (named & ~positive).sum()
        assert missed[index] == (~named & positive).sum()
        assert precision[index] == pytest.approx((named & positive).sum() / max(named.sum(), 1))
        assert recall[index] == pytest.approx((named & positive).sum() / positive.sum())


def test_without_histograms_there_are_none(tmp_path: Path) -> None:
    found = train(tmp_path, "dataset=line", "model=linear", "trainer.epochs=2", "run.plots=false")
    tags = read(found.tensorboard).Tags()["tensors"]
    assert not [tag for tag in tags if tag.startswith(("weights", "gradients"))]
    assert not any("grad_norm_" in line for line in found.metrics.read_text().splitlines())


def test_a_long_run_has_a_bounded_number_of_points_and_its_last_one(tmp_path: Path) -> None:
    logger = TensorBoard(name="tensorboard").open(tmp_path, None)
    for epoch in range(1, 20_006):
        logger.scores(Record(epoch, epoch, {"train": {"loss": 1.0}}, 0.0, {}, 0.0))
    logger.close()
    steps = [event.step for event in read(tmp_path / "tensorboard").Scalars("Loss/train")]
    assert steps[:999] == list(range(1, 1000))
    assert len(steps) < 2200
    assert steps[-1] == 20_005


def test_most_histograms_are_left_out_of_a_long_run() -> None:
    from mlpkit.training.layers import MOST_EPOCHS, is_due

    of_run = config("dataset=moons", "trainer.epochs=10000", "run.histograms=3")
    assert 25 < sum(is_due(of_run, epoch) for epoch in range(1, 10_001)) <= MOST_EPOCHS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lr=0.01 seed=3", "lr=0.01 seed=3"),
        ("hidden=[64,64] activation=GELU", "hidden=[64,64] activation=GELU"),
        ("path=a/b", "path=a_b 6e0d4d"),
        ("path=C:\\x*?", None),
        ("x" * 500, None),
        ("target=" + "名" * 100, None),
        ("path=\udcff", None),
        ("..", None),
    ],
)
def test_names_of_runs_are_names_of_folders_everywhere(name: str, expected: str | None) -> None:
    found = file_name(name)
    assert expected is None or found == expected
    assert not set(found) & set('<>:"/\\|?*')
    assert 0 < len(found.encode()) < 130
    assert found.strip(" .") == found


def test_names_that_are_changed_stay_apart() -> None:
    assert len({file_name(name) for name in ("a/b", "a:b", "a_b", "a?b")}) == 4


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of two settings and two seeds."""
    root = tmp_path_factory.mktemp("sweep")
    mlpkit(
        "train", "-m", "dataset=moons", "dataset.n=60", "model=mlp", "model.hidden=[4]", "trainer.epochs=3",
        "optimizer.lr=0.01,0.1", "seed=0,1", "trainer.monitor=loss", "run.dir=sweep", "run.progress=none",
        cwd=root,
    )  # fmt: skip
    return root


@pytest.fixture
def sweep(swept: Path, tmp_path: Path) -> Path:
    """A copy of the sweep, moved to another place."""
    return Path(shutil.copytree(swept / "sweep", tmp_path / "elsewhere"))


NAMES = {f"lr={lr} seed={seed}" for lr in ("0.01", "0.1") for seed in (0, 1)}


def test_runs_of_a_sweep_are_named_by_what_varies(sweep: Path) -> None:
    assert {path.name for path in (sweep / "tensorboard").iterdir()} == NAMES
    assert not list(sweep.glob("0*/tensorboard"))
    for name in NAMES:
        content = read(sweep / "tensorboard" / name).summary_metadata[metadata.SESSION_START_INFO_TAG]
        start = metadata.parse_session_start_info_plugin_data(content.plugin_data.content)
        assert start.group_name == f"{name} (sweep)"
        assert f"lr={start.hparams['optimizer.lr'].number_value} seed=" in name


def test_a_run_of_a_moved_sweep_goes_on_in_its_folder(sweep: Path) -> None:
    run = next(sweep.glob("0002-*"))
    mlpkit("resume", run.name, "trainer.epochs=5", cwd=sweep)
    assert not (run / "tensorboard").exists()
    assert {path.name for path in (sweep / "tensorboard").iterdir()} == NAMES
    shown = read(sweep / "tensorboard" / "lr=0.1 seed=0").Scalars("Loss/train")
    assert [event.step for event in shown] == [1, 2, 3, 4, 5]


def test_clean_removes_the_events_of_what_it_removes(sweep: Path) -> None:
    mlpkit("clean", sweep.name, "--older-than", "0h", "--yes", cwd=sweep.parent)
    left = {run_name(RunFolder(path)) for path in sweep.glob("0*")}
    assert 0 < len(left) < 4
    assert {path.name for path in (sweep / "tensorboard").iterdir()} == left
    mlpkit("resume", sweep.name, cwd=sweep.parent)
    assert {path.name for path in (sweep / "tensorboard").iterdir()} == NAMES
    assert all(len(list(path.iterdir())) == 1 for path in (sweep / "tensorboard").iterdir())


def test_events_do_not_leave_the_sweep(sweep: Path, tmp_path: Path) -> None:
    shutil.rmtree(sweep / "tensorboard")
    (tmp_path / "outside").mkdir()
    (sweep / "tensorboard").symlink_to(tmp_path / "outside")
    done = mlpkit("resume", next(sweep.glob("0002-*")).name, "trainer.epochs=5", cwd=sweep, check=False)
    assert done.returncode == 65
    assert "tensorboard: may lead out of the run" in done.stderr
    assert not list((tmp_path / "outside").iterdir())


def test_compare_writes_the_mean_and_the_range(sweep: Path) -> None:
    done = mlpkit("compare", sweep.name, "--tensorboard", cwd=sweep.parent)
    assert done.stdout.splitlines()[-1] == "mean curves: tensorboard --logdir elsewhere/tensorboard"
    events = read(sweep / "tensorboard" / "mean over seeds" / "lr=0.01")
    runs = [path.parent for path in sweep.glob("*/config.yaml") if "  lr: 0.01\n" in path.read_text()]
    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs]
    losses = np.array([[line["loss"] for line in of if line["split"] == "val"] for of in lines])
    assert losses.shape == (2, 3)
    for tag, expected in (
        ("Loss/val", losses.mean(axis=0)),
        ("band/Loss/val/lowest", losses.min(axis=0)),
        ("band/Loss/val/highest", losses.max(axis=0)),
    ):
        assert [event.value for event in events.Scalars(tag)] == pytest.approx(expected)
    layout = Layout.FromString(tensor(events, "custom_scalars__config__").item())
    assert [chart.title for chart in layout.category[0].chart] == [
        "Loss/val", "Accuracy/val", "Loss/train", "Accuracy/train",
    ]  # fmt: skip
    series = layout.category[0].chart[0].margin.series[0]
    assert (series.value, series.lower, series.upper) == (
        "Loss/val", "band/Loss/val/lowest", "band/Loss/val/highest",
    )  # fmt: skip
    mlpkit("compare", sweep.name, "--tensorboard", cwd=sweep.parent)  # again: replaced, not added
    again = read(sweep / "tensorboard" / "mean over seeds" / "lr=0.01")
    assert len(again.Scalars("Loss/val")) == 3
