"""mlpkit data."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.cli.arguments import ConfigDir, Plugins
from mlpkit.errors import ConfigError
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from mlpkit.config.dataset import DatasetConfig

EXAMPLE = "mlpkit data dataset=iris --head 3"
MOST_HEAD = 100


def data(
    words: Annotated[
        list[str],
        typer.Argument(
            help="A table (- is stdin), arrays (npz) or a folder of pictures; or dataset=NAME; and "
            "dataset.KEY=VALUE.",
            metavar="FILE|KEY=VALUE",
        ),
    ],
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="COLUMN", help="The column that is predicted; repeatable."),
    ] = None,
    head: Annotated[
        int | None,
        typer.Option(
            "--head",
            metavar="N",
            min=1,
            max=MOST_HEAD,
            help="Only show N training rows, as they are and as the model reads them.",
        ),
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write/--no-write", help="Whether to write the config of a file with a target."),
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            parser=expand,
            help="Where to write it; left out, configs/dataset/NAME.yaml.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            parser=expand,
            help="Draw a histogram of each column, or images and their augmentation (png).",
        ),
    ] = None,
    config_dir: ConfigDir = None,
    plugin: Plugins = None,
) -> None:
    """Show what is in a dataset and what looks wrong, and write the config that trains on it."""
    from mlpkit.cli.data_config import check_new, dataset_yaml, default_path, write_new
    from mlpkit.cli.data_report import print_dataset, print_head, print_table
    from mlpkit.data.table_options import TableOptions
    from mlpkit.folders.output_file import check_output
    from mlpkit.system.console import make_console, note, say

    words = [word.removeprefix("data=") for word in words]
    files = [word for word in words if "=" not in word or Path(word).exists()]
    settings = [word for word in words if word not in files]
    config = _dataset(files, settings, target, tuple(config_dir or ()))
    is_stdin = "-" in files
    writes = bool(files) and config.name == "table" and getattr(config, "target", None) is not None
    writes = writes and not is_stdin
    if output is not None:
        if not (writes and write and head is None):
            raise ConfigError(f"--output={output}: only for a table file with --target, which it trains on")
        check_new(output)
    if plot is not None:
        if head is not None:
            raise ConfigError(f"--plot={plot}: only without --head; leave one of them out")
        if not isinstance(config, TableOptions) and config.augmentation() is None:
            raise ConfigError(
                f"--plot={plot}: dataset={config.name} has neither columns nor images; leave it out"
            )
        check_output(plot, (".png",), "--plot")
    console = make_console()
    if head is not None:
        print_head(console, config, head)
        return
    if not isinstance(config, TableOptions):
        print_dataset(console, config)
        if plot is not None:
            _draw_images(config, plot)
        return
    kinds = print_table(console, config)
    if plot is not None:
        from mlpkit.folders.output_file import write_output
        from mlpkit.plots.drawing import drawing

        with drawing(str(plot), note):
            from mlpkit.plots.histograms import draw_histograms

            write_output(plot, draw_histograms(config.raw(), config.targets()))
            console.print()
            say(console, f"wrote {plot}")
    if not writes:
        ways = ["name the column to predict with --target COLUMN"] if files and not config.targets() else []
        ways += ["save the table in a file, which mlpkit train data=FILE reads"] if is_stdin else []
        if ways:
            console.print()
            say(console, f"next: {'; '.join(ways)}")
        return
    content, path = dataset_yaml(config, kinds, files), output or default_path(files[0])
    console.print()
    say(console, f"# {path}", *content.splitlines()[1:])
    console.print()
    short = False
    if write:
        line, is_ours = write_new(path, content)
        say(console, line)
        console.print()
        short = is_ours and path.parent == Path("configs/dataset")
    say(console, "next:")
    dataset = f"dataset={path.stem}" if short else _long(files, config.targets(), settings)
    say(console, f"  mlpkit train {dataset} model=mlp")
    if config.fold is None and config.split.by in ("auto", "random", "stratified", "group"):
        say(console, f"  mlpkit train -m {dataset} model=mlp 'dataset.fold=range({config.folds})'")


def _draw_images(config: "DatasetConfig", path: Path) -> None:
    """Draw training images as `dataset.augment` changes them.

    Raises:
        ConfigError: the dataset's inputs are not images.
    """
    from mlpkit.config.dataset import Augment
    from mlpkit.data.load import load_dataset
    from mlpkit.folders.output_file import write_output
    from mlpkit.plots.drawing import drawing
    from mlpkit.system.console import make_console, note, say

    with drawing(str(path), note):
        from mlpkit.plots.augmented import draw_augmented

        write_output(path, draw_augmented(load_dataset(config), config.augmentation() or Augment()))
        console = make_console()
        console.print()
        say(console, f"wrote {path}")


def _dataset(
    files: list[str], overrides: list[str], target: list[str] | None, folders: tuple[Path, ...]
) -> "DatasetConfig":
    """Return the dataset's config: the one that `mlpkit train` has with the same words.

    Raises:
        ConfigError: it is not valid, or there is none.
    """
    from mlpkit.cli.compose import Request, compose
    from mlpkit.cli.shorthand import dataset_of
    from mlpkit.config.config import parse

    given = [f"dataset.{line}" if line.startswith("target=") else line for line in overrides]
    allowed = ("dataset=", "dataset.", "experiment=")
    if bad := next((line for line in given if not line.lstrip("+~").startswith(allowed)), None):
        raise ConfigError(f"{bad}: only settings of dataset.*, or experiment=NAME; leave it out")
    typed = [line for line in given if line.startswith("dataset.target=")]
    if target and typed:
        raise ConfigError(f"--target={target[0]}: {typed[0]} names the target already; remove one")
    chosen = [line for line in given if line.startswith(("dataset=", "experiment="))]
    if files and chosen:
        raise ConfigError(f"{chosen[0]}: {files[0]} chooses the dataset already; remove one")
    if not files and not chosen:
        raise ConfigError("data: no file is named; write mlpkit data FILE, or mlpkit data dataset=NAME")
    if files:
        given = [f"dataset={'table' if files[0] == '-' else dataset_of(files[0])}", *given]
    composed = compose(Request(tuple(given), folders))
    added: dict[str, object] = {}
    if files:
        added["path"] = files[0] if len(files) == 1 else files
    if target:
        added["target"] = target[0] if len(target) == 1 else target
    return parse({**composed, "dataset": {**composed["dataset"], **added}}).dataset


def _long(files: list[str], targets: tuple[str, ...], settings: list[str]) -> str:
    """Return the words that name a table, its targets and its settings, for a shell."""
    words = [
        f"{key}={named[0] if len(named) == 1 else '[' + ','.join(named) + ']'}"
        for key, named in {"data": files, "target": targets}.items()
    ]
    more = [setting for setting in settings if not setting.startswith(("target=", "dataset.target="))]
    return shlex.join([*words, *more])
