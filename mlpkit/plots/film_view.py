"""What a film shows of a dataset: its only feature, its two features, or two principal directions of them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.data.dataset import Dataset
from mlpkit.errors import ConfigError
from mlpkit.models.torch_network import Network

Array = NDArray[np.float64]
Extent = tuple[float, float, float, float]

MOST_POINTS = 300  # of a split; more would hide the picture
_MOST_ROWS = 2000  # from which the principal directions are computed
_MARGIN = 0.08


@dataclass(frozen=True)
class View:
    """The plane of a film.

    Attributes:
        kind: fit (a curve over one feature), values (a map of predicted values), probability (of the second
            of two classes) or classes (the most probable one).
        names: of the horizontal and the vertical axis.
        note: what the axes are, where they are no features; else empty.
        extent: left, right, bottom and top.
        classes: the classes' names; () for a regression.
        points: by split, (rows, 3): x, y and the class or the true value.
        range: the least and the largest true value.
        origin: (features,) the scaled inputs at the point (0, 0).
        directions: (1 or 2, features): what a step along each axis adds to the scaled inputs.
    """

    kind: str
    names: tuple[str, str]
    note: str
    extent: Extent
    classes: tuple[str, ...]
    points: dict[str, Array]
    range: tuple[float, float]
    origin: Tensor
    directions: Tensor

    def scaled(self, points: Array) -> Tensor:
        """Return the scaled inputs (rows, features) at points (rows, 2); a fit takes their x alone."""
        steps = torch.from_numpy(points[:, : len(self.directions)]).to(self.origin.dtype)
        return self.origin + steps @ self.directions


def view_of(dataset: Dataset, network: Network) -> View:
    """Return the view of a dataset.

    Args:
        dataset: the dataset.
        network: scales the inputs.

    Raises:
        ConfigError: it has several targets, which one picture cannot show.
    """
    schema, train = dataset.input_schema, dataset.splits["train"]
    if not schema.classes and len(schema.targets) > 1:
        some = ", ".join(schema.targets[:3]) + (", …" if len(schema.targets) > 3 else "")
        raise ConfigError(f"film: shows one target, and this run has {len(schema.targets)} ({some})")
    targets = {
        name: _few(rows.targets).double().numpy().reshape(-1, 1) for name, rows in dataset.splits.items()
    }
    features, note = len(schema.features), ""
    if features <= 2:
        # Each column is scaled by a shift and a factor, so the plane can have the features' own units.
        ends = torch.cat((torch.zeros(1, features), torch.eye(features)))
        origin, *steps = _scaled(network, ends)
        directions = torch.stack(steps) - origin
        places = {name: _few(rows.inputs).double().numpy() for name, rows in dataset.splits.items()}
        x_name, y_name, *_ = *schema.features, schema.targets[0]
    else:
        rows = train.inputs
        origin, directions, share = _principal(_scaled(network, rows[:: max(1, -(-len(rows) // _MOST_ROWS))]))
        note = (
            f"on two principal directions of the {features} scaled features ({share:.0%} of their variance)"
        )
        places = {
            name: ((_scaled(network, _few(rows.inputs)) - origin) @ directions.T).double().numpy()
            for name, rows in dataset.splits.items()
        }
        x_name, y_name = "first principal direction", "second principal direction"
    kind = {0: "values", 2: "probability"}.get(len(schema.classes), "classes")
    if features == 1:
        places = {name: np.hstack((place, targets[name])) for name, place in places.items()}
        if schema.classes:  # the height is the class, on which the prediction does not depend
            directions = torch.cat((directions, torch.zeros_like(directions)))
        else:
            kind = "fit"
    return View(
        kind,
        (x_name, y_name),
        note,
        _extent(np.concatenate(list(places.values()))),
        schema.classes,
        {name: np.hstack((place, targets[name])) for name, place in places.items()},
        (float(train.targets.min()), float(train.targets.max())),
        origin,
        directions,
    )


def _scaled(network: Network, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        scaled: Tensor = network.scaling(inputs.to(network.dtype))
        return scaled


def _few(rows: Tensor) -> Tensor:
    """Return at most MOST_POINTS of the rows, evenly spaced."""
    return rows[:: max(1, -(-len(rows) // MOST_POINTS))]


def _principal(rows: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return the mean (features,), 2 principal directions (2, features), and their share of the variance."""
    mean = rows.mean(0)
    centred = (rows - mean).double()
    wide = centred.shape[1] > len(centred)
    values, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)  # rising
    directions = vectors.flip(1).T[:2]
    if wide:
        directions = directions @ centred
    directions = directions / directions.norm(dim=1, keepdim=True).clamp_min(1e-300)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * torch.where(largest < 0, -1.0, 1.0)  # else the sign would be the library's
    share = float(values[-2:].sum() / values.sum().clamp_min(1e-300))
    return mean, directions.to(rows.dtype), share


def _extent(places: Array) -> Extent:
    low, high = places.min(0), places.max(0)
    room = np.where(high > low, _MARGIN * (high - low), 0.5)
    (left, bottom), (right, top) = low - room, high + room
    return float(left), float(right), float(bottom), float(top)
