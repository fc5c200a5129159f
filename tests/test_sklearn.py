"""mlpkit's scikit-learn estimators: scikit-learn's own checks, and what they promise beyond."""

import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from running import mlpkit
from sklearn import linear_model
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier as SklearnMLP
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlpkit.folders import checkpoint
from mlpkit.sklearn import LinearRegression, LogisticRegression, MLPClassifier, MLPRegressor
from mlpkit.training.in_memory import StopRule
from mlpkit.training.recorder import Recorder

ESTIMATORS = [MLPClassifier(), MLPRegressor(), LogisticRegression(), LinearRegression()]
IRIS = load_iris(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
SHORT = {
    "hidden_layer_sizes": (8,),
    "learning_rate_init": 0.02,
    "max_iter": 20,
    "n_iter_no_change": None,
    "random_state": 0,
}


@pytest.mark.sampled(4)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def classifier(**parameters: Any) -> MLPClassifier:
    return MLPClassifier(**{**SHORT, **parameters})


def regressor(**parameters: Any) -> MLPRegressor:
    return MLPRegressor(**{**SHORT, **parameters})


def customers(rows: int = 200) -> tuple[pd.DataFrame, pd.Series]:
    """A frame with all kinds of columns, and a target that its category decides."""
    random = np.random.default_rng(0)
    plan = random.choice(["basic", "plus", "pro"], rows)
    frame = pd.DataFrame(
        {
            "age": np.where(random.random(rows) < 0.1, np.nan, random.integers(18, 80, rows)),
            "plan": pd.Categorical(plan),
            "region": pd.Categorical(random.integers(0, 4, rows)),  # codes
            "city": random.choice(["Bonn", "Köln", None], rows),
            "active": random.random(rows) < 0.5,
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 900, rows), unit="D"),
        },
        index=range(1000, 1000 + rows),
    )
    return frame, pd.Series(np.where(plan == "pro", "yes", "no"), name="churned", index=frame.index)


# ------------------------------------------------------------------------------- in scikit-learn's tools


def test_pipelines_searches_and_calibration() -> None:
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), classifier())
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": np.array([1e-4, 1.0])}, cv=2).fit(*IRIS)
    assert search.best_score_ > 0.7
    assert list(search.best_estimator_[-1].feature_names_in_) == [f"x{k}" for k in range(4)]
    assert len(cross_val_score(regressor(), *DIABETES, cv=2)) == 2
    calibrated = CalibratedClassifierCV(classifier(), cv=2).fit(*IRIS)
    assert np.allclose(calibrated.predict_proba(IRIS[0]).sum(1), 1)


@pytest.mark.parametrize("pick", [slice(0, 4), slice(0, 1)])
def test_a_frame_is_encoded_by_the_types_of_its_columns(pick: slice, tmp_path: Path) -> None:
    frame, target = customers()
    frame = frame[["plan", "age", "city", "since", "active", "region"]].iloc[:, pick]
    model = classifier(max_iter=60).fit(frame, target)
    assert model.score(frame, target) > 0.95
    assert list(model.feature_names_in_) == list(frame.columns)
    odd = frame.iloc[:2].astype({"plan": str}).assign(plan="unheard of")
    assert model.predict(odd).shape == (2,)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"plan": "tariff"}))
    with pytest.raises(ValueError, match="give it a DataFrame"):
        model.predict(frame.to_numpy())


def test_codes_that_are_categories_are_not_numbers() -> None:
    frame, target = customers()
    schema = classifier().fit(frame, target)._members.schema
    kinds = {column.column: type(column).__name__ for column in schema.encoder.columns}
    assert kinds == {
        "age": "NumberColumn",
        "plan": "CategoryColumn",
        "region": "CategoryColumn",
        "city": "CategoryColumn",
        "active": "BooleanColumn",
        "since": "DateColumn",
    }


def test_a_frame_of_numbers_gives_what_its_array_gives() -> None:
    frame = pd.DataFrame(IRIS[0], columns=list("abcd"))
    by_name, by_place = classifier().fit(frame, IRIS[1]), classifier().fit(*IRIS)
    assert np.array_equal(by_name.predict_proba(frame), by_place.predict_proba(IRIS[0]))


# ------------------------------------------------------------------------------ weights and continuation


def test_weights_count_like_rows_that_are_repeated() -> None:
    counts = np.random.default_rng(0).integers(0, 3, len(IRIS[1]))
    weighted = classifier(class_weight={0: 3, 2: 0.5}, batch_size=None).fit(*IRIS, sample_weight=counts)
    repeated = classifier(class_weight={0: 3, 2: 0.5}, batch_size=None).fit(
        *(np.repeat(of, counts, axis=0) for of in IRIS)
    )
    assert np.allclose(weighted.predict_proba(IRIS[0]), repeated.predict_proba(IRIS[0]), atol=1e-6)


def test_a_frame_with_weights_and_an_arrow_table() -> None:
    frame, target = customers()
    weights = np.arange(len(frame)) % 3
    kept = weights > 0
    weighted = classifier().fit(frame, target, sample_weight=weights)
    left = classifier().fit(frame[kept], target[kept], sample_weight=weights[kept])
    assert np.array_equal(weighted.predict_proba(frame), left.predict_proba(frame))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    of_table = classifier().fit(table, target, sample_weight=weights)
    assert np.array_equal(of_table.predict_proba(table), weighted.predict_proba(frame))
    numbers = pa.table({name: IRIS[0][:, place] for place, name in enumerate("abcd")})
    of_numbers = classifier().fit(numbers, IRIS[1])
    assert np.array_equal(of_numbers.predict(numbers), classifier().fit(*IRIS).predict(IRIS[0]))


@pytest.mark.parametrize("make", [MLPClassifier, LogisticRegression])
def test_a_class_weight_is_on_the_class_of_its_label(make: Any) -> None:
    labels = np.array([30, 10, 20])[IRIS[1]]
    parameters = SHORT if make is MLPClassifier else {}
    plain, rare = (make(class_weight=of, **parameters).fit(IRIS[0], labels) for of in (None, {20: 50}))
    assert (rare.predict(IRIS[0]) == 20).sum() > (plain.predict(IRIS[0]) == 20).sum()
    with pytest.raises(ValueError, match="class_weight: 7 is not one of the classes"):
        make(class_weight={7: 1}, **parameters).fit(IRIS[0], labels)


def test_partial_fit_learns_from_batches_and_keeps_scaling_and_classes() -> None:
    model = classifier()
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(*IRIS)
    random = np.random.default_rng(0)
    for _ in range(60):
        rows = random.choice(150, 50, replace=False)
        model.partial_fit(IRIS[0][rows], IRIS[1][rows], classes=[0, 1, 2])
    mean = model._members.checkpoints[0].state.model["scaling.mean"].clone()
    assert model.score(*IRIS) > 0.9
    model.partial_fit(IRIS[0][:50] + 100, IRIS[1][:50])  # rows of one class
    assert torch.equal(mean, model._members.checkpoints[0].state.model["scaling.mean"])
    assert (model.t_, len(model.loss_curve_), list(model.classes_)) == (61 * 50, 61, [0, 1, 2])
    with pytest.raises(ValueError, match="has the label 3"):
        model.partial_fit(IRIS[0], IRIS[1] + 1)
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'"):
        LinearRegression().partial_fit(*DIABETES)
    steps = LinearRegression(solver="adam", random_state=0, learning_rate_init=0.1)
    for _ in range(60):
        steps.partial_fit(*DIABETES)
    assert steps.score(*DIABETES) == pytest.approx(
        LinearRegression().fit(*DIABETES).score(*DIABETES), abs=0.01
    )


def test_warm_start_goes_on_with_weights_and_the_optimizers_averages() -> None:
    model = classifier(warm_start=True, batch_size=None, max_iter=10).fit(*IRIS)
    model.fit(*IRIS)
    whole = classifier(batch_size=None, max_iter=20).fit(*IRIS)
    assert np.allclose(model.predict_proba(IRIS[0]), whole.predict_proba(IRIS[0]), atol=1e-9)
    assert np.allclose(model.loss_curve_, whole.loss_curve_)
    again = classifier(batch_size=None, max_iter=10).fit(*IRIS).fit(*IRIS)
    assert len(again.loss_curve_) == 10


# ------------------------------------------------------------------------------------ stopping and scores


def test_training_stops_and_warns_as_scikit_learns_does() -> None:
    with pytest.warns(ConvergenceWarning, match="maximum of 3 epochs was reached"):
        classifier(max_iter=3, n_iter_no_change=10).fit(*IRIS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stopped = classifier(max_iter=500, tol=0.05, n_iter_no_change=3).fit(*IRIS)
        early = classifier(max_iter=500, early_stopping=True, n_iter_no_change=3, tol=0.01).fit(*IRIS)
    assert 3 < stopped.n_iter_ < 500 and len(stopped.loss_curve_) == stopped.n_iter_
    assert not hasattr(stopped, "validation_scores_")
    # The weights are those of the best epoch.
    assert len(early.validation_scores_) == early.n_iter_ < 500
    best = early._members.checkpoints[0].state.progress.best_scores["val"]["accuracy"]
    assert max(early.validation_scores_) == best


@pytest.mark.parametrize("sign", [1, -1])
def test_small_improvements_do_not_add_up(sign: int) -> None:
    """As in scikit-learn, whose rule is: a loss above the best one - tol is no improvement."""
    rule, run = StopRule(patience=2, tol=0.1), cast(Recorder, object())
    stopped = [
        rule([run], epoch, [sign * value], [0.0]) for epoch, value in enumerate((1, 0.8, 0.75, 0.7, 0.65))
    ]
    assert stopped == [[], [], [], [], [0]]


def test_members_are_the_fits_of_their_seeds() -> None:
    together = classifier(n_members=3, random_state=5).fit(*IRIS)
    alone = [classifier(random_state=5 + k).fit(*IRIS) for k in range(3)]
    mean = np.mean([model.predict_proba(IRIS[0]) for model in alone], axis=0)
    assert np.allclose(together.predict_proba(IRIS[0]), mean, atol=1e-9)
    values = regressor(n_members=2).fit(*DIABETES).predict(DIABETES[0])
    members = [regressor(random_state=k).fit(*DIABETES).predict(DIABETES[0]) for k in range(2)]
    assert np.allclose(values, np.mean(members, axis=0))


def test_linear_models_reach_what_scikit_learns_reach() -> None:
    for data in (DIABETES, make_regression(200, 30, n_targets=2, noise=5, random_state=0)):
        ours, theirs = LinearRegression().fit(*data), linear_model.LinearRegression().fit(*data)
        assert ours.score(*data) == pytest.approx(theirs.score(*data), abs=1e-9)
        assert np.allclose(ours.coef_, theirs.coef_) and np.allclose(ours.intercept_, theirs.intercept_)
    for data in (IRIS, load_breast_cancer(return_X_y=True)):
        scaled = StandardScaler().fit_transform(data[0])
        theirs = linear_model.LogisticRegression(max_iter=1000, tol=1e-6).fit(scaled, data[1])
        ours = LogisticRegression().fit(*data)
        assert np.allclose(ours.predict_proba(data[0]), theirs.predict_proba(scaled), atol=1e-4)
        assert np.allclose(
            data[0] @ ours.coef_.T + ours.intercept_,
            ours.decision_function(data[0]).reshape(len(data[0]), -1),
        )
    steps = {"max_iter": 2000, "n_iter_no_change": 100, "tol": 1e-6, "random_state": 0, "batch_size": None}
    by_steps = LinearRegression(solver="adam", **steps).fit(*DIABETES)
    assert by_steps.score(*DIABETES) == pytest.approx(
        LinearRegression().fit(*DIABETES).score(*DIABETES), abs=1e-3
    )
    accuracy = (
        LogisticRegression(solver="adam", learning_rate_init=0.1, tol=1e-4, random_state=0)
        .fit(*IRIS)
        .score(*IRIS)
    )
    assert accuracy == pytest.approx(LogisticRegression().fit(*IRIS).score(*IRIS), abs=0.014)  # two rows


# ------------------------------------------------------------------------------------------ save and load


@pytest.mark.parametrize("labels", [[0, 1, 2], [1.0, 2.0, 5.0], ["a", "b", "c"]])
def test_a_saved_classifier_is_loaded_as_it_was(labels: list[Any], tmp_path: Path) -> None:
    y = np.array(labels)[IRIS[1]]
    model = classifier(class_weight="balanced", alpha=0.01, warm_start=True).fit(IRIS[0], y)
    model.save(tmp_path / "model.safetensors")
    loaded = MLPClassifier.load(tmp_path / "model.safetensors")
    assert loaded.get_params() == model.get_params()
    assert np.array_equal(loaded.predict(IRIS[0]), model.predict(IRIS[0]))
    assert loaded.classes_.dtype == model.classes_.dtype
    for again in (loaded, pickle.loads(pickle.dumps(model))):
        assert np.array_equal(again.predict_proba(IRIS[0]), model.predict_proba(IRIS[0]))
        again.partial_fit(IRIS[0], y)  # goes on with the optimizer's averages
        assert again._members.checkpoints[0].state.optimizer
    with pytest.raises(ValueError, match="which LogisticRegression is not"):
        LogisticRegression.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "labels",
    [["a\nb", "c"], np.array(["2020-01-01", "2021-01-01"], "datetime64[D]")],
)
def test_labels_that_would_be_others_when_loaded_are_not_saved(labels: Any, tmp_path: Path) -> None:
    model = classifier(max_iter=1).fit(IRIS[0][:100], np.array(labels)[IRIS[1][:100]])
    with pytest.raises(ValueError, match=r"the labels .* cannot be saved"):
        model.save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_members_are_saved_in_a_folder(tmp_path: Path) -> None:
    model = regressor(n_members=2).fit(*DIABETES)
    model.save(tmp_path / "ensemble")
    loaded = MLPRegressor.load(tmp_path / "ensemble")
    assert np.array_equal(loaded.predict(DIABETES[0]), model.predict(DIABETES[0]))
    fewer = regressor(n_members=2, max_iter=2).fit(*DIABETES)
    regressor(n_members=3, max_iter=2).fit(*DIABETES).save(tmp_path / "ensemble")
    fewer.save(tmp_path / "ensemble")
    assert len(list((tmp_path / "ensemble").iterdir())) == 2
    with pytest.raises(ValueError, match="no file member-"):
        MLPRegressor.load(tmp_path)


def test_mlpkit_predict_reads_a_saved_model_and_a_csv_of_its_columns(tmp_path: Path) -> None:
    frame, target = customers()
    model = classifier(max_iter=60).fit(frame, target)
    model.save(tmp_path / "model.safetensors")
    frame.iloc[:5].to_csv(tmp_path / "rows.csv", index=False)
    done = mlpkit("predict", "model.safetensors", "--input", "rows.csv", cwd=tmp_path)
    found = pd.read_csv(pd.io.common.StringIO(done.stdout))
    assert list(found["class"]) == list(model.predict(frame.iloc[:5]))
    assert np.allclose(found["p(yes)"], model.predict_proba(frame.iloc[:5])[:, 1], atol=1e-5)
    refused = mlpkit("predict", "model.safetensors", "--split", "val", cwd=tmp_path, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "was trained on rows in memory" in refused.stderr


def test_a_run_of_the_command_line_becomes_an_estimator(trained: dict[str, Path]) -> None:
    path = trained["moons"] / "checkpoints" / "best.safetensors"
    model = MLPClassifier.load(path)
    assert (model.hidden_layer_sizes, model.solver, list(model.classes_)) == (
        (64, 64),
        "adam",
        ["upper", "lower"],
    )
    assert checkpoint.load(path).state.model.keys() == model._members.checkpoints[0].state.model.keys()
    assert clone(model).get_params() == model.get_params()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "nadam", "rmsprop", "lion", "muon"])
def test_each_solver_takes_the_parameters_that_it_has(solver: str) -> None:
    """Some have no betas or no eps; `wsd` and `mish` are other parts of the config by their names."""
    inputs, labels = load_iris(return_X_y=True)
    parts = {"schedule": "wsd", "activation": "mish", "max_iter": 60, "random_state": 0}
    model = MLPClassifier(16, solver=solver, learning_rate_init=0.01, **parts).fit(inputs, labels)
    assert model.score(inputs, labels) > 0.8


def test_lbfgs_trains_an_mlp() -> None:
    """To about the loss that scikit-learn's comes to, whose penalty leaves biases out."""
    inputs, labels = load_iris(return_X_y=True)
    model = MLPClassifier(16, solver="lbfgs", alpha=1.0, tol=0, n_iter_no_change=20, random_state=0)
    model.fit(inputs, labels)
    theirs = SklearnMLP(16, solver="lbfgs", alpha=1.0, max_iter=1000, random_state=0)
    theirs.fit((inputs - inputs.mean(0)) / inputs.std(0), labels)
    assert model.loss_curve_[-1] == pytest.approx(log_loss(labels, model.predict_proba(inputs)), rel=0.02)
    expected = log_loss(labels, theirs.predict_proba((inputs - inputs.mean(0)) / inputs.std(0)))
    assert log_loss(labels, model.predict_proba(inputs)) == pytest.approx(expected, rel=0.2)


# ---------------------------------------------------------------------------------- errors, surroundings


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"learning_rate_init": -1}, "learning_rate_init=-1: must be a number > 0"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"activation": "rellu"}, "activation='rellu'"),
        ({"solver": "lbfgs2"}, "solver"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"batch_size": "all"}, "batch_size='all': must be an integer ≥ 1, auto or None (all rows)"),
        ({"precision": "float16"}, "precision='float16': must be auto, float32 or float64"),
        ({"schedule": "foo"}, "schedule='foo': must be one of cosine, "),
        (
            {"schedule": {"name": "cosine", "etamin": 1}},
            "schedule.etamin: unknown key; did you mean schedule.eta_min?",
        ),
        ({"loss": "mse"}, "loss=mse: y is a multiclass classification; use loss=auto"),
        ({"n_members": 0}, "n_members=0: must be an integer ≥ 1"),
        (
            {"learning_rate_init": 1e30, "precision": "float32"},
            "training diverged; try a lower learning_rate_init or set clip_norm=1",
        ),
    ],
)
def test_a_wrong_parameter_is_named_as_the_user_knows_it(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as error:
        classifier(**parameters).fit(*IRIS)
    assert said in str(error.value)
    assert "trainer." not in str(error.value) and "optimizer." not in str(error.value)


def test_what_is_not_fitted_says_so(tmp_path: Path) -> None:
    for use in (lambda m: m.predict(IRIS[0]), lambda m: m.coef_, lambda m: m.save(tmp_path / "x")):
        with pytest.raises(NotFittedError):
            use(LogisticRegression())
    failed = classifier(activation="rellu")
    with pytest.raises(ValueError, match="rellu"):
        failed.fit(*IRIS)
    for use in (lambda m: m.predict(IRIS[0]), lambda m: m.save(tmp_path / "x")):
        with pytest.raises(NotFittedError):
            use(failed)


def test_a_column_whose_name_has_several_lines_is_said() -> None:
    frame = pd.DataFrame({"a\nb": ["x", "y"] * 75})
    with pytest.raises(ValueError, match=r"X: column 'a\\nb': its name cannot be printed"):
        classifier().fit(frame, IRIS[1])


def test_nothing_of_the_process_is_changed_or_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def surroundings() -> tuple[Any, ...]:
        return (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.get_rng_state().tolist(),
            str(np.random.get_state()),
            [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
            Path.cwd(),
            dict(os.environ),
        )

    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        before = surroundings()
        model = classifier(n_members=2, dropout=0.1, threads=2).fit(*IRIS)
        model.predict(IRIS[0])
        LogisticRegression().fit(*IRIS).predict(IRIS[0])
        pickle.loads(pickle.dumps(model)).predict(IRIS[0])
        assert surroundings() == before
    finally:
        torch.set_num_threads(threads)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.long
def test_the_import_brings_nothing_of_the_command_line() -> None:
    code = (
        "import sys, mlpkit.sklearn; print([n for n in ('hydra', 'typer', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
