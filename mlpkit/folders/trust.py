"""Tells the user's own configs, checkpoints and folders from foreign ones, and what each may make mlpkit do.

It is decided where a path enters the program, as in `mlpkit.cli` and `mlpkit.api`, and passed on as a value.
"""

from enum import Enum
from pathlib import Path

from mlpkit.config.dataset import DatasetConfig
from mlpkit.errors import DataError

LARGEST_DATA = 4_000_000  # numbers in a foreign synthetic dataset
LARGEST_MODEL = 25_000_000  # parameters of a foreign model: 100 MB, 400 MB with gradients and Adam's state


class Trust(Enum):
    """Whether a config is the user's own (typed, or in configs/) or foreign (found in a folder or a file).

    Those that a user names are always foreign: FOREIGN, or LARGE with `--allow-large`.
    """

    OWN = "own"
    LARGE = "foreign, of any size"
    FOREIGN = "foreign"

    @classmethod
    def foreign(cls, allow_large: bool) -> "Trust":
        """Return LARGE with --allow-large, else FOREIGN."""
        return cls.LARGE if allow_large else cls.FOREIGN

    @property
    def may_be_large(self) -> bool:
        """Whether the model and a synthetic dataset may have any size."""
        return self is not Trust.FOREIGN

    @property
    def may_download(self) -> bool:
        """Whether missing data is downloaded."""
        return self is Trust.OWN

    @property
    def may_keep_measurements(self) -> bool:
        """Whether timings of this machine are cached for other runs."""
        return self is Trust.OWN

    @property
    def may_run_git(self) -> bool:
        """Whether git is run to get the commit of the working directory."""
        return self is Trust.OWN

    @property
    def may_read_environment(self) -> bool:
        """Whether `${oc.env:NAME}` is resolved."""
        return self is Trust.OWN

    @property
    def may_write_anywhere(self) -> bool:
        """Whether run.dir may be outside of run.root."""
        return self is Trust.OWN

    def check_data(self, config: DatasetConfig, source: Path) -> None:
        """Refuse a synthetic dataset that is too large for a foreign config.

        Args:
            config: the dataset's config.
            source: the file that the config comes from.

        Raises:
            DataError: the config is foreign and its dataset has more than LARGEST_DATA numbers.
        """
        if (numbers := config.numbers()) > LARGEST_DATA and not self.may_be_large:
            raise DataError(f"{source}: its dataset draws {numbers:,} numbers; --allow-large takes them")

    def check_model(self, parameters: int, source: Path) -> None:
        """Refuse a model that is too large for a foreign config, before memory is allocated for it.

        Args:
            parameters: number of parameters.
            source: the file that the config comes from.

        Raises:
            DataError: the config is foreign and its model has more than LARGEST_MODEL parameters.
        """
        if parameters > LARGEST_MODEL and not self.may_be_large:
            raise DataError(
                f"{source}: its config asks for {parameters:,} parameters; --allow-large takes them"
            )
