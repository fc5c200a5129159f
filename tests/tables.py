"""Tables as somebody's file would hold them, written by tests."""

import csv
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from running import config

from mlpkit.data.dataset import Dataset
from mlpkit.data.load import load_dataset


def customers(rows: int = 240, seed: int = 0) -> list[dict[str, object]]:
    """Return rows of all kinds of columns, some values missing; `churned` follows from age, city, calls."""
    draw = random.Random(seed)
    found: list[dict[str, object]] = []
    for number in range(rows):
        age, calls = draw.randint(18, 80), draw.randint(0, 60)
        city = draw.choices(("Paris", "Oslo", "Rome"), (5, 3, 2))[0]
        score = (age - 45) / 15 + 1.5 * (city == "Oslo") + (calls - 30) / 20 + draw.gauss(0, 0.3)
        found.append(
            {
                "customer_id": f"C{number:05d}",
                "age": "" if draw.random() < 0.1 else age,
                "city": "" if draw.random() < 0.05 else city,
                "plan": draw.choice((1, 2, 3)),
                "smoker": draw.choice(("yes", "no")),
                "signup": f"2023-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}",
                "calls": calls,
                "income": round(draw.lognormvariate(10, 0.5), 2),
                "country": "FR",
                "household": number // 3,
                "churned": "yes" if score > 0 else "no",
            }
        )
    return found


def write_csv(path: Path, rows: Iterable[dict[str, object]]) -> Path:
    """Write rows with a line of names, and return the path."""
    listed = list(rows)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(listed[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)
    return path


def of(path: Path, *more: str, target: str = "churned") -> tuple[str, ...]:
    """Return the settings that make a table a dataset."""
    return ("dataset=table", f"dataset.path={path}", f"dataset.target={target}", *more)


def load(path: Path, *more: str, target: str = "churned") -> Dataset:
    """Return the dataset that a table is."""
    return load_dataset(config(*of(path, *more, target=target)).dataset)


def ids(dataset: Dataset, rows: list[dict[str, object]]) -> dict[str, list[int]]:
    """Return the numbers of the rows in each split, by their income, which differs."""
    place = dataset.input_schema.features.index("income")
    numbers = {np.float32(row["income"]): number for number, row in enumerate(rows)}
    return {
        name: [numbers[value] for value in split.inputs[:, place].numpy()]
        for name, split in dataset.splits.items()
    }
