"""--format=torch: a torch.export program (.pt2) from raw columns, which torch alone runs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlpkit.analysis.predict import members_of
from mlpkit.data.encode import FARTHEST
from mlpkit.data.encoder import (
    BooleanColumn,
    CategoryColumn,
    Column,
    DateColumn,
    Log,
    NumberColumn,
    Quantile,
    Scale,
    SmoothClip,
    TableEncoder,
)
from mlpkit.deploy.check_rows import CheckRows
from mlpkit.deploy.format import FilePredictions, Format, Source
from mlpkit.deploy.fresh_python import predict
from mlpkit.errors import ConfigError, reason_of

RUN = """
import sys
sys.modules["mlpkit"] = None
folder, name, source, target = sys.argv[1:]
import numpy as np
import torch
program = torch.export.load(f"{folder}/{name}").module()
found = program(torch.from_numpy(np.load(source)))
names = ("value",) if isinstance(found, torch.Tensor) else ("label", "probabilities")
found = (found,) if isinstance(found, torch.Tensor) else found
np.savez(target, **dict(zip(names, (values.numpy() for values in found))))
"""

NO, NEITHER, YES = 0.0, 0.5, 1.0  # a boolean in a column of numbers


class TorchFormat(Format):
    """A program that torch.export.load reads."""

    def check_runtime(self) -> None:
        """See `Format.check_runtime`: PyTorch is there."""

    def write(self, source: Source, folder: Path) -> dict[str, Any]:
        """See `Format.write`."""
        program = Program(source).eval().requires_grad_(False)
        encoder = source.schema.encoder
        width, dtype = len(source.schema.columns), torch.float32 if encoder is None else torch.float64
        example = torch.zeros((2, width), dtype=dtype)
        shapes = {"x": {0: torch.export.Dim("rows")}}
        try:
            exported = torch.export.export(program, (example,), dynamic_shapes=shapes)
        except Exception as error:  # torch.export raises many kinds for a module that it cannot trace
            what = f"model={source.config.model.name}"
            raise ConfigError(
                f"--format=torch: torch.export cannot take {what}: {reason_of(error)}"
            ) from None
        torch.export.save(exported, folder / f"{source.name}.pt2")
        return {
            "needs": [f"torch>={torch.__version__.split('+')[0]}"],
            "columns": list(source.schema.columns) if encoder is not None else [],
            "input_type": str(dtype).removeprefix("torch."),
            "input": "one tensor (rows, columns), NaN where a value is missing: a category is the place of "
            "its level (-1: another), a boolean 0 or 1 (0.5: neither), a date its days since 1970-01-01 with "
            "the time as a fraction",
        }

    def run(self, source: Source, folder: Path, rows: CheckRows) -> FilePredictions:
        """See `Format.run`."""
        encoder = source.schema.encoder
        features: Any = rows.features if encoder is None else to_numbers(encoder, rows)
        return predict(folder, f"{source.name}.pt2", CheckRows({}, features), RUN)


def to_numbers(encoder: TableEncoder, rows: CheckRows) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return raw rows as the program reads them (rows, columns)."""
    columns = [[_to_number(spec, value) for value in rows.columns[spec.column]] for spec in encoder.columns]
    return np.array(columns, np.float64).T


def _to_number(spec: Column, value: Any) -> float:
    if value is None:
        return np.nan
    if isinstance(spec, CategoryColumn):
        return float(spec.levels.index(value)) if value in spec.levels else -1.0
    if isinstance(spec, BooleanColumn):
        from mlpkit.data import column_values

        word = value.lower()
        return YES if word in column_values.YES else NO if word in column_values.NO else NEITHER
    if isinstance(spec, DateColumn):
        return float(np.datetime64(value, "s").astype(np.int64)) / 86400
    return float(value)


class Program(nn.Module):
    """From raw columns to predictions: values (rows, targets), or labels and probabilities."""

    def __init__(self, source: Source) -> None:
        """Take the networks and the encoder."""
        super().__init__()
        self.members = nn.ModuleList(member.network for member in members_of(source.predictor))
        self.encoder, self.task = source.schema.encoder, source.schema.task
        self.threshold, self.dtype = source.threshold, source.predictor.network.dtype

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the predictions; NaN and the label -1 for rows that mlpkit refuses."""
        features = (x if self.encoder is None else encode(self.encoder, x)).float()
        usable = (features * 0).sum(1, keepdim=True) == 0  # else NaN: a feature is NaN or infinite
        found = [self._probabilities(member(features.to(self.dtype))) for member in self.members]
        output = found[0] if len(found) == 1 else torch.stack(found).mean(0)
        output = torch.where(usable, output, torch.nan)
        if self.task == "regression":
            return output
        if self.task == "multiclass":
            label = output.argmax(1)
        else:
            above = (output > self.threshold).long()
            label = above if self.task == "multilabel" else above[:, 1]
        return torch.where(usable if self.task == "multilabel" else usable[:, 0], label, -1), output

    def _probabilities(self, outputs: Tensor) -> Tensor:
        if self.task == "binary":
            return torch.cat((torch.sigmoid(-outputs), torch.sigmoid(outputs)), dim=1)
        if self.task == "multiclass":
            return torch.softmax(outputs, dim=1)
        return torch.sigmoid(outputs) if self.task == "multilabel" else outputs


def encode(encoder: TableEncoder, x: Tensor) -> Tensor:
    """Return the features (rows, features) of raw columns (rows, columns); NaN where a value is refused."""
    columns = zip(encoder.columns, torch.split(x, 1, dim=1), strict=True)
    return torch.cat([part for spec, raw in columns for part in _features(spec, raw)], dim=1)


def _features(spec: Column, raw: Tensor) -> list[Tensor]:
    """Return the features of one column (rows, 1)."""
    missing = raw.isnan()
    if isinstance(spec, NumberColumn):
        found = [_scaled(raw if spec.fill is None else torch.where(missing, spec.fill, raw), spec.scale)]
    elif isinstance(spec, BooleanColumn):
        single = raw if spec.refuses_missing else torch.where(missing, NEITHER, raw)
        found = [2 * single - 1 if spec.signed else single]
    elif isinstance(spec, CategoryColumn):
        found = _one_hot(spec, raw, missing)
    else:
        parts = _date_parts(torch.where(missing, 0.0, raw))
        otherwise = torch.nan if spec.refuses_missing else 0.0  # the mean of the training rows
        found = [
            torch.where(missing, otherwise, _scaled(parts[part.name], part.scale)) for part in spec.parts
        ]
    return [*found, missing.double()] if spec.flags_missing else found


def _one_hot(spec: CategoryColumn, raw: Tensor, missing: Tensor) -> list[Tensor]:
    level = torch.where(missing, -1.0, raw)
    unseen = ~missing & ((level < 0) | (level >= len(spec.levels)))
    known = ~missing & ~unseen
    if spec.is_single:
        single = torch.where(known, level, 0.5)
        found = [2 * single - 1 if spec.signed else single]
    else:
        found = [(level == torch.arange(len(spec.levels))).double()]
        other = unseen if spec.flags_missing else ~known
        found += [other.double()] if spec.has_other else []
    refused = torch.zeros_like(missing)
    for what in spec.refuses:
        refused = refused | (missing if what == "missing" else unseen)
    return [torch.where(refused, torch.nan, found[0]), *found[1:]]


def _scaled(values: Tensor, scale: Scale) -> Tensor:
    """Return scaled numbers, as `mlpkit.data.encode.scaled`."""
    if isinstance(scale, Quantile):
        known = torch.tensor(scale.values, dtype=torch.float64)
        widths = known.diff()
        above = values - known[:-1]
        parts = torch.where(
            widths > 0, (above / torch.where(widths > 0, widths, 1.0)).clamp(0, 1), above.sign() / 2 + 0.5
        )
        share = parts.sum(1, keepdim=True) / len(widths)
        # NaN and infinity stay what they are, so that such a row is refused.
        found: Tensor = torch.special.ndtri(share).clamp(-FARTHEST, FARTHEST) + values * 0
        return found
    if isinstance(scale, Log):
        values = values.abs().log1p().copysign(values)
    scaled: Tensor = (values - scale.shift) / scale.divide_by
    if isinstance(scale, SmoothClip):
        return scaled / torch.hypot(torch.ones_like(scaled), scaled / 3)
    return scaled


def _date_parts(days: Tensor) -> dict[str, Tensor]:
    """Return the components of days since 1970-01-01 (Howard Hinnant's algorithm)."""
    total = (days * 86400 + 0.5).floor().long()  # whole seconds: a fraction of a day is not exact
    day, seconds = total.div(86400, rounding_mode="floor"), total.remainder(86400)
    shifted = day + 719468
    era, of_era = shifted.div(146097, rounding_mode="floor"), shifted.remainder(146097)
    years = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * years + years // 4 - years // 100)
    from_march = (5 * of_year + 2) // 153
    month = (from_march + 2) % 12 + 1
    found = {
        "days": total / 86400,
        "year": years + era * 400 + (month <= 2).long(),
        "month": month,
        "day": of_year - (153 * from_march + 2) // 5 + 1,
        "weekday": (day + 3).remainder(7),
        "hour": seconds // 3600,
    }
    return {name: values.double() for name, values in found.items()}


FORMAT = TorchFormat()
