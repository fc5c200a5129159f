"""What the targets of a table are taken for, and what is said of them."""

from pathlib import Path

import pytest
from tables import load, write_csv

from mlpkit.errors import DataError

BY_PART = ("dataset.split={by: column, column: part}",)


def test_classes_that_cannot_be_learned_or_scored_are_named(tmp_path: Path) -> None:
    """With the first row of each."""
    kinds = ["a", "b"] * 20 + ["lone", "late", "late", "odd"]
    parts = ["train", "val"] * 10 + ["train"] * 21 + ["test", "test", "val"]
    rows: list[dict[str, object]] = [
        {"x": place * 7 % 13 / 2, "part": part, "y": kind}
        for place, (kind, part) in enumerate(zip(kinds, parts, strict=True))
    ]
    path = write_csv(tmp_path / "t.csv", rows)
    warnings = [line for line in load(path, *BY_PART, target="y").remarks if line.startswith("warning: ")]
    assert warnings[:2] == [
        f"warning: no training row has the class late ({path}:43), odd ({path}:45), so it is never "
        "predicted; add rows of it, remove them, or change dataset.split",
        f"warning: only one row has the class lone ({path}:42): it is a training row, and none is left to "
        "score it; add rows of it",
    ]


def test_a_text_in_a_row_that_is_not_trained_on_changes_no_column(tmp_path: Path) -> None:
    """A column of integers stays what it is, and the text is named with its row."""
    rows: list[dict[str, object]] = [
        {"code": place % 3, "part": "train" if place < 80 else "test", "y": place * 0.7 % 5}
        for place in range(99)
    ]
    before = load(write_csv(tmp_path / "t.csv", rows), *BY_PART, target="y").input_schema
    rows[90]["code"] = "n.k."
    path = write_csv(tmp_path / "t.csv", rows)
    found = load(path, *BY_PART, target="y")
    assert found.input_schema == before
    assert "column code: 1 not seen in training, such as 'n.k.'" in found.remarks
    with pytest.raises(DataError) as caught:
        load(path, *BY_PART, "dataset.columns={code: {type: number}}", target="y")
    assert str(caught.value) == (
        f"{path}:92: column code: 'n.k.' is not a plain number such as 0.5; correct it, leave it empty, or "
        "name it in dataset.missing"
    )
    missing = load(path, *BY_PART, "dataset.missing=[n.k.]", target="y")
    assert "column code: 1 not seen in training, such as 'n.k.'" not in missing.remarks


def test_a_text_among_the_numbers_of_a_target_is_named(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"x": place * 7 % 13 / 2, "y": place * 0.7 % 5} for place in range(99)]
    rows[90]["y"] = "n.k."
    path = write_csv(tmp_path / "t.csv", rows)
    with pytest.raises(DataError) as caught:
        load(path, target="y")
    assert str(caught.value) == (
        f"{path}: column y: its values are texts; 98% are numbers, the first other value is 'n.k.' at "
        f"{path}:92: "
        "name such texts in dataset.missing, or correct them; for classes set "
        "dataset.task=classification"
    )
    assert load(path, "dataset.missing=[n.k.]", target="y").input_schema.task == "regression"
