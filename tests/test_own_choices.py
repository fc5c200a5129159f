"""What a plug-in's choices compute is tried before a run starts; what is wrong is one line with its file."""

import json
import re
from pathlib import Path

import pytest
from conftest import Refused
from running import QUIET

from mlpkit.cli.main import run as command
from mlpkit.folders.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("own")

SMALL = ("dataset.n=60", "trainer.epochs=1", "run.plots=false", "run.loggers=[]", "run.dir=it", *QUIET)

HEAD = """import torch
from typing import Literal
from mlpkit.config.activation import ActivationConfig
from mlpkit.config.loss import LossConfig
from mlpkit.config.metric import MetricConfig
from mlpkit.config.optimizer import OptimizerConfig
from mlpkit.config.registry import choice
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.synthetic import Synthetic

"""
BASES = {
    "optimizer": "OptimizerConfig",
    "loss": "LossConfig",
    "activation": "ActivationConfig",
    "dataset": "Synthetic",
    "metric": "MetricConfig",
}


def plugin(group: str, *body: str) -> str:
    """Return the text of a plug-in with one choice, named mine; it has twelve lines before the body."""
    lines = "".join(f"    {line}\n" for line in body)
    of_class = f'@choice("{group}")\nclass Mine({BASES[group]}):\n    name: Literal["mine"]\n{lines}'
    return f"{HEAD}{of_class}"


def optimizer(*body: str, slots: str = "{}", arguments: str = "self, values, gradients, slots, lr") -> str:
    """Return an optimizer with an update."""
    update = (f"def update({arguments}):", *(f"    {line}" for line in body))
    return plugin("optimizer", "def slots(self):", f"    return {slots}", *update)


def loss(
    gradient: str, task: str = "regression", per_example: str = "(outputs - targets).square().mean(1)"
) -> str:
    """Return a loss with a gradient."""
    methods = (
        "def per_example(self, outputs, targets):",
        f"    return {per_example}",
        "def gradient(self, outputs, y):",
        f"    return {gradient}",
    )
    return plugin("loss", f"tasks = ({task!r},)", *methods)


def activation(function: str, derivative: str) -> str:
    """Return an activation with a derivative."""
    methods = (
        "def function(self, z):",
        f"    return {function}",
        "def derivative(self, z):",
        f"    return {derivative}",
    )
    return plugin("activation", *methods)


def dataset(labels: str, inputs: str = "torch.randn(self.n, 2)") -> str:
    """Return a dataset of two classes."""
    schema = 'InputSchema("binary", ("x", "y"), (2,), ("kind",), ("a", "b"))'
    draw = ("def draw(self):", f"    return {inputs}, {labels}")
    return plugin("dataset", "def input_schema(self):", f"    return {schema}", *draw)


NOT_ELEMENTWISE = (
    "optimizer=mine (my.py): update is not elementwise: two halves of a tensor come out otherwise than the "
    "whole; compute each value from its own gradient and slots, without norms, means or random numbers"
)
UNCHANGED = "optimizer=mine (my.py): update changes no value; change them in place, as values.sub_(…) does"
GRADIENT = (
    "loss=mine (my.py): gradient is # at an output of #, where autograd finds #; "
    "mend it, or remove gradient: then autograd computes it"
)
OPTIMIZER, LOSS = ("dataset=moons", "optimizer=mine"), ("dataset=line", "model=mlp", "loss=mine")
ACTIVATION, DATASET = ("dataset=moons", "model.activation=mine"), ("dataset=mine",)

REFUSED = {
    "a norm": (OPTIMIZER, optimizer("values.sub_(lr * gradients / gradients.norm())"), NOT_ELEMENTWISE),
    "a mean in a slot": (
        OPTIMIZER,
        optimizer(
            "slots['seen'].add_(gradients.square().mean())",
            "values.sub_(lr * gradients / slots['seen'].sqrt())",
            slots='{"seen": "number"}',
        ),
        NOT_ELEMENTWISE,
    ),
    "random steps": (OPTIMIZER, optimizer("values.sub_(lr * torch.rand_like(values))"), NOT_ELEMENTWISE),
    "a new tensor": (OPTIMIZER, optimizer("values = values - lr * gradients"), UNCHANGED),
    "an argument too few": (
        OPTIMIZER,
        optimizer("values.sub_(gradients)", arguments="self, values, gradients, slots"),
        "optimizer=mine (my.py): update: "
        "TypeError: Mine.update() takes 4 positional arguments but 5 were given",
    ),
    "an error in the update": (
        OPTIMIZER,
        optimizer("values.sub_(slots['missing'])"),
        "optimizer=mine (my.py): update: line 17: KeyError: 'missing'",
    ),
    "a slot of another kind": (
        OPTIMIZER,
        optimizer("values.sub_(lr * gradients)", slots='{"step": "scalar"}'),
        "optimizer=mine (my.py): slot step: 'scalar' must be \"tensor\" or \"number\"",
    ),
    "half a gradient": (
        LOSS,
        loss("outputs - y"),
        GRADIENT,
    ),
    "a gradient with the other sign": (
        ("dataset=digits", "loss=mine"),
        loss(
            "y - outputs.softmax(-1)",
            "multiclass",
            "torch.nn.functional.cross_entropy(outputs, targets, reduction='none')",
        ),
        GRADIENT,
    ),
    "a gradient that is wrong for large errors alone": (
        LOSS,
        loss(
            "(outputs - y).clamp(-0.9, 0.9)",
            per_example="torch.nn.functional.huber_loss(outputs, targets, reduction='none').mean(1)",
        ),
        GRADIENT,
    ),
    "a gradient that is not a number": (
        LOSS,
        loss("(outputs - y) * float('nan')"),
        GRADIENT,
    ),
    "a gradient that takes the rows for the outputs in a sweep": (
        ("dataset=digits", "loss=mine"),
        loss(
            "outputs.softmax(1) - y",
            "multiclass",
            "torch.nn.functional.cross_entropy(outputs, targets, reduction='none')",
        ),
        "loss=mine (my.py): gradient differs for outputs of shape (runs, rows, width), which a sweep has; "
        "use -1 for the width, not 1",
    ),
    "an error in a loss": (
        LOSS,
        loss("outputs - z"),
        "loss=mine (my.py): line 18: NameError: name 'z' is not defined",
    ),
    "a derivative": (
        ACTIVATION,
        activation("z.sin()", "-z.cos()"),
        "model.activation=mine (my.py): derivative is # at z of #, where autograd finds #; "
        "mend it, or remove derivative: then autograd computes it",
    ),
    "activations of another shape": (
        ACTIVATION,
        activation("z.sin().sum()", "z.cos()"),
        "model.activation=mine (my.py): function returns () for (8,); return the same shape",
    ),
    "a derivative of another shape": (
        ACTIVATION,
        activation("z.sin()", "z.cos().sum()"),
        "model.activation=mine (my.py): derivative returns () for (8,); return the same shape",
    ),
    "an error in a derivative": (
        ACTIVATION,
        activation("z.sin()", "z.cosine()"),
        "model.activation=mine (my.py): line 17: AttributeError: 'Tensor' object has no attribute 'cosine'",
    ),
    "labels from one": (
        DATASET,
        dataset("torch.arange(self.n) % 2 + 1"),
        "dataset=mine: its labels must be from 0 to 1, one for each of its classes, not 2",
    ),
    "a negative label": (
        DATASET,
        dataset("torch.arange(self.n) % 2 - 1"),
        "dataset=mine: its labels must be from 0 to 1, one for each of its classes, not -1",
    ),
    "inputs that are not numbers": (
        DATASET,
        dataset("torch.arange(self.n) % 2", "torch.full((self.n, 2), float('nan'))"),
        "dataset=mine (my.py): draw returns nan or infinite values",
    ),
}  # fmt: skip


@pytest.mark.sampled(9)
@pytest.mark.parametrize(("chosen", "text", "line"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_refused(
    chosen: tuple[str, ...], text: str, line: str, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "my.py").write_text(text)
    code = 65 if chosen == DATASET else 2
    said = refused("train", "--plugin=my.py", *chosen, *SMALL[chosen[0] == "dataset=digits" :], code=code)
    assert re.sub(r"(gradient is|derivative is|output of|z of|finds) (-?[\d.e-]+|nan)", r"\1 #", said) == line


GOOD = {
    "plain steps": (OPTIMIZER, optimizer("values.sub_(lr * gradients)")),
    "a number": (
        OPTIMIZER,
        optimizer(
            "slots['step'].add_(1)", "values.sub_(lr / slots['step'] * gradients)", slots='{"step": "number"}'
        ),
    ),
    "a gradient by hand": (LOSS, loss("2 * (outputs - y) / outputs.shape[-1]")),
    "a loss of counts": (
        LOSS,
        loss("outputs.exp() - y", per_example="(outputs.exp() - targets * outputs).mean(1)"),
    ),
    "a kink": (ACTIVATION, activation("z.clamp(-1, 1)", "(z.abs() < 1).to(z.dtype)")),
    "another derivative on purpose": (
        ACTIVATION,
        activation("z.detach().sign()", "(z.abs() < 1).to(z.dtype)"),
    ),
}  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("chosen", "text"), GOOD.values(), ids=GOOD)
def test_what_is_right_is_trained(
    chosen: tuple[str, ...], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.py").write_text(text)
    assert command(["train", "--plugin=my.py", *chosen, *SMALL]) == 0


def test_a_metric_that_fails_is_one_line_and_the_run_stores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At its first call nothing has been written yet."""
    monkeypatch.chdir(tmp_path)
    later = "return 1 / (not __import__('os').path.exists('it'))"
    for body, left in (("return {}['missing']", []), (later, ["it"])):
        score = ("def score(self, predictions, probabilities, targets):", f"    {body}")
        Path("my.py").write_text(plugin("metric", 'tasks = ("binary",)', "higher_is_better = True", *score))
        assert command(["train", "--plugin=my.py", "dataset=moons", "run.metrics=[mine]", *SMALL]) == 2
        error = "ZeroDivisionError: division by zero" if left else "KeyError: 'missing'"
        line = f"run.metrics=mine (my.py): line 17: {error}"
        assert capsys.readouterr().err.endswith(f"mlpkit: {line}\n")
        assert [path.name for path in tmp_path.glob("it")] == left
    stored = json.loads(RunFolder(Path("it")).summary.read_text())
    assert stored == {"status": "failed", "error": line}


@pytest.mark.parametrize("choice", ["optimizer=mine", "loss=mine", "dataset=mine", "model.activation=mine"])
def test_an_unknown_choice_may_be_that_of_a_plug_in(choice: str, refused: Refused) -> None:
    assert " (a plug-in's needs --plugin FILE)" in refused("train", choice, code=2)
