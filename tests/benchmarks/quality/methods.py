"""What is compared: each method trains on the same rows, with its defaults, and predicts the test rows."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

Array = NDArray[Any]


@dataclass(frozen=True)
class Job:
    """One fit.

    Attributes:
        train: inputs, validation rows included: a method that stops early takes them from here.
        targets: of these rows: floats, or numbers of classes.
        test: inputs whose targets a method never sees.
        classes: their names; () for regression.
        seed: of the split, and of all that the method draws.
    """

    train: pd.DataFrame
    targets: Array
    test: pd.DataFrame
    classes: tuple[str, ...]
    seed: int

    def predict(self, model: Any) -> Array:
        """Return a trained model's probabilities, or values, of the test rows."""
        answer: Array = model.predict_proba(self.test) if self.classes else model.predict(self.test)
        return answer


def _catboost(job: Job) -> Array:
    from catboost import CatBoostClassifier, CatBoostRegressor

    categories = [name for name in job.train if job.train[name].dtype == "category"]

    def texts(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: frame[name].astype(object).fillna("missing") for name in categories})

    kind = CatBoostClassifier if job.classes else CatBoostRegressor
    model = kind(
        random_seed=job.seed, cat_features=categories, thread_count=1, verbose=0, allow_writing_files=False
    )
    model.fit(texts(job.train), job.targets)
    answer: Array = model.predict_proba(texts(job.test)) if job.classes else model.predict(texts(job.test))
    return answer


def _lightgbm(job: Job) -> Array:
    from lightgbm import LGBMClassifier, LGBMRegressor

    kind = LGBMClassifier if job.classes else LGBMRegressor
    return job.predict(kind(random_state=job.seed, n_jobs=1, verbose=-1).fit(job.train, job.targets))


def _histograms(job: Job) -> Array:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if job.classes else HistGradientBoostingRegressor
    return job.predict(kind(random_state=job.seed).fit(job.train, job.targets))


def _scikit_learn(job: Job) -> Array:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    texts = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(handle_unknown="ignore")
    )
    if job.classes:
        model = MLPClassifier(random_state=job.seed)
    else:  # which does not scale its targets itself, and is far off for prices without
        model = TransformedTargetRegressor(MLPRegressor(random_state=job.seed), transformer=StandardScaler())
    return job.predict(make_pipeline(_imputed(StandardScaler(), texts), model).fit(job.train, job.targets))


def _imputed(numbers: Any, texts: Any) -> Any:
    """Return an encoder of numbers, missing ones by the median and a flag, and of texts."""
    return make_column_transformer(
        (
            make_pipeline(SimpleImputer(strategy="median", add_indicator=True), numbers),
            make_column_selector(dtype_include="number"),
        ),
        (texts, make_column_selector(dtype_exclude="number")),
        sparse_threshold=0,
        verbose_feature_names_out=False,
    )


def _pytabkit(kind: str, members: int, **settings: Any) -> Callable[[Job], Array]:
    """Return a method of pytabkit: one model validates on a fifth of the rows, several on their folds."""

    def fit(job: Job) -> Array:
        from pytabkit.models.sklearn import sklearn_interfaces

        model = getattr(sklearn_interfaces, f"{kind}_{'Classifier' if job.classes else 'Regressor'}")(
            random_state=job.seed,
            n_cv=members,
            device="cpu",
            n_threads=1,
            **(settings if job.classes else {}),
        )
        encode = _imputed("passthrough", SimpleImputer(strategy="constant", fill_value="missing"))
        encode.set_output(transform="pandas")
        train, test = encode.fit_transform(job.train), encode.transform(job.test)
        texts = [name for name in job.train if job.train[name].dtype == "category"]
        model.fit(train, job.targets, cat_col_names=texts)
        answer: Array = model.predict_proba(test) if job.classes else model.predict(test)
        return answer

    return fit


def _mlpkit(*words: str) -> Callable[[Job], Array]:
    """Return mlpkit's train command with these words; it is given the table as a file, as a user gives it."""

    def fit(job: Job) -> Array:
        import mlpkit

        names: Array = np.asarray(job.classes)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train.csv"
            targets = names[job.targets] if job.classes else job.targets
            job.train.assign(the_target=targets).to_csv(path, index=False)
            data = (f"dataset.path={path}", "dataset.target=the_target", "dataset.test_fraction=0")
            seeds = (f"seed={job.seed}", f"dataset.seed={job.seed}")
            silent = ("run.plots=false", "run.loggers=[]", f"run.dir={folder}/run")
            mlpkit.train(*words, "dataset=table", *data, *seeds, *silent)
            model = mlpkit.load(f"{folder}/run")
        if not job.classes:
            return model.predict(job.test)
        order = [model.classes.index(name) for name in job.classes]
        answer: Array = model.predict_proba(job.test)[:, order]
        return answer

    return fit


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        title: in the report.
        package: that it needs, as PyPI calls it; loading it is not counted as its time.
        fit: trains, and returns probabilities (rows, classes) or values (rows,) of the test rows.
        loads: modules that the package loads when it is first used; loading them is not counted either.
    """

    title: str
    package: str
    fit: Callable[[Job], Array]
    loads: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """What Python calls the package."""
        return {"scikit-learn": "sklearn"}.get(self.package, self.package)


# Their documentation recommends these where probabilities count. By default they keep the epoch of the best
# accuracy, and RealMLP-TD smooths labels: both make the log loss worse.
FOR_LOG_LOSS: dict[str, Any] = {"val_metric_name": "cross_entropy"}
UNSMOOTHED = {**FOR_LOG_LOSS, "use_ls": False}

METHODS = {
    "mlpkit": Method("mlpkit, experiment=table", "mlpkit", _mlpkit("experiment=table"), ("torch",)),
    "mlpkit_mlp": Method("mlpkit, model=mlp", "mlpkit", _mlpkit("model=mlp"), ("torch",)),
    "catboost": Method("CatBoost", "catboost", _catboost),
    "lightgbm": Method("LightGBM", "lightgbm", _lightgbm),
    "histograms": Method("HistGradientBoosting", "scikit-learn", _histograms),
    "scikit_learn": Method("scikit-learn's MLP", "scikit-learn", _scikit_learn),
    "realmlp": Method("RealMLP-TD", "pytabkit", _pytabkit("RealMLP_TD", 1, **UNSMOOTHED)),
    "tabm": Method("TabM-D", "pytabkit", _pytabkit("TabM_D", 1, **FOR_LOG_LOSS)),
    "realmlp_8": Method("RealMLP-TD, 8 folds", "pytabkit", _pytabkit("RealMLP_TD", 8, **UNSMOOTHED)),
    "tabm_8": Method("TabM-D, 8 folds", "pytabkit", _pytabkit("TabM_D", 8, **FOR_LOG_LOSS)),
}
