"""Predicts rows with the model of a checkpoint, or with the mean of several."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mlpkit.analysis.blocks import BlockProducts, in_blocks, most_rows, widest_layer
from mlpkit.analysis.predictions import Predictions
from mlpkit.config.loss import LossConfig, loss_for
from mlpkit.config.metric import MetricConfig, metrics_for
from mlpkit.data.dataset import Split
from mlpkit.data.input_schema import InputSchema
from mlpkit.engines.device_data import EVALUATION_ROWS
from mlpkit.engines.experiment import Experiment
from mlpkit.errors import ConfigError
from mlpkit.folders import checkpoint
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.models.torch_network import Network, build_network, count_parameters
from mlpkit.system.device import set_threads
from mlpkit.tasks import TASKS, Task, task_of


class Predictor:
    """A trained network, and what is needed to predict and to score with it.

    Attributes:
        chosen: why its weights are those of that epoch, as in "best by val"; pictures say it.
    """

    chosen = ""

    def __init__(
        self,
        network: Network,
        input_schema: InputSchema,
        loss: LossConfig,
        device: str = "cpu",
        epoch: int | None = None,
        metrics: Sequence[MetricConfig] = (),
        task: Task | None = None,
        class_weights: Sequence[float] = (),
    ) -> None:
        """Take a network, which is used in evaluation mode.

        Args:
            network: the trained network.
            input_schema: of its inputs and outputs.
            loss: the loss that it was trained with.
            device: cpu or cuda:N.
            epoch: the epoch after which it had its weights.
            metrics: the metrics to compute besides the task's scores.
            task: the input schema's task, with the score that was monitored; None: the default score.
            class_weights: of the training loss, by label; () if all classes count the same.
        """
        self.network, self.input_schema, self.device, self.epoch = network.eval(), input_schema, device, epoch
        self.task = task or TASKS[input_schema.task]
        self.loss, self.metrics, self.class_weights = loss, metrics, class_weights
        self._dtype = network.dtype  # to look it up takes as long as a layer of a small block
        self._widest = widest_layer(network, len(input_schema.features))

    def all_outputs(self, inputs: Tensor) -> Tensor:
        """Return the raw outputs (rows, width) for raw inputs (rows, features), on the CPU.

        After the predictions come the quantiles of `LossConfig.ends`, in the targets' unit.
        """
        network = self.network
        if network.predicted is None:
            return self._through(network, inputs)
        return self._through(lambda rows: network.all_values(network.layers(network.scaling(rows))), inputs)

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the first of all outputs, from which `decode` makes the predictions."""
        return self.all_outputs(inputs)[:, : self.network.predicted]

    def scaled(self, inputs: Tensor) -> Tensor:
        """Return raw inputs (rows, features) as the first layer that is trained gets them, on the CPU."""
        return self._through(self.network.scaling, inputs)

    def on(self, rows: Split) -> "Predictor":
        """Return what predicts the rows of a split: with `Split.folds`, each fold's own member."""
        return self

    def each_output(self, inputs: Tensor) -> Tensor:
        """Return the outputs (members, rows, width) of the members, which `outputs` averages."""
        return self.outputs_in_blocks(inputs)[None]

    def losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (rows,) as in training, for raw inputs and encoded targets, on the CPU."""
        network = self.network
        outputs = self._through(lambda rows: network.layers(network.scaling(rows)), inputs)
        return self.loss.per_example(outputs, network.standardize(targets.to(self.device)).cpu())

    def _through(self, function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        dtype = self._dtype
        with torch.no_grad():
            if inputs.shape[0] <= EVALUATION_ROWS:  # a block is computed in the time of a few calls of torch
                return function(inputs.to(self.device, dtype)).cpu()
            parts = torch.split(inputs, EVALUATION_ROWS)
            return torch.cat([function(part.to(self.device, dtype)).cpu() for part in parts])

    def predict(self, inputs: Tensor) -> Predictions:
        """Return the predictions for raw inputs (rows, features).

        On the CPU a row's prediction is the same to the bit, whichever rows are predicted with it.
        """
        return self.decode(self.all_outputs_in_blocks(inputs))

    def outputs_in_blocks(self, inputs: Tensor) -> Tensor:
        """Return what `outputs` does, each row without influence of the others. Large tables take longer."""
        return self.all_outputs_in_blocks(inputs)[:, : self.network.predicted]

    def all_outputs_in_blocks(self, inputs: Tensor) -> Tensor:
        """Return what `all_outputs` does, as `outputs_in_blocks`."""
        if self.device != "cpu":
            return self.all_outputs(inputs)
        with BlockProducts():
            parts = in_blocks(self.all_outputs, inputs, most_rows(self._widest))
            return torch.cat(list(parts))[: len(inputs)]

    def decode(self, outputs: Tensor) -> Predictions:
        """Return the predictions of all raw outputs (rows, width); rows do not influence each other."""
        parts = in_blocks(self._decode, outputs[:, : self.network.predicted], most_rows(outputs.shape[1]))
        found = Predictions.joined(parts).rows(0, len(outputs))
        predicted = self.network.predicted
        return found if predicted is None else replace(found, ends=outputs[:, predicted:])

    def _decode(self, outputs: Tensor) -> Predictions:
        probabilities = self.task.probabilities(outputs) if self.task.probabilities else None
        return Predictions(self.task.decode(outputs), probabilities)


class Ensemble(Predictor):
    """Several models of the same inputs, which predict the mean of their probabilities or values.

    Attributes:
        members: the models, each a single network.
    """

    def __init__(self, members: Sequence[Predictor], epoch: int | None = None) -> None:
        """Take the members; an ensemble among them stands for its own.

        Args:
            members: the models.
            epoch: the epoch after which all had their weights; None if it is not the same.

        Raises:
            ConfigError: their input schemas differ.
        """
        first = members[0]
        if any(member.input_schema != first.input_schema for member in members):
            raise ConfigError(
                "--ensemble: the runs read their inputs in different ways, as those of different folds do; "
                "train runs that differ in their seed alone"
            )
        super().__init__(
            first.network,
            first.input_schema,
            first.loss,
            first.device,
            epoch,
            metrics=first.metrics,
            task=first.task,
            class_weights=first.class_weights,
        )
        self.members = [single for member in members for single in members_of(member)]
        self._widest = max(member._widest for member in self.members)

    def all_outputs(self, inputs: Tensor) -> Tensor:
        """See `Predictor.all_outputs`."""
        return self.task.average(torch.stack([member.all_outputs(inputs) for member in self.members]))

    def each_output(self, inputs: Tensor) -> Tensor:
        """See `Predictor.each_output`."""
        return torch.cat([member.each_output(inputs) for member in self.members])

    def losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """See `Predictor.losses`; the targets are scaled as in the first member."""
        outputs = self.network.before_unscaling(self.all_outputs(inputs).to(self.device)).cpu()
        return self.loss.per_example(outputs, self.network.standardize(targets.to(self.device)).cpu())

    def on(self, rows: Split) -> Predictor:
        """See `Predictor.on`."""
        return OutOfFold(self, rows.folds) if rows.folds else self

    def spread(self, inputs: Tensor) -> Tensor:
        """Return the standard deviation of the members' probabilities, or of their values.

        Returns:
            (rows, classes or targets), as the probabilities or values that `predict` gives.
        """
        return torch.stack([member.predict(inputs).numbers for member in self.members]).std(0)


class OutOfFold(Ensemble):
    """The members of a model, each for the rows of its own fold; for all rows of a split, in their order."""

    def __init__(self, model: Ensemble, folds: Sequence[int]) -> None:
        """Take the members of a model, or of several one after the other, and the sizes of the folds."""
        super().__init__(model.members, model.epoch)
        self.task, self.metrics, self.folds = model.task, model.metrics, list(folds)
        self.of_folds = [one_of(self.members[number :: len(folds)]) for number in range(len(folds))]

    def all_outputs(self, inputs: Tensor) -> Tensor:
        """See `Predictor.all_outputs`."""
        parts = zip(self.of_folds, torch.split(inputs, self.folds), strict=True)
        return torch.cat([member.all_outputs(part) for member, part in parts])

    def all_outputs_in_blocks(self, inputs: Tensor) -> Tensor:
        """See `Predictor.all_outputs_in_blocks`."""
        parts = zip(self.of_folds, torch.split(inputs, self.folds), strict=True)
        return torch.cat([member.all_outputs_in_blocks(part) for member, part in parts])

    def each_output(self, inputs: Tensor) -> Tensor:
        """See `Predictor.each_output`; a row has only the members of its fold, as many as there are runs."""
        parts = zip(self.of_folds, torch.split(inputs, self.folds), strict=True)
        return torch.cat([member.each_output(part) for member, part in parts], 1)


def members_of(predictor: Predictor) -> Sequence[Predictor]:
    """Return the members of an ensemble, or the model alone."""
    return predictor.members if isinstance(predictor, Ensemble) else [predictor]


def one_of(members: Sequence[Predictor], epoch: int | None = None) -> Predictor:
    """Return an ensemble of several models, or the only one; see `Ensemble`."""
    return Ensemble(members, epoch) if len(members) > 1 else members[0]


def predictor_of(experiment: Experiment, epoch: int | None = None) -> Predictor:
    """Return the model of a run that was trained in this process.

    Args:
        experiment: holds the network, with the weights to use.
        epoch: the epoch after which it had these weights.
    """
    schema, device = experiment.dataset.input_schema, str(next(experiment.network.parameters()).device)
    about = experiment.metrics, experiment.task, experiment.class_weights
    members = [
        Predictor(network, schema, experiment.loss, device, epoch, *about) for network in experiment.networks
    ]
    return one_of(members, epoch)


def load_predictor(path: Path, device: str = "cpu") -> tuple[Predictor, Checkpoint]:
    """Return the model of a checkpoint file; nothing but the file is needed.

    Raises:
        DataError: the file is damaged, or its tensors are not those of its config.
    """
    stored = checkpoint.load(path)
    return make_predictor(stored, device), stored


def make_predictor(stored: Checkpoint, device: str = "cpu") -> Predictor:
    """Return the model of a checkpoint that has been loaded; an ensemble if its run has several members."""
    members = [single for member in stored.members() for single in _singles(member, device)]
    return one_of(members, stored.state.progress.epoch)


def _singles(stored: Checkpoint, device: str) -> list[Predictor]:
    """Return the model of each member, if they share weights; else the only one."""
    network = build_network(stored.config, stored.input_schema, device)
    network.load_state_dict(stored.state.model, assign=True)
    each = network.alone()
    for single in each:
        single.calibrate(stored.temperature, stored.input_schema.width)
    threads = stored.config.trainer.threads
    if threads != "auto":
        threads = min(threads, os.cpu_count() or 1)
    set_threads(threads, 64, count_parameters(network))
    config, about = stored.config, stored.input_schema
    loss = loss_for(config.loss, about.task, config.dataset.name)
    metrics, task = metrics_for(config, about.task), task_of(config, about.task)
    epoch, weights = stored.state.progress.epoch, stored.class_weights
    return [
        Predictor(single.to(device), about, loss, device, epoch, metrics, task, weights) for single in each
    ]
