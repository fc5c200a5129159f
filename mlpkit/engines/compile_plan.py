"""The properties of runs that a compiled step depends on."""

from dataclasses import dataclass

# The settings of each run's update.
#     Adam: step_size = lr / (1 - β₁ᵗ), bias_correction2_sqrt = √(1 - β₂ᵗ), first_weight = 1 - β₁, decay = β₂,
#           second_weight = 1 - β₂.
#     SGD:  decay = momentum, first_weight = 1 - dampening, second_weight = Nesterov's momentum.
SETTINGS = (
    *(
        "lr",
        "step_size",
        "bias_correction2_sqrt",
        "first_weight",
        "decay",
        "second_weight",
        "eps",
        "weight_decay",
    ),
    *("norm_limit", "value_limit", "average_share"),
)


@dataclass(frozen=True)
class CompilePlan:
    """The properties of runs that a compiled step depends on; equal plans share one compiled library.

    Attributes:
        widths: the widths of all layers, including inputs and outputs.
        activations: the hidden layers' activations, as names of torch classes.
        bias: whether layers have biases.
        task: regression, binary or multiclass; decides the statistics.
        loss: mse, binary_cross_entropy or cross_entropy.
        rows: the numbers of rows of the training and the monitored split.
        shared: whether all runs have the same rows.
        optimizer: sgd, adam or adamw.
        momentum: whether SGD uses momentum.
        nesterov: whether SGD uses Nesterov's momentum.
        decays: whether any run has weight decay.
        averages: whether averages of the weights are kept.
        limits: whether any run clips by norm, and whether any clips by value.
        unscales: whether outputs are converted to the targets' units for scores.
        weighted: whether rows have weights.
        dtype: the parameters' dtype, by its name in torch.
        threads: the number of CPU threads.
    """

    widths: tuple[int, ...]
    activations: tuple[str, ...]
    bias: bool
    task: str
    loss: str
    rows: tuple[int, int]
    shared: bool
    optimizer: str
    momentum: bool
    nesterov: bool
    decays: bool
    averages: bool
    limits: tuple[bool, bool]
    unscales: bool
    weighted: bool
    dtype: str
    threads: int
