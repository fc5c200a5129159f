"""Members that are validated on folds of their own: `dataset.val_folds`."""

import json
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from conftest import Refused
from running import config, content, train
from torch import nn

from mlpkit.analysis.predict import load_predictor, members_of
from mlpkit.cli.main import run as command
from mlpkit.config.config import Config
from mlpkit.data.load import load_dataset
from mlpkit.data.member_folds import of_member
from mlpkit.engines.batches import Orders, Steps
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.models.torch_network import build_model
from mlpkit.training.build import seed_of_member

SMALL = (
    *("dataset=iris", "model=mlp", "model.hidden=[4]", "model.members=3", "dataset.val_folds=3"),
    *("trainer.epochs=3", "trainer.batch_size=32", "trainer.monitor=loss", "scheduler=none"),
    *("run.plots=false", "run.loggers=[]"),
)


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of three members, each with its fold."""
    return train(tmp_path_factory.mktemp("folded"), *SMALL)


def plain_loop(config: Config, number: int) -> tuple[nn.Module, list[float]]:
    """Train a member with torch alone; return it, and the losses on its fold after each epoch."""
    dataset = of_member(load_dataset(config.dataset), number)
    seed = seed_of_member(config.seed, number)
    model = build_model(config.model_copy(update={"seed": seed}), dataset, "cpu").train()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.optimizer.lr)
    rows, losses = dataset.splits["train"], []
    orders = Orders(Steps.of(config.trainer, len(rows)), [seed])
    for epoch in range(config.trainer.epochs):
        for batch in torch.split(orders.of_pass(epoch), 32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(rows.inputs[batch]), rows.targets[batch])
            loss.backward()
            optimizer.step()
        val = load_dataset(config.dataset).splits["val"]
        start = sum(val.folds[:number])
        own = slice(start, start + val.folds[number])
        with torch.no_grad():
            found = nn.functional.cross_entropy(model(val.inputs[own]), val.targets[own], reduction="sum")
        losses.append(float(found))
    return model, losses


def test_it_does_what_a_plain_loop_over_the_members_does(folded: RunFolder) -> None:
    of_run = checkpoint.load(folded.last).config
    state = checkpoint.load(folded.last).state.model
    rows = len(load_dataset(of_run.dataset).splits["val"])
    sums = torch.zeros(of_run.trainer.epochs, dtype=torch.float64)
    for number in range(3):
        model, losses = plain_loop(of_run, number)
        sums += torch.tensor(losses, dtype=torch.float64)
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(state[name][number], tensor, rtol=1e-4, atol=1e-5)
    lines = [json.loads(line) for line in folded.metrics.read_text().splitlines()]
    logged = [line["loss"] for line in lines if line["split"] == "val"]
    assert logged == pytest.approx((sums / rows).tolist(), rel=1e-4)


def test_the_folds_are_stratified_parts_of_all_rows_but_test() -> None:
    dataset = load_dataset(config(*SMALL).dataset)
    train_, val = dataset.splits["train"], dataset.splits["val"]
    assert torch.equal(train_.inputs, val.inputs) and sum(val.folds) == 120
    for start, size in zip(accumulate((0, *val.folds)), val.folds, strict=False):
        counts = torch.bincount(val.targets[start : start + size], minlength=3)
        assert counts.max() - counts.min() <= 1
    members = [of_member(dataset, number).splits for number in range(3)]
    assert {len(own["train"]) for own in members} == {80}
    for own in members:
        keys = [set(own[name].rows.tolist()) for name in ("train", "val")]
        assert not keys[0] & keys[1]
        assert own["train"].all_inputs is dataset.splits["test"].all_inputs  # no copy


def test_groups_stay_together(tmp_path: Path) -> None:
    rows = [f"{i % 7},{(i * 5) % 11},g{i % 13},{i % 7 * 2 + i % 3}" for i in range(130)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["a,b,g,y", *rows]) + "\n")
    options = (f"dataset.path={table}", "dataset.target=y", "dataset.task=regression", "dataset.val_folds=3")
    split = "dataset.split.by=group", "dataset.split.column=g"
    data = config("dataset=table", *options, *split, "model=mlp", "model.members=3").dataset
    dataset = load_dataset(data)
    assert dataset.order is not None
    groups = [
        {int(row) % 13 for row in dataset.order[of_member(dataset, number).splits["val"].rows]}
        for number in range(3)
    ]
    assert sum(map(len, groups)) == len(set.union(*groups))
    sizes = {len(of_member(dataset, number).splits["train"]) for number in range(3)}
    assert len(sizes) == 1


def test_val_scores_are_those_of_the_member_that_was_not_trained_on_the_row(
    folded: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor, stored = load_predictor(folded.best)
    val = load_dataset(stored.config.dataset).splits["val"]
    parts = zip(members_of(predictor), torch.split(val.inputs, val.folds), strict=True)
    outputs = torch.cat([member.outputs(part) for member, part in parts])
    loss = float(nn.functional.cross_entropy(outputs, val.targets))
    best = json.loads(folded.summary.read_text())["best"]
    assert best["val"]["loss"] == best["value"] == pytest.approx(loss, rel=1e-4)
    assert command(["evaluate", str(folded.path), "--split", "val"]) == 0
    said = capsys.readouterr().out
    assert f"{loss:.4f}"[:5] in said and "logistic" not in said


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    often = ("trainer.checkpoint_every=1steps", "trainer.keep_last=100", "trainer.steps_per_epoch=2")
    whole = train(tmp_path, *SMALL, *often)
    wanted = {name: content(getattr(whole, name)) for name in ("last", "best")}
    for path in whole.older()[:3]:
        assert command(["resume", str(path)]) == 0
        assert {name: content(getattr(whole, name)) for name in ("last", "best")} == wanted


def test_a_sweep_trains_them_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folded: RunFolder
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["train", "-m", *SMALL, "seed=0,1", "run.dir=sweep"]) == 0
    first, _ = (Path("sweep") / path.name for path in sorted(Path("sweep").glob("000*")))
    assert json.loads((first / "summary.json").read_text())["runs_together"] == 2
    of_sweep, alone = (
        checkpoint.load(path).state for path in (first / "checkpoints/last.safetensors", folded.last)
    )
    for name, tensor in alone.model.items():
        torch.testing.assert_close(of_sweep.model[name], tensor, rtol=1e-4, atol=1e-5)
    assert of_sweep.scores["val"] == pytest.approx(alone.scores["val"], rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("arguments", [("calibrate",), ("explain", "--row", "1"), ("plot",)])
def test_other_commands_take_it(arguments: tuple[str, ...], folded: RunFolder) -> None:
    name, *options = arguments
    assert command([name, str(folded.path), *options]) == 0


def test_importance_without_a_test_split_is_that_of_the_training_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, *SMALL, "dataset.test_fraction=0")
    said = []
    for options in ([], ["--split=train"]):
        capsys.readouterr()
        assert command(["importance", str(run.path), *options]) == 0
        said.append(capsys.readouterr())
    assert said[0].out == said[1].out
    assert said[0].err == "split train: each member was trained on most rows of val (dataset.val_folds)\n"


def test_what_is_refused(refused: Refused, folded: RunFolder) -> None:
    said = refused("predict", str(folded.path), "--split", "val", code=2)
    assert said.startswith("--split=val: most members were trained on these rows ")
    assert refused("importance", str(folded.path), "--split", "val", code=2).startswith(said[:40])
    said = refused("train", *SMALL[:3], "model.members=2", "dataset.val_folds=3", code=2)
    assert said.startswith("dataset.val_folds=3: must be as many as model.members=2, ")
    by_time = ("dataset.split.by=time", "dataset.split.column=petal_width")
    said = refused("train", *SMALL[:5], *by_time, code=2)
    assert "val_folds=3: split.by=time has no folds; " in said
