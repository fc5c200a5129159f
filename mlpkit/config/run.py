"""The config sections `trainer` and `run`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from mlpkit.config import registry
from mlpkit.config.problems import PLUGIN_HINT, did_you_mean, show
from mlpkit.config.section import Count, NotNegative, PathText, Positive, Section, rule_error

LEVELS = ("highest", "high", "medium")  # torch's float32 matmul precisions
MEASURED = {"auto": LEVELS, "fastest": (*LEVELS, "bfloat16")}  # what these values of matmul choose from

Label = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}$",
        json_schema_extra={"rule": "a name of letters, digits, _ . + -"},
    ),
]


ClassWeights = Annotated[
    dict[str, NotNegative],
    Field(
        min_length=1,
        json_schema_extra={"rule": "a weight ≥ 0 for each class by name, as in {no: 1, yes: 5}"},
    ),
]


class EarlyStopping(Section):
    """Stop when the monitored score has not improved for a while."""

    patience: Count | None = Field(
        None, description="epochs without improvement before stopping; null: never"
    )
    min_delta: NotNegative = Field(0.0, description="smallest change that counts as improvement")
    min_delta_mode: Literal["abs", "rel"] = Field(
        "abs", description="min_delta is absolute, or relative to the best value: 0.002 is then 0.2 %"
    )


class TrainerConfig(Section):
    """How the model is trained."""

    epochs: Annotated[int, Field(ge=0, le=10**9)] = Field(
        1000, description="passes over the training data; 0: the untrained network"
    )
    steps_per_epoch: Count | Literal["auto"] | None = Field(
        None,
        description="steps after which an epoch ends and the model is evaluated; the next epoch goes on "
        "where the pass over the data was; auto: a quarter of a pass, at least 20; null: a whole pass",
    )
    batch_size: Count | Literal["full"] = Field("full", description="rows in a batch; full: all rows")
    drop_last: bool = Field(
        False, description="leave out the last rows of a pass if they are fewer than those of a step"
    )
    accumulate: Annotated[int, Field(ge=1, le=10**6)] = Field(
        1, description="batches whose gradients are added up for a step"
    )
    clip_norm: Positive | None = Field(None, description="largest norm of the whole gradient; null: no limit")
    clip_value: Positive | None = Field(None, description="largest entry of the gradient; null: no limit")
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="decay of a moving average of the weights, such as 0.98, which is evaluated, kept as "
        "best and saved instead of them; null: no average",
    )
    swa: Annotated[float, Field(gt=0, lt=1)] | Count | None = Field(
        None,
        description="average the weights of all epochs from this one on, or from this share of the epochs on "
        "(0.75: the last quarter), and use it as with ema; null: no average",
    )
    precision: Literal["float32", "float64"] = Field("float32", description="number format")
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        "auto", description="threads on a CPU; auto: as many as a step keeps busy, at most the free cores"
    )
    processes: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="processes that share each batch of one run; torchrun starts them itself"
    )
    engine: Literal["auto", "stacked", "autograd"] = Field(
        "auto", description="what computes the steps; auto: stacked, unless a layer needs autograd"
    )
    matmul: Literal["auto", "fastest", "highest", "high", "medium", "bfloat16"] = Field(
        "auto",
        description="precision of float32 products (high and medium are TF32 on CUDA; bfloat16 rounds large "
        "ones in training); auto: the fastest that is as exact as highest; fastest: that one, or bfloat16 "
        "where it is faster",
    )
    compile: bool | Literal["auto"] = Field(
        "auto",
        description="compile the steps of small networks with torch's and the machine's compiler (full "
        "batches on a CPU, without dropout, norm layers or augmentation); auto: if that is expected to save "
        "several times the seconds that it takes",
    )
    deterministic: bool = Field(False, description="allow only deterministic operations")
    monitor: str = Field(
        "auto",
        pattern=r"^((train|val|test)\.)?[A-Za-z_][A-Za-z0-9_]*$",
        json_schema_extra={"rule": "the name of a score, such as loss or roc_auc"},
        description="score that decides the best epoch, early stopping and the best run; auto: accuracy, or "
        "the loss of a regression",
    )
    best_epoch: Literal["common", "own", "last"] = Field(
        "common",
        description="common: all networks of model.members keep the weights of the same epoch; own: each "
        "keeps those with the lowest loss on its own fold (dataset.val_folds); last: the last "
        "epoch counts as the best, for a model that no rows validate",
    )
    early_stopping: EarlyStopping = Field(EarlyStopping(), description="when to stop before the last epoch")
    class_weight: Literal["none", "balanced"] | ClassWeights = Field(
        "none",
        description="how much a row of each class counts in the loss; balanced: all classes the same in "
        "total, as in scikit-learn",
    )
    time_limit: Positive | None = Field(
        None, description="seconds of training after which a run ends, at the end of an epoch; null: no limit"
    )
    checkpoint_every: (
        Count
        | Annotated[
            str,
            Field(
                pattern=r"^([1-9][0-9]{0,8}steps|([1-9][0-9]{0,5}(\.[0-9]{1,3})?|0\.0{0,2}[1-9][0-9]{0,2})s)$",
                json_schema_extra={"rule": "text such as 500steps or 30s"},
            ),
        ]
    ) = Field("30s", description="epochs, steps or seconds between two checkpoints")
    keep_last: Annotated[int, Field(ge=1, le=10**6)] = Field(
        2, description="newest checkpoints that are kept; an older one is used if the newest is damaged"
    )
    log_every: Count = Field(1, description="epochs between two lines of metrics; the last is always written")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.accumulate > 1 and self.batch_size == "full":
            raise rule_error(f"accumulate={self.accumulate} needs a batch_size that is a number")
        if self.steps_per_epoch is not None and self.batch_size == "full":
            raise rule_error(f"steps_per_epoch={self.steps_per_epoch} needs a batch_size that is a number")
        if self.matmul == "bfloat16" and self.precision == "float64":
            raise rule_error("matmul=bfloat16 needs precision=float32")
        if self.swa is not None and self.ema is not None:
            raise rule_error(f"swa={self.swa} and ema={self.ema}: choose one of the averages")
        if isinstance(self.swa, int) and self.swa > self.epochs:
            raise rule_error(f"swa={self.swa} is after the last of {self.epochs} epochs; choose a lower one")
        return self

    def ended_by(self, seconds: float) -> str:
        """Return the setting by which a run stopped early after so many seconds, `key=value`."""
        if self.time_limit is not None and seconds > self.time_limit:
            return f"trainer.time_limit={self.time_limit:g}"
        return f"trainer.early_stopping.patience={self.early_stopping.patience}"

    @property
    def has_averages(self) -> bool:
        """Whether averages of the weights are kept."""
        return self.ema is not None or self.swa is not None

    @property
    def before_swa(self) -> int:
        """The epochs before the first whose weights `swa` averages; all of them without `swa`."""
        if self.swa is None:
            return self.epochs
        return self.swa - 1 if isinstance(self.swa, int) else int(self.swa * self.epochs)


class RunConfig(Section):
    """Where the run goes and what it writes."""

    root: PathText = Field("outputs", description="folder of all runs")
    dir: PathText | None = Field(None, description="folder of this run; null: a new one in root")
    name: Label | None = Field(None, description="group of runs in root; null: <dataset>-<model>")
    loggers: tuple[str, ...] = Field(
        ("tensorboard",), strict=False, description="where scores are logged besides metrics.jsonl"
    )
    files: Literal["all", "minimal"] = Field(
        "all",
        description="minimal: one file with the config, the summary and the last and best weights; no logs "
        "and no pictures",
    )
    metrics: tuple[str, ...] = Field(
        (), strict=False, description="scores of plug-ins that are computed besides the task's"
    )
    histograms: Count | None = Field(
        None,
        description="epochs between two histograms of weights and gradients, with the gradient's norm by "
        "layer, for loggers and `mlpkit watch`; null: none",
    )
    plots: bool = Field(True, description="draw pictures at the end")
    film: Count | None = Field(
        None, description="epochs between two frames (the weights) for `mlpkit film`; null: no film"
    )
    resume: Literal["never", "auto"] = Field(
        "never", description="auto: resume the run in dir if there is one"
    )
    progress: Literal["auto", "bar", "lines", "none"] = Field("auto", description="what the console shows")

    @model_validator(mode="before")
    @classmethod
    def _read_tensorboard(cls, data: Any) -> Any:
        """Read the key `tensorboard` of older configs: add the logger of that name, or remove it."""
        wanted = data.get("tensorboard") if isinstance(data, Mapping) else None
        named = data.get("loggers", ["tensorboard"]) if isinstance(data, Mapping) else None
        if not isinstance(wanted, bool) or not isinstance(named, list | tuple):
            return data
        others = [name for name in named if name != "tensorboard"]
        rest = {key: value for key, value in data.items() if key != "tensorboard"}
        return {**rest, "loggers": [*(["tensorboard"] if wanted else []), *others]}

    @field_validator("loggers", "metrics")
    @classmethod
    def _are_known(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = registry.choices(str(info.field_name).removesuffix("s"))
        for name in names:
            if name not in known:
                way = f"{PLUGIN_HINT}{did_you_mean(name, known)}"
                rule = f"must be one of {', '.join(known)}" if known else "no such name"
                raise rule_error(f"{show(name)}: {rule}{way}")
            if names.count(name) > 1:
                raise rule_error(f"{show(name)}: stands there twice")
        return names

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.resume == "auto" and self.dir is None:
            raise rule_error("resume=auto needs dir, the folder of the run")
        if self.files == "minimal":
            unused = [f"{key}={value}" for key in ("histograms", "film") if (value := getattr(self, key))]
            unused += [f"loggers=[{name}]" for name in self.loggers if name != "tensorboard"]
            if unused:
                raise rule_error(f"files=minimal keeps no logs; leave out {unused[0]}, or use files=all")
        return self
