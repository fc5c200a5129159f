"""Own or foreign: whose a config, a checkpoint or a folder is, and what it may make mlpkit do.

It is decided in `mlpkit.cli`, where a path enters the program, and passed on as one value.
"""

from enum import Enum
from pathlib import Path

from mlpkit.config.dataset import DatasetConfig
from mlpkit.errors import DataError

LARGEST_DATA = 4_000_000  # numbers of a foreign dataset that is drawn
LARGEST_MODEL = 25_000_000  # parameters of a foreign model: 100 MB, four times as much with Adam's averages


class Trust(Enum):
    """Whose a config is: the user's own, typed or kept in configs/, or foreign, found in a folder or a file.

    Run folders, sweeps and checkpoints are foreign, whoever wrote them; `--allow-large` makes them LARGE.
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
        """Whether it may take memory for a model or a drawn dataset of any size."""
        return self is not Trust.FOREIGN

    @property
    def may_download(self) -> bool:
        """Whether missing data is fetched for it."""
        return self is Trust.OWN

    @property
    def may_keep_measurements(self) -> bool:
        """Whether what is measured of this machine for it is kept for other runs."""
        return self is Trust.OWN

    @property
    def may_run_git(self) -> bool:
        """Whether git is asked for the commit of the working directory."""
        return self is Trust.OWN

    @property
    def may_read_environment(self) -> bool:
        """Whether `${oc.env:NAME}` is filled in."""
        return self is Trust.OWN

    @property
    def may_write_anywhere(self) -> bool:
        """Whether its run.dir may lie outside of run.root."""
        return self is Trust.OWN

    def check_data(self, config: DatasetConfig, source: Path) -> None:
        """Refuse a dataset that is drawn larger than the file that asks for it may have it.

        Raises:
            DataError: it has more than LARGEST_DATA numbers.
        """
        if (numbers := config.numbers()) > LARGEST_DATA and not self.may_be_large:
            raise DataError(f"{source}: its dataset draws {numbers:,} numbers; --allow-large takes them")

    def check_model(self, parameters: int, source: Path) -> None:
        """Refuse a model with more parameters than it may have, before memory is taken for it.

        Raises:
            DataError: it has more than LARGEST_MODEL.
        """
        if parameters > LARGEST_MODEL and not self.may_be_large:
            raise DataError(
                f"{source}: its config asks for {parameters:,} parameters; --allow-large takes them"
            )
