"""The default launcher: the sweep's own process trains group after group."""

from typing import ClassVar, Literal

from mlpkit.config.launcher import LauncherConfig
from mlpkit.config.registry import choice


@choice("launcher")
class VectorizedLauncher(LauncherConfig):
    """Runs of one shape are trained together, in this process."""

    is_local: ClassVar[bool] = True
    in_this_process: ClassVar[bool] = True
    name: Literal["vectorized"]
