"""Options of all table datasets: which rows and columns are used, and how rows are split."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mlpkit.config.dataset import DatasetConfig
from mlpkit.config.section import Fraction, PathText, Section, absolute, rule_error
from mlpkit.data.column_settings import ColumnSettings, Scaled

if TYPE_CHECKING:
    from mlpkit.data.raw_table import RawTable
    from mlpkit.data.table_file import TableFormat


def _absolute(path: str) -> str:
    return path if path == "-" else absolute(path)


TablePath = Annotated[PathText, AfterValidator(_absolute)]
ColumnName = Annotated[str, Field(min_length=1)]


class SplitSettings(Section):
    """How rows are split into train, val and test."""

    by: Literal["auto", "random", "stratified", "group", "time", "column", "files"] = Field(
        "auto", description="how rows are split; auto: stratified for classes, else random"
    )
    column: ColumnName | None = Field(
        None,
        description="group: equal values stay together; time: the latest test; column: train, val or test",
    )
    val: TablePath | None = Field(None, description="files: the file of the validation rows")
    test: TablePath | None = Field(None, description="files: the file of the test rows")

    @property
    def has_folds(self) -> bool:
        """Whether rows are split so that each of several folds can test in turn."""
        return self.by not in ("time", "column", "files")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.by in ("group", "time", "column")) != (self.column is not None):
            raise rule_error(
                f"by={self.by} needs a column; add dataset.split.column=NAME"
                if self.column is None
                else f"by={self.by} takes no column; leave dataset.split.column out"
            )
        if self.by == "files" and self.val is self.test is None:
            raise rule_error(
                "by=files needs val=FILE or test=FILE, or both; dataset.path is the training file"
            )
        if self.by != "files" and (self.val is not None or self.test is not None):
            raise rule_error(f"by={self.by} takes no file; set by=files")
        return self


class TableOptions(DatasetConfig):
    """Options of all table datasets."""

    val_fraction: Fraction = Field(0.2, description="share of the rows held out to monitor training")
    test_fraction: Fraction = Field(0.2, description="share of the rows held out for the final score")
    standardize: bool = Field(
        True,
        description="scale numbers among the inputs before the model, and regression targets in the model",
    )
    task: Literal["auto", "regression", "classification", "multilabel"] = Field(
        "auto",
        description="auto: classification if the target is text, yes or no, or few integers; multilabel if "
        "each of several targets is yes or no; else regression",
    )
    target_transform: Literal["none", "log", "yeo_johnson"] = Field(
        "none",
        description="transform of regression targets before training, undone in predictions and scores; "
        "log needs positive targets",
    )
    clip_predictions: bool = Field(
        False, description="clip predictions of a regression to the range of the training targets"
    )
    scale: Scaled = Field(
        "standard", description="how numbers are scaled whose own scale is auto, with standardize"
    )
    signed: bool = Field(
        False, description="columns of yes and no, or of two categories, become -1 and 1, not 0 and 1"
    )
    columns: dict[ColumnName, ColumnSettings] = Field(
        {},
        description="settings of single columns by name: type, missing, scale, min_count, format and others",
    )
    sample_weight: ColumnName | None = Field(
        None, description="column that says how much each row counts in the loss; it is no input"
    )
    ignore: tuple[ColumnName, ...] = Field((), strict=False, description="columns to leave out")
    split: SplitSettings = Field(SplitSettings(), description="how rows are split into train, val and test")
    folds: int = Field(5, ge=2, le=1000, description="number of folds for cross-validation")
    fold: Annotated[int, Field(ge=0)] | Literal["none"] | None = Field(
        None,
        description="fold that tests, from 0; none: train on all rows; null: split by the fractions",
    )

    val_folds: Annotated[int, Field(ge=2, le=1000)] | None = Field(
        None,
        description="folds of all rows but test, as many as model.members: each member is validated on its "
        "own and trained on the others; null: one part for validation, by val_fraction",
    )

    @model_validator(mode="after")
    def _check_fold(self) -> Self:
        if self.val_folds is not None and (not self.split.has_folds or self.fold == "none"):
            why = (
                "fold=none holds no rows out"
                if self.fold == "none"
                else f"split.by={self.split.by} has no folds"
            )
            raise rule_error(
                f"val_folds={self.val_folds}: {why}; set val_folds=null, or set split.by=random, stratified "
                "or group, and fold to null or a number"
            )
        if isinstance(self.fold, int) and self.fold >= self.folds:
            raise rule_error(f"fold={self.fold} must be below folds={self.folds}")
        if isinstance(self.fold, int) and not self.split.has_folds:
            raise rule_error(
                f"fold={self.fold}: rows are split by {self.split.by}, which has no folds; set "
                "split.by=random, stratified or group, or leave fold out"
            )
        return self

    def raw(self) -> "RawTable":
        """Return the raw table."""
        raise NotImplementedError(f"dataset={self.name} has no raw")

    def targets(self) -> tuple[str, ...]:
        """Return the names of the target columns."""
        raise NotImplementedError(f"dataset={self.name} has no targets")

    def table_format(self) -> "TableFormat":
        """Return the format of its text files, as far as it is known."""
        from mlpkit.data.table_file import TableFormat

        return TableFormat()

    def missing_texts(self) -> tuple[str, ...]:
        """Return the strings that stand for a missing value."""
        from mlpkit.data.table_file import MISSING

        return MISSING

    def scales_inputs(self) -> bool:
        """See `DatasetConfig.scales_inputs`: columns are scaled before the model."""
        return False

    def weight_name(self) -> str | None:
        """See `DatasetConfig.weight_name`."""
        return self.sample_weight

    def transform_of_targets(self) -> str:
        """See `DatasetConfig.transform_of_targets`."""
        return self.target_transform

    def clips_predictions(self) -> bool:
        """See `DatasetConfig.clips_predictions`."""
        return self.clip_predictions

    def scale_of_numbers(self) -> Scaled:
        """Return how numbers are scaled whose own scale is auto."""
        return self.scale if self.standardize else "none"
