"""Runs that are trained together have the numbers that they have alone."""

import json

import pytest
import torch
from cases import rest_long
from engines import KINDS, engine_of, trainer_of
from running import TRAIN
from running import config as config_of
from torch import nn

from mlpkit.config.config import parse, to_dict
from mlpkit.config.nested import items, replace
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.own_modules import OwnModules
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.sweep_folder import create
from mlpkit.sweeps.datasets import Datasets
from mlpkit.sweeps.grid import Job
from mlpkit.sweeps.groups import group
from mlpkit.sweeps.ledger import DONE, Ledger
from mlpkit.sweeps.run import start
from mlpkit.sweeps.vectorized import vectorized
from mlpkit.system.console import make_console
from mlpkit.training.start import run

# Products of several networks are added up in another order; what that changes, Adam's first steps enlarge.
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}
TIMES = ("seconds", "train_seconds", "samples_per_second", "runs_together", "final")  # or of lone runs
QUIET = ("run.plots=false", "run.progress=none", "run.tensorboard=false")


def jobs_of(base, changes):
    """Return a job for each of some changes {key: value} of a config."""
    last = {line.partition("=")[0]: line for line in (*base, *QUIET)}  # a case may change what its base says
    config, jobs = to_dict(config_of(*last.values())), []
    for change in changes:
        changed = config
        for key, value in change.items():
            changed = {**changed, key: value} if isinstance(value, dict) else replace(changed, key, value)
        jobs.append(Job(tuple(f"{key}={value}" for key, value in change.items()), parse(changed)))
    return jobs


def train_both(tmp_path, base, changes):
    """Train jobs together and each alone; return the pairs of their folders."""
    jobs = jobs_of((*base, f"run.root={tmp_path}"), changes)
    sweep = create([job.config for job in jobs])
    start(sweep, jobs, TRAIN, vectorized, make_console())
    with Ledger(sweep.ledger) as ledger:
        entries = ledger.entries()
    assert [entry.status for entry in entries] == [DONE] * len(jobs)
    pairs = []
    for entry in entries:
        place = {"dir": str(tmp_path / "alone" / entry.folder)}
        config = entry.config.model_copy(update={"run": entry.config.run.model_copy(update=place)})
        alone = run(config, TRAIN, make_console(), print)
        pairs.append((RunFolder(sweep.run(entry.folder)), alone))
    return pairs


def same(pairs):
    """Assert that each run is its lone twin."""
    for together, alone in pairs:
        assert files_in(together.path) == files_in(alone.path)
        assert "trained together" in together.log.read_text()
        close(lines_of(together), lines_of(alone))
        summaries = [without_times(json.loads(folder.summary.read_text())) for folder in (together, alone)]
        close(*summaries)
        for name in ("last", "best"):
            found, expected = (
                checkpoint.load(getattr(folder, name), checkpoint.KINDS) for folder in (together, alone)
            )
            close(*(without_times(of.state.progress.to_dict()) for of in (found, expected)))
            torch.testing.assert_close(found.state.tensors(), expected.state.tensors(), **ROUNDING)
            assert found.fingerprint == expected.fingerprint


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def lines_of(folder):
    return [without_times(json.loads(line)) for line in folder.metrics.read_text().splitlines()]


def without_times(values):
    return {n: v for n, v in values.items() if n not in TIMES}


def close(found, expected):
    """Assert that plain values are equal, floats but for rounding."""
    if isinstance(found, list):
        assert len(found) == len(expected)
        found, expected = dict(enumerate(found)), dict(enumerate(expected))
    if not isinstance(found, dict):
        found, expected = {"": found}, {"": expected}
    pairs = [dict(items({str(key): value for key, value in of.items()})) for of in (found, expected)]
    assert pairs[0].keys() == pairs[1].keys()
    for key, value in pairs[1].items():
        if isinstance(value, list):
            close(pairs[0][key], value)
        elif isinstance(value, float):
            assert pairs[0][key] == pytest.approx(value, rel=1e-5, abs=1e-6), key
        else:
            assert pairs[0][key] == value, key


MOONS = ("dataset=moons", "dataset.n=120", "model=mlp", "model.hidden=[5,4]", "trainer.epochs=12")
LINE = ("dataset=line", "model=mlp", "model.hidden=[4]", "trainer.epochs=8")
DIGITS = ("dataset=digits", "model=mlp", "model.hidden=[6]", "trainer.epochs=2")
BATCHES = ("trainer.batch_size=16",)
AUTOGRAD = ("trainer.engine=autograd",)
SEEDS = [{"seed": seed} for seed in range(3)]
# A batch norm takes a bias away again, whose gradient is then nothing but rounding, which Adam enlarges: it
# goes without, or with SGD.
BATCH_NORM = ("model.norm=batch", "model.bias=false")

CASES = {
    "seeds": (MOONS, SEEDS),
    "seeds in batches": ((*MOONS, *BATCHES), SEEDS),
    "one layer": (("dataset=moons", "model=logistic", "trainer.epochs=8"), SEEDS),
    "a line": (("dataset=line", "model=linear", "trainer.epochs=8"), SEEDS),
    "a deep line": (LINE, SEEDS),
    "a deep line in batches": ((*LINE, "trainer.batch_size=7"), SEEDS),
    "several targets": (("dataset=sum", "model=linear", "trainer.epochs=8"), SEEDS),
    "digits": ((*DIGITS, "trainer.batch_size=100"), SEEDS),
    "all digits at once": (DIGITS, SEEDS),
    "float64": ((*MOONS, "trainer.precision=float64"), SEEDS),
    "no bias": ((*MOONS, "model.bias=false"), SEEDS),
    "ragged batches, added up": ((*MOONS, "trainer.batch_size=7", "trainer.accumulate=3"), SEEDS),
    "no validation": ((*MOONS, "dataset.val_fraction=0"), SEEDS),
    "not standardised": ((*MOONS, "dataset.standardize=false"), SEEDS),
    "inits": (
        MOONS,
        [{"init": {"name": name}} for name in ("default", "xavier_normal", "orthogonal", "kaiming_uniform")],
    ),
    "sgd": (
        (*MOONS, "optimizer=sgd", *BATCHES),
        [
            {"optimizer.lr": 0.1},
            {"optimizer.lr": 0.3},
            {"optimizer.momentum": 0.9, "optimizer.lr": 0.05},
            {"optimizer.momentum": 0.9, "optimizer.nesterov": True, "optimizer.lr": 0.05},
            {"optimizer.momentum": 0.5, "optimizer.dampening": 0.2, "optimizer.lr": 0.1},
            {"optimizer.weight_decay": 0.01, "optimizer.lr": 0.1},
        ],
    ),
    "adam": (
        (*MOONS, "optimizer=adam", *BATCHES),
        [
            {"optimizer.lr": 0.01},
            {"optimizer.lr": 0.03, "seed": 1},
            {"optimizer.betas": [0.5, 0.9]},
            {"optimizer.eps": 1e-3},
            {"optimizer.weight_decay": 0.1},
        ],
    ),
    "adamw": ((*MOONS, "optimizer=adamw"), [{"optimizer.weight_decay": decay} for decay in (0.0, 0.1, 1.0)]),
    "several optimizers": (
        MOONS,
        [
            {"optimizer": {"name": "sgd", "lr": 0.1}},
            {"optimizer": {"name": "adam", "lr": 0.01}},
            {"optimizer": {"name": "sgd", "lr": 0.1}, "seed": 5},
        ],
    ),
    "rmsprop, nadam and lion": (
        (*MOONS, *BATCHES),
        [
            {"optimizer": {"name": "rmsprop", "lr": 0.01, "centered": True, "momentum": 0.5, "eps": 1e-3}},
            {"optimizer": {"name": "nadam", "lr": 0.01}},
            {"optimizer": {"name": "nadam", "lr": 0.01}, "seed": 1},
            {"optimizer": {"name": "nadam", "lr": 0.02, "weight_decay": 0.1}},
            {"optimizer": {"name": "lion", "lr": 0.001}},
        ],
    ),
    "muon": (
        (*MOONS, *BATCHES),
        [
            {"optimizer": {"name": "muon", "lr": 0.01, "weight_decay": decay}, "seed": seed}
            for decay, seed in [(0.01, 0), (0.01, 1), (0.1, 0)]
        ],
    ),
    "averages": (
        (*MOONS, *BATCHES, "trainer.ema=0.9", "trainer.early_stopping.patience=3", "trainer.epochs=30"),
        [{"seed": seed, "optimizer.lr": lr} for seed in range(2) for lr in (0.03, 0.003)],
    ),
    "averages of other widths": (
        (*LINE, "trainer.ema=0.5"),
        [{"model.hidden": [width]} for width in (2, 5, 3)],
    ),
    "averages of a batch norm": ((*MOONS, *BATCH_NORM, *BATCHES, "trainer.ema=0.9"), SEEDS),
    "batch norm": ((*MOONS, *BATCH_NORM), SEEDS),
    "batch norm in batches": ((*MOONS, *BATCH_NORM, *BATCHES), SEEDS),
    "batch norm and dropout": ((*MOONS, *BATCH_NORM, *BATCHES, "model.dropout=0.2"), SEEDS),
    "batch norm and biases": (
        # Few epochs: on some processors rounding grows to 3e-6 within twelve.
        (*MOONS, "model.norm=batch", *BATCHES, "optimizer=sgd", "optimizer.momentum=0.9", "trainer.epochs=4"),
        [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.01}, {"seed": 1}],
    ),
    "batch norm that begins with fewer rows": ((*MOONS, *BATCH_NORM, "trainer.batch_size=50"), SEEDS),
    "layer norm": ((*MOONS, "model.norm=layer"), SEEDS),
    "layer norm in batches": ((*MOONS, "model.norm=layer", *BATCHES), SEEDS),
    "layer norm and dropout": ((*MOONS, "model.norm=layer", *BATCHES, "model.dropout=0.2"), SEEDS),
    "layer norm and dropout at once": ((*MOONS, "model.norm=layer", "model.dropout=0.2"), SEEDS),
    "layer norm, of data of their own": (
        (*LINE, "model.norm=layer"),
        [{"dataset.seed": seed, "seed": seed} for seed in range(3)],
    ),
    "autograd": ((*MOONS, *AUTOGRAD), SEEDS),
    "autograd, several optimizers": (
        (*MOONS, *AUTOGRAD, *BATCHES, "trainer.accumulate=2"),
        [
            {"optimizer": {"name": "sgd", "lr": 0.1}},
            {"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True}},
            {"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.5, "dampening": 0.2}, "seed": 1},
            {"optimizer": {"name": "adam", "lr": 0.01}},
            {"optimizer": {"name": "adam", "lr": 0.03, "weight_decay": 0.1}},
            {"optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1}},
            {"optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1}, "seed": 1},
        ],
    ),
    "autograd, limits and dropout": (
        (*MOONS, *AUTOGRAD, *BATCHES, "model.dropout=0.3"),
        [{"seed": 0}, {"trainer.clip_norm": 0.1}, {"trainer.clip_value": 0.01}],
    ),
    "autograd, several targets": (("dataset=sum", "model=linear", "trainer.epochs=8", *AUTOGRAD), SEEDS),
    "autograd, digits": ((*DIGITS, "trainer.batch_size=100", *AUTOGRAD), SEEDS),
    "autograd, no bias": ((*MOONS, *AUTOGRAD, "model.bias=false"), SEEDS),
    "digits of other splits": ((*DIGITS, "trainer.batch_size=100"), [{"dataset.seed": s} for s in range(3)]),
    "all digits of other splits at once": (DIGITS, [{"dataset.seed": s, "seed": s} for s in range(3)]),
    "digits of other splits, by autograd": (
        (*DIGITS, "trainer.batch_size=100", *AUTOGRAD),
        [{"dataset.seed": s} for s in range(3)],
    ),
    "dropout": (
        (*MOONS, *BATCHES),
        [{"model.dropout": rate, "seed": seed} for rate in (0.1, 0.5) for seed in (0, 1)],
    ),
    "alpha dropout": (
        (*MOONS, *BATCHES, "model.activation=selu", "model.dropout_kind=alpha"),
        [{"model.dropout": rate, "seed": seed} for rate, seed in [(0.1, 0), (0.5, 0), (0.5, 1)]],
    ),
    "dropout at once": (MOONS, [{"model.dropout": rate} for rate in (0.1, 0.5)]),
    "limits": (
        (*MOONS, *BATCHES),
        [
            {"seed": 0},
            {"trainer.clip_norm": 0.1},
            {"trainer.clip_value": 0.01},
            {"trainer.clip_norm": 0.05, "trainer.clip_value": 0.02},
        ],
    ),
    "schedules": (
        (*MOONS, *BATCHES),
        [
            {"scheduler": {"name": "none"}},
            {"scheduler": {"name": "none", "warmup_steps": 5}},
            {"scheduler": {"name": "step", "step_size": 10}},
            {"scheduler": {"name": "cosine"}},
            {"scheduler": {"name": "onecycle"}},
            {"scheduler": {"name": "exponential", "gamma": 0.99}},
            {"scheduler": {"name": "cosine_restarts", "t_0": 3, "t_mult": 2}},
            {"scheduler": {"name": "wsd", "decay_fraction": 0.5}},
            {"scheduler": {"name": "inverse_sqrt", "timescale": 5, "warmup_steps": 5}},
        ],
    ),
    "plateaus": (
        (*MOONS, "optimizer.lr=0.1"),
        [{"scheduler": {"name": "plateau", "patience": 1}, "seed": seed} for seed in range(3)],
    ),
    "early stopping": (
        (*MOONS, "trainer.epochs=60", "optimizer.lr=0.05"),
        [
            {"trainer.early_stopping.patience": patience, "seed": seed}
            for patience in (2, 5, None)
            for seed in (0, 1)
        ],
    ),
    "early stopping by so much": (
        (*MOONS, "trainer.epochs=60", "optimizer.lr=0.05"),
        [
            {"trainer.early_stopping.patience": 3, "trainer.early_stopping.min_delta": delta}
            for delta in (0.0, 0.01, 0.2)
        ],
    ),
    "data of their own": (MOONS, [{"dataset.seed": seed} for seed in range(3)]),
    "data of their own, in batches": ((*MOONS, *BATCHES), [{"dataset.seed": seed} for seed in range(3)]),
    "lines of their own": (LINE, [{"dataset.seed": seed, "seed": seed} for seed in range(3)]),
    "noise of their own": (MOONS, [{"dataset.noise": noise} for noise in (0.1, 0.2, 0.3)]),
    "evaluated in parts": (
        ("dataset=moons", "dataset.n=20000", "model=mlp", "model.hidden=[5,4]", "trainer.epochs=2"),
        SEEDS,
    ),
    # Side by side their products are large enough to be rounded; none of them is, alone.
    "too small for bfloat16": (
        (*DIGITS, "trainer.batch_size=full", "trainer.matmul=bfloat16"),
        [{"seed": seed} for seed in range(6)],
    ),
    "saved at every step": ((*MOONS, *BATCHES, "trainer.checkpoint_every=3steps"), SEEDS),
    "logged now and then": ((*MOONS, "trainer.log_every=5"), SEEDS),
}


# Two things at once, each of which has a case of its own.
COMBINED = (
    *("seeds in batches", "a deep line in batches", "all digits at once", "not standardised"),
    *("batch norm in batches", "batch norm that begins with fewer rows", "layer norm in batches"),
    *("layer norm and dropout at once", "layer norm, of data of their own", "averages of a batch norm"),
    *("averages of other widths", "autograd, several targets", "autograd, digits", "autograd, no bias"),
    *("all digits of other splits at once", "digits of other splits, by autograd", "dropout at once"),
    *(
        "early stopping by so much",
        "data of their own, in batches",
        "lines of their own",
        "noise of their own",
    ),
)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("case", rest_long(CASES, lambda case: case not in COMBINED))
def test_a_run_among_others_is_the_run_alone(tmp_path, case):
    same(train_both(tmp_path, *CASES[case]))


@pytest.mark.parametrize(
    "activation",
    rest_long(
        [
            *("leaky_relu", "prelu", "elu", "gelu", "silu", "mish", "selu", "softplus"),
            *("tanh", "sigmoid", "identity"),
        ],
        lambda name: name in ("gelu", "tanh"),
    ),
)
def test_every_activation(tmp_path, activation):
    base = (*MOONS, *BATCHES, f"model.activation={activation}", "model.dropout=0.2")
    same(train_both(tmp_path, base, SEEDS[:2]))


@pytest.mark.parametrize("batch_size", [200, "full"])
def test_pixels_are_changed_for_each_run_by_itself(tmp_path, batch_size):
    base = (*DIGITS, f"trainer.batch_size={batch_size}", "dataset.augment.translation=1", "trainer.epochs=1")
    same(train_both(tmp_path, base, SEEDS[:2]))


@pytest.mark.long
def test_scores_of_rounded_steps_are_not_rounded(tmp_path):
    """An epoch's score is that of its weights, which each run computes once more at its end."""
    base = (*DIGITS, "model.hidden=[600]", "trainer.batch_size=64", "trainer.matmul=bfloat16")
    for together, _ in train_both(tmp_path, base, SEEDS[:2]):
        last = [line for line in lines_of(together) if line["split"] == "val"][-1]
        summary = json.loads(together.summary.read_text())
        assert last["loss"] == pytest.approx(summary["val"]["loss"], rel=1e-6)


WIDTHS = [{"model.hidden": hidden, "seed": seed} for hidden in ([3], [5], [9]) for seed in range(2)]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "options",
    [
        ("trainer.batch_size=16", "model.dropout=0.3"),
        ("optimizer=sgd", "optimizer.momentum=0.9", "model.activation=tanh"),
        ("trainer.clip_norm=0.1", "model.activation=gelu"),
        ("model.bias=false", "trainer.batch_size=7", "trainer.accumulate=2"),
    ],
)
def test_runs_of_other_widths_go_together(tmp_path, options):
    """Their checkpoints hold the model without the zeros that it was padded with."""
    same(train_both(tmp_path, (*MOONS, "trainer.epochs=8", *options), WIDTHS))


def test_deep_runs_of_other_widths_go_together(tmp_path):
    hidden = [{"model.hidden": widths} for widths in ([3, 6], [6, 3], [4, 4])]
    same(train_both(tmp_path, (*MOONS, *BATCHES, "trainer.epochs=8"), hidden))


# ------------------------------------------------------------------------------- what lies in memory


@pytest.mark.parametrize("kind", KINDS)
def test_other_rows_of_one_table_are_no_copies(kind):
    configs = [config_of(*DIGITS, *QUIET, f"dataset.seed={seed}") for seed in range(3)]
    engine = engine_of(kind, configs=configs)
    splits = [experiment.dataset.splits for experiment in engine.experiments]
    tables = [split.all_inputs for of in splits for split in of.values()]
    assert all(table is tables[0] for table in tables)
    parts = engine.data.splits
    for part in parts.values():
        assert part.inputs is parts["train"].inputs and part.inputs.shape == tables[0].shape
        assert part.targets is parts["train"].targets and part.scaled is parts["train"].scaled
        assert part.indices is not None and part.indices.shape == (3, part.rows)
    for number, of in enumerate(splits):
        for name, split in of.items():
            assert torch.equal(tables[0][parts[name].indices[number]], split.inputs)
    assert not torch.equal(splits[0]["train"].inputs, splits[1]["train"].inputs)
    fewer = engine.select_runs([0, 2]).data.splits["train"]
    assert fewer.inputs is parts["train"].inputs and torch.equal(
        fewer.indices, parts["train"].indices[[0, 2]]
    )


def test_equal_data_is_there_once():
    engine = engine_of(KINDS[0], configs=[config_of(*MOONS, f"seed={seed}") for seed in range(3)])
    dataset = engine.experiments[0].dataset
    assert all(experiment.dataset is dataset for experiment in engine.experiments)
    assert all(part.indices is None for part in engine.data.splits.values())


# -------------------------------------------------------------------------- layers that are not known


class Decides(nn.PReLU):
    """A module that torch.func.vmap cannot map: it looks at values."""

    def forward(self, units):
        return super().forward(units) if bool(units.isfinite().all()) else units


@pytest.mark.sampled(3)
@pytest.mark.parametrize("batch_size", [16, "full"])
@pytest.mark.parametrize("layer", [nn.Softsign, nn.PReLU, Decides])
def test_layers_of_ones_own(layer, batch_size):
    """One without values that are trained, one with them, and one that has to be computed run by run."""

    def change(network):
        for place, module in enumerate(network.layers):
            if isinstance(module, nn.ReLU):
                network.layers[place] = layer()

    common = (*MOONS, *QUIET, f"trainer.batch_size={batch_size}", "model.dropout=0.1", "optimizer.lr=0.02")
    configs = [config_of(*common, f"seed={seed}") for seed in range(3)]
    together = engine_of(AutogradGradients, configs=configs, change=change)
    trainer, recorders = trainer_of(together)
    trainer.fit()
    assert isinstance(together.filler, AutogradGradients)
    own = [of for of in together.filler.batched if isinstance(of, OwnModules) and of.parameters]
    assert [of.can_be_mapped for of in own] == [layer is nn.PReLU] * (0 if layer is nn.Softsign else 2)
    for config, recorder in zip(configs, recorders, strict=True):
        alone, (other,) = trainer_of(engine_of(AutogradGradients, configs=[config], change=change))
        first = {name: values.clone() for name, values in alone.engine.state(0)["model"].items()}
        alone.fit()
        state, expected = recorder.saved[-1], other.saved[-1]
        torch.testing.assert_close(state.tensors(), expected.tensors(), **ROUNDING)
        assert len(recorder.reports) == len(other.reports) == 12
        for report, same in zip(recorder.reports, other.reports, strict=True):
            assert report.scores == {
                split: pytest.approx(scores, rel=1e-5, abs=1e-6) for split, scores in same.scores.items()
            }
        names = [name for name in first if layer is not nn.Softsign and first[name].shape == (1,)]
        assert len(names) == (0 if layer is nn.Softsign else 3)  # two of the layers, and the last bias
        assert all(not torch.equal(first[name], state.model[name]) for name in names)


def grouped(base, changes):
    """Return the sizes of the groups of some jobs."""
    jobs = jobs_of(base, changes)
    return [len(of.numbers) for of in group({n: job.config for n, job in enumerate(jobs)}, Datasets())[0]]


HIDDEN = [{"model.hidden": [4]}, {"model.hidden": [5]}]


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ((), [2]),
        (("model.activation=sigmoid",), [1, 1]),  # which is not 0 at 0
        (("optimizer=adam", "optimizer.eps=0"), [1, 1]),  # 0 / 0
        (("model.norm=layer",), [1, 1]),  # which would count the zeros
        (("trainer.matmul=bfloat16",), [1, 1]),
    ],
)
def test_only_zeros_that_stay_zeros_are_added(options, sizes):
    assert grouped((*MOONS, *options), HIDDEN) == sizes


def test_pixels_that_are_scaled_otherwise_are_not_changed_together():
    base = (*DIGITS, "dataset.augment.rotation=5")
    assert grouped(base, [{"dataset.mean": mean} for mean in (0.3, 0.6)]) == [1, 1]
