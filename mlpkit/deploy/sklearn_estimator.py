"""--format=sklearn: checkpoints, and a few lines that load them as an estimator of `mlpkit.sklearn`."""

from pathlib import Path
from typing import Any

from mlpkit.analysis.predict import members_of
from mlpkit.deploy.check_rows import CheckRows
from mlpkit.deploy.format import FilePredictions, Format, Source
from mlpkit.deploy.fresh_python import PREDICT, predict
from mlpkit.errors import ConfigError
from mlpkit.folders import checkpoint
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.state import Progress, State

CLASSES = {"mlp": "MLP{}", "logistic": "LogisticRegression", "linear": "LinearRegression"}  # by model

TEXT = '''"""{title}, as a scikit-learn estimator. Its weights lie beside it.

estimator.predict takes a DataFrame or an array; predict(rows) takes a dict of columns as well.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
from mlpkit.sklearn import {kind}

estimator = {kind}.load(Path(__file__).{place})


def predict(rows):
    """Return the predictions of raw rows: a dict of columns, a DataFrame or an array."""
    rows = pa.table(rows) if isinstance(rows, dict) else rows
'''

VALUES = """    return {"value": estimator.predict(rows).reshape(len(rows), -1)}
"""

LABELS = """    labels, classes = estimator.predict(rows), estimator.classes_.tolist()
    labels = labels if labels.ndim == 2 else np.array([classes.index(label) for label in labels.tolist()])
    return {"probabilities": estimator.predict_proba(rows), "label": labels}
"""


class SklearnFormat(Format):
    """A folder with the members' checkpoints, and a module that loads them."""

    def check_runtime(self) -> None:
        """See `Format.check_runtime`: scikit-learn is there."""

    def write(self, source: Source, folder: Path) -> dict[str, Any]:
        """See `Format.write`."""
        regression = source.schema.task == "regression"
        kind = CLASSES.get(source.config.model.name, "").format("Regressor" if regression else "Classifier")
        if not kind or (kind == "LogisticRegression" and source.schema.task == "multilabel"):
            raise ConfigError(
                f"--format=sklearn: mlpkit.sklearn has no estimator of model={source.config.model.name} for "
                f"{source.schema.task}; use --format=torch"
            )
        if source.config.dataset.views() is not None:
            raise ConfigError(
                "--format=sklearn: an estimator has no dataset.test_time_augment; use --format=torch"
            )
        if source.threshold != 0.5:
            raise ConfigError(
                "--format=sklearn: an estimator has no threshold; leave --threshold out, and compare "
                "predict_proba with it"
            )
        predictors = members_of(source.predictor)
        is_alone = len(predictors) == 1
        for number, member in enumerate(predictors):
            tensors = {name: values.cpu() for name, values in member.network.state_dict().items()}
            state = State(Progress(epoch=member.epoch or 0), {}, tensors)
            stored = Checkpoint(
                source.config.without_members(),
                source.schema,
                state,
                class_weights=tuple(member.class_weights),
                temperature=member.network.temperature,
            )
            file = f"{source.name}.safetensors" if is_alone else f"member-{number:03}.safetensors"
            checkpoint.save(folder / file, stored)
        place = f'with_name("{source.name}.safetensors")' if is_alone else "parent"
        text = TEXT.format(title=source.title, kind=kind, place=place)
        text += VALUES if regression else LABELS
        (folder / f"{source.name}.py").write_text(text, encoding="utf-8")
        return {"needs": ["mlpkit"], "estimator": kind}

    def run(self, source: Source, folder: Path, rows: CheckRows) -> FilePredictions:
        """See `Format.run`; the fresh Python may import mlpkit."""
        program = PREDICT.replace('sys.modules["mlpkit"] = None\n', "")
        return predict(folder, source.name, rows, program)


FORMAT = SklearnFormat()
