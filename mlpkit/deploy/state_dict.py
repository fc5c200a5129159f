"""--format=state_dict: the weights as safetensors, and a few lines of plain torch.nn that load them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from mlpkit.config.registry import choices
from mlpkit.deploy.check_rows import CheckRows
from mlpkit.deploy.format import FilePredictions, Format, Source
from mlpkit.deploy.fresh_python import predict
from mlpkit.deploy.portable import Portable, Step
from mlpkit.deploy.python_file import write_numpy_file
from mlpkit.models.activations import TorchActivation
from mlpkit.system.atomic_write import atomic_write

WEIGHTS = "weights.safetensors"

HEAD = '''"""{title}: plain PyTorch, with the scaling as layers. Its weights lie beside it.

network(features) gives {outputs}; predict(rows) takes raw rows.
"""

from pathlib import Path

import {name}_rows
import torch
from safetensors.torch import load_file
from torch import nn
'''

BUFFERS = """

class {kind}(nn.Module):
    def __init__(self, width):
        super().__init__()
        for name in {names}:
            self.register_buffer(name, torch.zeros(width))

    def forward(self, x):
{forward}
"""

FORWARDS = {
    "standardize": ("Standardize", ("mean", "std"), ["return (x - self.mean) / self.std"]),
    "columns": ("Columns", ("scale", "shift"), ["return x * self.scale + self.shift"]),
    "clip": ("Clip", ("lowest", "highest"), ["return x.clamp(self.lowest, self.highest)"]),
    "inverse_yeo_johnson": (
        "InverseYeoJohnson",
        ("power", "lowest", "highest"),
        [
            "x = x.clamp(self.lowest, self.highest)",
            "power = torch.where(x < 0, 2 - self.power, self.power)",
            "logs = torch.where(power == 0, x.abs(), torch.log1p(power * x.abs()) / power)",
            "return logs.expm1().copysign(x)",
        ],
    ),
}

EXP = """

class Exp(nn.Module):
    def forward(self, x):
        return x.exp()
"""

PERIODIC = """

class Periodic(nn.Module):
    def __init__(self, numbers, width, frequencies):
        super().__init__()
        self.register_buffer("numbers", torch.zeros(numbers, dtype=torch.int64))
        self.frequency = nn.Parameter(torch.zeros(numbers, frequencies))
        self.phase = nn.Parameter(torch.zeros(numbers, frequencies))
        self.weight = nn.Parameter(torch.zeros(numbers, width, frequencies))
        self.bias = nn.Parameter(torch.zeros(numbers, width))

    def forward(self, x):
        turns = 2 * torch.pi * x[:, self.numbers].T[..., None]
        waves = (turns * self.frequency[:, None] + self.phase[:, None]).cos()
        values = torch.baddbmm(self.bias[:, None], waves, self.weight.mT)
        return torch.cat([x, values.transpose(0, 1).flatten(1)], dim=1)
"""

ENSEMBLE = """

class Ensemble(nn.Module):
    def __init__(self, *members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x):
        return torch.stack([member(x) for member in self.members]).mean(0)
"""

TAIL = '''
network.load_state_dict(load_file(Path(__file__).with_name("{weights}")))
network.eval()


def predict(rows):
    """Return the predictions of raw rows: a list of dicts, or a dict of columns."""
    with torch.no_grad():
        outputs = network(torch.from_numpy({name}_rows.MODEL.encode(rows)).{dtype}()).numpy()
    return {name}_rows.MODEL.decode({decoded})
'''


class StateDictFormat(Format):
    """A folder with the weights, the network and the encoder."""

    def check_runtime(self) -> None:
        """See `Format.check_runtime`: PyTorch is there."""

    def write(self, source: Source, folder: Path) -> dict[str, Any]:
        """See `Format.write`."""
        model = source.portable("state_dict")
        ensemble = len(model.members) > 1
        tensors = {
            f"{f'members.{member}.' if ensemble else ''}{place}.{name}": np.ascontiguousarray(array)
            for member, steps in enumerate(model.members)
            for place, step in enumerate(steps)
            for name, array in step.arrays.items()
        }
        atomic_write(folder / WEIGHTS, save(tensors))
        atomic_write(folder / f"{source.name}.py", _text(model, source).encode())
        write_numpy_file(folder / f"{source.name}_rows.py", model, source.title, with_members=False)
        return {"needs": ["python>=3.10", "torch", "safetensors", "numpy"]}

    def run(self, source: Source, folder: Path, rows: CheckRows) -> FilePredictions:
        """See `Format.run`."""
        return predict(folder, source.name, rows)


def _text(model: Portable, source: Source) -> str:
    """Return the text of the module."""
    task, ensemble = model.schema.task, len(model.members) > 1
    outputs = {"regression": "values", "binary": "the second class's probability"}.get(task, "probabilities")
    kinds = {step.kind for steps in model.members for step in steps}
    parts = [HEAD.format(title=source.title, name=source.name, outputs=outputs)]
    for kind, (title, names, lines) in FORWARDS.items():
        if kind in kinds:
            forward = "\n".join(f"        {line}" for line in lines)
            parts.append(BUFFERS.format(kind=title, names=names, forward=forward))
    parts += [EXP] if "exp" in kinds else []
    parts += [PERIODIC] if "periodic" in kinds else []
    parts += [ENSEMBLE] if ensemble else []
    last = {"regression": [], "multiclass": ["nn.Softmax(dim=1)"]}.get(task, ["nn.Sigmoid()"])
    members = [_sequential([*_layers(steps), *last]) for steps in model.members]
    dtype = "double" if model.is_double else "float"
    network = f"Ensemble({', '.join(members)})" if ensemble else members[0]
    parts.append(f"\n\nnetwork = {network}.{dtype}()")
    both = "np.concatenate((1 - outputs, outputs), axis=1)"
    decoded = both if task == "binary" else "outputs"
    parts.append(TAIL.format(weights=WEIGHTS, name=source.name, dtype=dtype, decoded=decoded))
    text = "".join(parts)
    return (
        text.replace("import torch\n", "import numpy as np\nimport torch\n", 1) if task == "binary" else text
    )


def _layers(steps: tuple[Step, ...]) -> Iterator[str]:
    """Yield each step as Python."""
    for step in steps:
        arrays = step.arrays
        if step.kind == "linear":
            outputs, inputs = arrays["weight"].shape
            yield f"nn.Linear({inputs}, {outputs})"
        elif step.kind == "layer_norm":
            yield f"nn.LayerNorm({len(arrays['weight'])}, eps={step.eps!r})"
        elif step.kind == "activation":
            schema = choices("activation")[step.name]
            assert issubclass(schema, TorchActivation)
            yield f"nn.{schema.torch_class}()"
        elif step.kind == "prelu":
            yield f"nn.PReLU({len(arrays['weight'])})"
        elif step.kind == "periodic":
            yield "Periodic({}, {}, {})".format(*arrays["weight"].shape)
        elif step.kind == "exp":
            yield "Exp()"
        else:
            yield f"{FORWARDS[step.kind][0]}({next(iter(arrays.values())).size})"


def _sequential(layers: list[str]) -> str:
    return "nn.Sequential(\n" + "".join(f"    {layer},\n" for layer in layers) + ")"


FORMAT = StateDictFormat()
