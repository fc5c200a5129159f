"""What a compiled step is made for."""

from dataclasses import dataclass

# The settings of each run's update. For SGD, `kept` is the momentum, `first` is 1 - dampening and `second` is
# Nesterov's momentum.
SETTINGS = (
    *("lr", "size", "root", "first", "kept", "second", "eps", "weight_decay"),
    *("norm_limit", "value_limit"),
)


@dataclass(frozen=True)
class CompilePlan:
    """What a compiled step depends on; engines with equal plans share one.

    Attributes:
        widths: of all layers, from the inputs to the outputs.
        activations: of the hidden layers, by the names of torch's classes.
        bias: whether layers have biases.
        task: regression, binary or multiclass, for the statistics.
        loss: mse, binary_cross_entropy or cross_entropy.
        rows: of the training split and of the monitored one.
        shared: whether all runs have the same rows.
        optimizer: sgd, adam or adamw.
        momentum: whether SGD has one.
        nesterov: whether it is Nesterov's.
        decays: whether there is a weight decay.
        limits: whether norms and values of the gradients are limited.
        unscales: whether outputs are brought to the targets' unit for scores.
        dtype: of the numbers, by torch's name.
        threads: of the CPU.
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
    limits: tuple[bool, bool]
    unscales: bool
    dtype: str
    threads: int
