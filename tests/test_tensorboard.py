"""The event file, read back by TensorBoard's own reader."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from running import mlpkit, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from mlpkit.folders.run_folder import RunFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory.mktemp("run"), "dataset=moons", "trainer.epochs=6")


@pytest.fixture(scope="module")
def events(folder: RunFolder) -> EventAccumulator:
    return EventAccumulator(str(folder.tensorboard), size_guidance={"scalars": 0, "images": 0}).Reload()


@pytest.mark.long
def test_scalars_are_those_of_metrics(folder: RunFolder, events: EventAccumulator) -> None:
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert set(events.Tags()["scalars"]) == {
        *(f"{name}/{split}" for name in ("Loss", "Accuracy") for split in ("train", "val", "test")),
        "lr",
        "grad_norm",
    }  # fmt: skip
    for name, title in (("loss", "Loss"), ("accuracy", "Accuracy")):
        for split in ("train", "val", "test"):
            written = [(line["step"], line[name]) for line in lines if line["split"] == split]
            read = [(event.step, event.value) for event in events.Scalars(f"{title}/{split}")]
            assert [step for step, _ in read] == [step for step, _ in written]
            np.testing.assert_allclose([v for _, v in read], [v for _, v in written], rtol=1e-6)
    assert [event.step for event in events.Scalars("lr")] == [1, 2, 3, 4, 5, 6]


def test_regression_scores_have_their_tags(tmp_path: Path) -> None:
    folder = train(tmp_path, "dataset=line", "model=linear", "trainer.epochs=2", "run.plots=false")
    tags = EventAccumulator(str(folder.tensorboard)).Reload().Tags()["scalars"]
    assert {"Loss/train", "R2/val", "MAE/test", "RMSE/train"} <= set(tags)


def test_pictures_are_those_of_the_folder(folder: RunFolder, events: EventAccumulator) -> None:
    assert set(events.Tags()["images"]) == {path.stem for path in folder.plots.iterdir()}
    for path in folder.plots.iterdir():
        (event,) = events.Images(path.stem)
        assert event.encoded_image_string == path.read_bytes()
        picture = Image.open(io.BytesIO(event.encoded_image_string))
        assert (event.width, event.height) == picture.size
        assert event.step == 6


def test_hparams_tab_is_filled(events: EventAccumulator) -> None:
    content = events.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    settings = metadata.parse_session_start_info_plugin_data(content).hparams
    assert settings["optimizer.lr"].number_value == 0.001
    assert settings["dataset.name"].string_value == "moons"
    assert settings["model.bias"].bool_value is True
    assert settings["model.hidden"].string_value == "[64, 64]"
    assert not [name for name in settings if name.startswith(("run.", "format"))]
    assert metadata.SESSION_END_INFO_TAG in events.summary_metadata


def hparams_of(folder: Path):
    """Return what the tab itself asks for: the metrics' names, and sessions with settings and values."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    asked = RequestContext()
    experiment = context.experiment_from_metadata(
        asked, "", True, context.hparams_metadata(asked, ""),
        provider.list_hyperparameters(asked, experiment_ids=[""], limit=1000),
    )  # fmt: skip
    names = {(metric.name.group, metric.name.tag) for metric in experiment.metric_infos}
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=100, allowed_statuses=[api_pb2.STATUS_SUCCESS]
    )
    groups = list_session_groups.Handler(
        request_context=asked, backend_context=context, experiment_id="", request=request
    ).run()
    return names, groups.session_groups


def test_hparams_backend_lists_runs_with_their_scores(tmp_path: Path) -> None:
    for seed in (1, 2):
        train(tmp_path, "dataset=moons", "trainer.epochs=2", "run.plots=false", f"seed={seed}")
    names, groups = hparams_of(tmp_path)
    assert {tag for _, tag in names} >= {"Accuracy/test", "Loss/val"}
    assert sorted(group.hparams["seed"].number_value for group in groups) == [1.0, 2.0]


@pytest.mark.long
def test_hparams_backend_lists_each_run_of_a_sweep_once(tmp_path: Path) -> None:
    mlpkit(
        "train", "-m", "dataset=moons", "model.hidden=[4]", "trainer.epochs=3", "optimizer.lr=0.01,0.1",
        "seed=range(3)", "run.dir=outputs/sweep", cwd=tmp_path,
    )  # fmt: skip
    _, groups = hparams_of(tmp_path / "outputs" / "sweep")
    found = {}
    for group in groups:
        lr, seed = group.hparams["optimizer.lr"].number_value, group.hparams["seed"].number_value
        values = {value.name.tag + value.name.group: value.value for value in group.metric_values}
        found[lr, int(seed)] = next(value for tag, value in values.items() if tag.startswith("Accuracy/test"))
    assert len(groups) == len(found) == 6
    for path in (tmp_path / "outputs" / "sweep").glob("*/summary.json"):
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        expected = json.loads(path.read_text())["test"]["accuracy"]
        assert found[config["optimizer"]["lr"], config["seed"]] == pytest.approx(expected)
