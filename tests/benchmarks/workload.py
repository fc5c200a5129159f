"""What every peer of a case trains: the same rows, layers, optimizer and batches, from mlpkit's config."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from mlpkit.cli.compose import Request, compose
from mlpkit.config.config import Config, parse
from mlpkit.data.load import load_dataset
from mlpkit.models.mlp import MlpModel
from mlpkit.tasks import TASKS

FULL_BATCH_EPOCHS = 500  # of a portion where an epoch is a single step


class Trained(NamedTuple):
    """What a peer has done when it was asked once.

    Attributes:
        count: samples seen, or steps taken where a step sees all rows.
        loss: of its last batch or epoch, as the peer itself reports it: a sign that it learns.
    """

    count: int
    loss: float


@dataclass(frozen=True)
class Workload:
    """Training data and a model's shape.

    Attributes:
        config: of mlpkit.
        inputs: (rows, features) float32, standardised.
        targets: (rows,) int64 for classes; (rows, 1) float32 for two classes and for regression.
        task: regression, binary or multiclass.
        widths: of all layers, from the inputs to the outputs.
        epochs: of a portion.
    """

    config: Config
    inputs: Tensor
    targets: Tensor
    task: str
    widths: tuple[int, ...]
    epochs: int

    @property
    def rows(self) -> int:
        """Training rows."""
        return len(self.inputs)

    @property
    def full_batch(self) -> bool:
        """Whether a step sees all rows."""
        return self.config.trainer.batch_size == "full"

    @property
    def batch_size(self) -> int:
        """Rows of a step."""
        size = self.config.trainer.batch_size
        return self.rows if size == "full" else size

    @property
    def dropout(self) -> float:
        """Rate of the dropout behind each hidden layer."""
        model = self.config.model
        return model.dropout if isinstance(model, MlpModel) else 0.0

    @property
    def count(self) -> int:
        """Samples of a portion, or steps of it where a step sees all rows."""
        return self.epochs if self.full_batch else self.epochs * self.rows


def config_of(overrides: tuple[str, ...]) -> Config:
    """Return the validated config of some overrides."""
    return parse(compose(Request(overrides)))


def load_workload(overrides: tuple[str, ...]) -> Workload:
    """Return what the overrides of mlpkit's command line describe."""
    config = config_of(overrides)
    dataset = load_dataset(config.dataset)
    task, train, scaling = TASKS[dataset.input_schema.task], dataset.splits["train"], dataset.input_scaling
    inputs = train.inputs
    if scaling is not None:
        inputs = (inputs - scaling.mean) / scaling.std
    targets = task.encode(train.targets, inputs.dtype)
    outputs = len(dataset.input_schema.classes) if task.name == "multiclass" else 1
    hidden = config.model.hidden if isinstance(config.model, MlpModel) else ()
    epochs = FULL_BATCH_EPOCHS if config.trainer.batch_size == "full" else 1
    return Workload(config, inputs, targets, task.name, (inputs.shape[1], *hidden, outputs), epochs)
