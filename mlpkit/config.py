"""The schema: what a config may say, as frozen typed objects.

`parse` turns a plain dict into a `Config` or reports every problem at once; `to_dict` is its inverse.
Defaults here and in `configs/*.yaml` are the same numbers, held equal by a test: the YAML files show
them to a reader, the schema completes a config that leaves them out.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from mlpkit.errors import ConfigError
from mlpkit.problems import describe_problems

FORMAT = 1  # of the config and of the checkpoint header; raised when an older mlpkit could misread it

Fraction = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Label = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}$",
        json_schema_extra={"rule": "a name of letters, digits, _ . + -"},
    ),
]
Width = Annotated[int, Field(ge=1, le=65_536)]


class Section(BaseModel):
    """Common rules: frozen, no unknown keys, no silent conversion, no infinity or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _rule(message: str) -> PydanticCustomError:
    """Return the error for a rule that concerns several keys of one section."""
    return PydanticCustomError("rule", "{message}", {"message": message})


# ---------------------------------------------------------------------------------------- dataset


class DatasetOptions(Section):
    """What every dataset has."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of the samples, the noise and the split")
    val_fraction: Fraction = Field(0.2, description="share of the rows held out to monitor training")
    standardize: bool = Field(False, description="scale inputs (and regression targets) in the model")


class Synthetic(DatasetOptions):
    """A dataset that is drawn, and split into train, val and test."""

    n: int = Field(500, ge=1, le=10**7, description="number of rows in all splits together")
    test_fraction: Fraction = Field(0.2, description="share of the rows held out for the final score")


class SumDataset(Synthetic):
    """Sum of numbers: y is the sum of the terms."""

    name: Literal["sum"]
    n: int = Field(1000, ge=1, le=10**7, description="number of rows in all splits together")
    terms: int = Field(2, ge=1, le=4096, description="how many numbers are added")
    low: float = Field(0.0, description="lower end of the terms")
    high: float = Field(1.0, description="upper end of the terms")
    noise: NotNegative = Field(0.0, description="standard deviation of the noise on y")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            raise _rule(f"low={self.low} must be below high={self.high}")
        return self


class LineDataset(Synthetic):
    """Noisy line: y = slope x + intercept + noise ε."""

    name: Literal["line"]
    n: int = Field(100, ge=1, le=10**7, description="number of rows in all splits together")
    slope: float = Field(3.0, description="slope of the true line")
    intercept: float = Field(2.0, description="intercept of the true line")
    noise: NotNegative = Field(2.0, description="standard deviation of the noise on y")
    x: Literal["linspace", "uniform", "normal"] = Field("linspace", description="distribution of x")
    low: float = Field(0.0, description="lower end of x, for linspace and uniform")
    high: float = Field(10.0, description="upper end of x, for linspace and uniform")
    mean: float = Field(0.0, description="mean of x, for normal")
    std: Positive = Field(1.0, description="standard deviation of x, for normal")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            raise _rule(f"low={self.low} must be below high={self.high}")
        return self


class MoonsDataset(Synthetic):
    """Two interleaving half circles (scikit-learn's make_moons)."""

    name: Literal["moons"]
    noise: NotNegative = Field(0.1, description="standard deviation of the noise on the points")


class Augment(Section):
    """Random changes to each training image, drawn anew at every step."""

    rotation: float = Field(0.0, ge=0, le=180, description="largest rotation either way, in degrees")
    translation: NotNegative = Field(0.0, description="largest shift either way, in pixels")
    scale: Fraction = Field(0.0, description="largest change of size either way, as a fraction")


class ImageOptions(DatasetOptions):
    """What every image dataset has; pixels are numbers from 0 to 1."""

    val_fraction: Fraction = Field(0.1, description="share of the training rows held out to monitor training")
    standardize: bool = Field(True, description="subtract mean and divide by std, in the model")
    mean: float = Field(0.0, description="pixel mean that standardize subtracts")
    std: Positive = Field(1.0, description="pixel standard deviation that standardize divides by")
    augment: Augment = Field(Augment(), description="random changes to the training images")


class IdxOptions(ImageOptions):
    """Where the files of an MNIST-like dataset lie."""

    root: str | None = Field(
        None, description="folder of the files; null: $MLPKIT_DATA, else the user's cache"
    )
    download: bool = Field(True, description="fetch missing files")


class MnistDataset(IdxOptions):
    """MNIST: 70,000 handwritten digits, 28×28."""

    name: Literal["mnist"]
    mean: float = Field(0.1307, description="pixel mean that standardize subtracts")
    std: Positive = Field(0.3081, description="pixel standard deviation that standardize divides by")


class FashionMnistDataset(IdxOptions):
    """Fashion-MNIST: 70,000 pictures of clothes, 28×28."""

    name: Literal["fashion_mnist"]
    mean: float = Field(0.2860, description="pixel mean that standardize subtracts")
    std: Positive = Field(0.3530, description="pixel standard deviation that standardize divides by")


class DigitsDataset(ImageOptions):
    """scikit-learn's 1797 handwritten digits, 8×8; needs no download."""

    name: Literal["digits"]
    test_fraction: Fraction = Field(0.2, description="share of the rows held out for the final score")
    mean: float = Field(0.3053, description="pixel mean that standardize subtracts")
    std: Positive = Field(0.3760, description="pixel standard deviation that standardize divides by")


DatasetConfig = Annotated[
    SumDataset | LineDataset | MoonsDataset | MnistDataset | FashionMnistDataset | DigitsDataset,
    Field(discriminator="name"),
]

# ------------------------------------------------------------------------------------------ model


class LinearModel(Section):
    """Linear regression."""

    name: Literal["linear"]
    bias: bool = Field(True, description="add a bias")


class LogisticModel(Section):
    """Logistic regression, binary or multinomial."""

    name: Literal["logistic"]
    bias: bool = Field(True, description="add a bias")


class MlpModel(Section):
    """Multilayer perceptron, for any task."""

    name: Literal["mlp"]
    hidden: tuple[Width, ...] = Field(
        (64, 64), min_length=1, max_length=100, strict=False, description="widths of the hidden layers"
    )
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"] = Field(
        "relu", description="function between the layers"
    )
    dropout: Fraction = Field(0.0, description="share of hidden units dropped in training")
    norm: Literal["none", "batch", "layer"] = Field("none", description="normalisation before the activation")
    bias: bool = Field(True, description="add biases")


ModelConfig = Annotated[LinearModel | LogisticModel | MlpModel, Field(discriminator="name")]

# -------------------------------------------------------------------------------------- optimizer


class Sgd(Section):
    """Stochastic gradient descent (torch.optim.SGD)."""

    name: Literal["sgd"]
    lr: Positive = Field(0.001, description="learning rate")
    momentum: NotNegative = Field(0.0, description="momentum")
    dampening: float = Field(0.0, description="dampening of the momentum")
    weight_decay: NotNegative = Field(0.0, description="L2 penalty")
    nesterov: bool = Field(False, description="Nesterov momentum")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise _rule("nesterov=true needs momentum > 0 and dampening = 0")
        return self


class AdamOptions(Section):
    """What Adam and AdamW share."""

    lr: Positive = Field(0.001, description="learning rate")
    betas: tuple[Fraction, Fraction] = Field(
        (0.9, 0.999), strict=False, description="decay of the averages of the gradient and of its square"
    )
    eps: NotNegative = Field(1e-8, description="added to the denominator")


class Adam(AdamOptions):
    """Adam (torch.optim.Adam)."""

    name: Literal["adam"]
    weight_decay: NotNegative = Field(0.0, description="L2 penalty")


class AdamW(AdamOptions):
    """Adam with decoupled weight decay (torch.optim.AdamW)."""

    name: Literal["adamw"]
    weight_decay: NotNegative = Field(0.01, description="decoupled weight decay")


OptimizerConfig = Annotated[Sgd | Adam | AdamW, Field(discriminator="name")]

# -------------------------------------------------------------------------------------- scheduler


class SchedulerOptions(Section):
    """What every schedule has."""

    warmup_steps: int = Field(
        0, ge=0, le=10**9, description="steps of linear warm-up in front of the schedule"
    )


class ConstantSchedule(SchedulerOptions):
    """The learning rate stays as it is."""

    name: Literal["none"]


class EpochSchedule(SchedulerOptions):
    """A schedule whose time is counted in epochs unless `unit` says otherwise."""

    unit: Literal["epoch", "step"] = Field("epoch", description="what the schedule counts")


class StepSchedule(SchedulerOptions):
    """A schedule whose time is counted in optimizer steps unless `unit` says otherwise."""

    unit: Literal["epoch", "step"] = Field("step", description="what the schedule counts")


class StepDecay(EpochSchedule):
    """Decay by gamma every step_size units (torch StepLR)."""

    name: Literal["step"]
    step_size: Count = Field(10, description="units between two decays")
    gamma: Positive = Field(0.1, description="factor of a decay")


class MultiStepDecay(EpochSchedule):
    """Decay by gamma at each milestone (torch MultiStepLR)."""

    name: Literal["multistep"]
    milestones: tuple[Count, ...] = Field(
        (10, 20), min_length=1, strict=False, description="units at which the rate decays, in rising order"
    )
    gamma: Positive = Field(0.1, description="factor of a decay")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if list(self.milestones) != sorted(self.milestones):
            raise _rule(f"milestones={list(self.milestones)} must be in rising order")
        return self


class ExponentialDecay(EpochSchedule):
    """Decay by gamma every unit (torch ExponentialLR)."""

    name: Literal["exponential"]
    gamma: Positive = Field(0.95, description="factor of a unit")


class CosineDecay(StepSchedule):
    """Half a cosine from lr down to eta_min (torch CosineAnnealingLR)."""

    name: Literal["cosine"]
    t_max: Count | None = Field(None, description="units of the half cosine; null: the whole run")
    eta_min: NotNegative = Field(0.0, description="last learning rate")


class LinearDecay(StepSchedule):
    """A straight line between two factors of lr (torch LinearLR)."""

    name: Literal["linear"]
    start_factor: Factor = Field(1.0, description="first factor of lr")
    end_factor: float = Field(0.0, ge=0, le=1, description="last factor of lr")
    total_iters: Count | None = Field(None, description="units of the line; null: the whole run")


class OneCycle(StepSchedule):
    """Up to lr and down again over the whole run (torch OneCycleLR, momentum left alone)."""

    name: Literal["onecycle"]
    pct_start: Factor = Field(0.3, description="share of the run spent rising")
    anneal_strategy: Literal["cos", "linear"] = Field("cos", description="shape of the rise and the fall")
    div_factor: Positive = Field(25.0, description="the first rate is lr / div_factor")
    final_div_factor: Positive = Field(1e4, description="the last rate is the first / final_div_factor")


class Plateau(SchedulerOptions):
    """Decay when the monitored score stops improving (torch ReduceLROnPlateau)."""

    name: Literal["plateau"]
    factor: float = Field(0.1, gt=0, lt=1, description="factor of a decay")
    patience: int = Field(10, ge=0, le=10**9, description="epochs without improvement before a decay")
    threshold: NotNegative = Field(1e-4, description="smallest change that counts as improvement")
    threshold_mode: Literal["rel", "abs"] = Field("rel", description="threshold is relative or absolute")
    cooldown: int = Field(0, ge=0, le=10**9, description="epochs to wait after a decay")
    min_lr: NotNegative = Field(0.0, description="lowest learning rate")
    eps: NotNegative = Field(1e-8, description="smallest decay that is carried out")


SchedulerConfig = Annotated[
    ConstantSchedule
    | StepDecay
    | MultiStepDecay
    | ExponentialDecay
    | CosineDecay
    | LinearDecay
    | OneCycle
    | Plateau,
    Field(discriminator="name"),
]

# ------------------------------------------------------------------------------------------- init


class DefaultInit(Section):
    """PyTorch's own initialisation of linear layers."""

    name: Literal["default"]
    bias: float | Literal["default"] = Field("default", description="first value of the biases")


class InitOptions(Section):
    """What every other initialisation has."""

    bias: float | Literal["default"] = Field(0.0, description="first value of the biases")


class NormalInit(InitOptions):
    """Normal distribution."""

    name: Literal["normal"]
    mean: float = Field(0.0, description="mean of the weights")
    std: NotNegative = Field(0.01, description="standard deviation of the weights")


class UniformInit(InitOptions):
    """Uniform distribution."""

    name: Literal["uniform"]
    low: float = Field(-0.1, description="lower end of the weights")
    high: float = Field(0.1, description="upper end of the weights")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise _rule(f"low={self.low} must not be above high={self.high}")
        return self


class XavierInit(InitOptions):
    """Glorot's initialisation."""

    name: Literal["xavier_uniform", "xavier_normal"]
    gain: Positive = Field(1.0, description="factor of the standard deviation")


class KaimingInit(InitOptions):
    """He's initialisation."""

    name: Literal["kaiming_uniform", "kaiming_normal"]
    mode: Literal["fan_in", "fan_out"] = Field("fan_in", description="which pass keeps its variance")
    nonlinearity: Literal["relu", "leaky_relu", "tanh", "sigmoid", "linear"] = Field(
        "relu", description="activation whose gain is used"
    )
    a: NotNegative = Field(0.0, description="negative slope, for leaky_relu")


class OrthogonalInit(InitOptions):
    """Random orthogonal matrices."""

    name: Literal["orthogonal"]
    gain: Positive = Field(1.0, description="factor of the matrix")


class ZerosInit(InitOptions):
    """All weights zero."""

    name: Literal["zeros"]


class ConstantInit(InitOptions):
    """All weights the same."""

    name: Literal["constant"]
    value: float = Field(0.1, description="value of the weights")


InitConfig = Annotated[
    DefaultInit
    | NormalInit
    | UniformInit
    | XavierInit
    | KaimingInit
    | OrthogonalInit
    | ZerosInit
    | ConstantInit,
    Field(discriminator="name"),
]

# ----------------------------------------------------------------------------------- trainer, run


class EarlyStopping(Section):
    """Stop when the monitored score has not improved for a while."""

    patience: Count | None = Field(
        None, description="epochs without improvement before stopping; null: never"
    )
    min_delta: NotNegative = Field(0.0, description="smallest change that counts as improvement")


class TrainerConfig(Section):
    """How the model is trained."""

    epochs: Count = Field(1000, description="passes over the training data")
    batch_size: Count | Literal["full"] = Field("full", description="rows of a step, or all of them")
    accumulate: Annotated[int, Field(ge=1, le=10**6)] = Field(
        1, description="batches whose gradients make a step"
    )
    clip_norm: Positive | None = Field(None, description="largest norm of the whole gradient; null: no limit")
    clip_value: Positive | None = Field(None, description="largest entry of the gradient; null: no limit")
    precision: Literal["float32", "float64"] = Field("float32", description="number format")
    engine: Literal["auto", "autograd"] = Field("auto", description="what computes the steps")
    deterministic: bool = Field(False, description="allow only operations that repeat to the last bit")
    early_stopping: EarlyStopping = Field(EarlyStopping(), description="when to stop before the last epoch")
    checkpoint_every: (
        Count
        | Annotated[
            str, Field(pattern=r"^[1-9][0-9]{0,5}s$", json_schema_extra={"rule": "seconds such as 30s"})
        ]
    ) = Field("30s", description="time between two writes of the checkpoints, in epochs or seconds")
    log_every: Count = Field(1, description="epochs between two lines of metrics; the last is always written")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.accumulate > 1 and self.batch_size == "full":
            raise _rule(f"accumulate={self.accumulate} needs a batch_size that is a number")
        return self


class RunConfig(Section):
    """Where the run goes and what it writes."""

    root: str = Field("outputs", min_length=1, description="folder of all runs")
    dir: str | None = Field(
        None, min_length=1, description="folder of this run, inside root; null: a new one"
    )
    name: Label | None = Field(None, description="group of runs in root; null: <dataset>-<model>")
    tensorboard: bool = Field(True, description="write TensorBoard logs")
    plots: bool = Field(True, description="draw pictures at the end")
    progress: Literal["auto", "bar", "lines", "none"] = Field("auto", description="what the console shows")


class Config(Section):
    """A whole experiment."""

    format: int = Field(FORMAT, ge=1, description="version of this schema")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of weights, data order, dropout and augmentation")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        description="where to compute",
        json_schema_extra={"rule": "auto, cpu, cuda or cuda:N"},
    )
    dataset: DatasetConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    init: InitConfig
    trainer: TrainerConfig = Field(TrainerConfig(), description="how the model is trained")
    run: RunConfig = Field(RunConfig(), description="where the run goes and what it writes")


def parse(data: Mapping[str, Any]) -> Config:
    """Validate a plain dict.

    Raises:
        ConfigError: with every problem, a line each: the key, the value, the rule and the way out.
    """
    declared = data.get("format", FORMAT)
    if isinstance(declared, int) and declared > FORMAT:
        raise ConfigError(f"format={declared}: this mlpkit reads up to format {FORMAT}; upgrade mlpkit")
    try:
        return Config.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError("\n".join(describe_problems(error, Config.model_json_schema()))) from None


def to_dict(config: Config) -> dict[str, Any]:
    """Return the config as plain JSON values, names first; `parse` is the inverse."""
    plain: dict[str, Any] = config.model_dump(mode="json")
    return {key: _name_first(value) if isinstance(value, dict) else value for key, value in plain.items()}


def _name_first(section: dict[str, Any]) -> dict[str, Any]:
    return {**({"name": section["name"]} if "name" in section else {}), **section}
