"""mlpkit explain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.cli.arguments import AllowLarge, Overrides, Plugins, split_arguments
from mlpkit.errors import ConfigError
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from mlpkit.analysis.explain_text import Explanation
    from mlpkit.config.config import Config
    from mlpkit.data.dataset import Dataset
    from mlpkit.folders.checkpoint import Checkpoint
    from mlpkit.folders.trust import Trust

EXAMPLE = "mlpkit explain dataset=moons model=mlp model.hidden=[4] --row 1"

MOST_ON_A_TERMINAL, MOST = 600, 100_000  # numbers
ENDINGS = (".html", ".md")


def explain(
    run: Annotated[
        str | None,
        typer.Argument(
            help="Run folder, checkpoint file, sweep (its best run) or folder of runs; or settings, as train "
            "takes them: the first step of the untrained network. Left out, the newest run.",
            metavar="RUN",
        ),
    ] = None,
    overrides: Overrides = None,
    row: Annotated[
        int | None,
        typer.Option("--row", metavar="N", min=1, help="A step on this row of the split train; left out, 1."),
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="The step that training takes next: on its next batch.")
    ] = False,
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint", metavar="best | last", help="Which of the run's checkpoints the step starts from."
        ),
    ] = "last",
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", parser=expand, help="Write a .html or .md file."),
    ] = None,
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Show one training step in numbers: forward, loss, each gradient with its formula, and the update."""
    from mlpkit.folders.output_file import check_output, write_output
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import make_console, say

    if row is not None and batch:
        raise ConfigError(f"--row={row} --batch: a step is on one row or on a batch; give one of them")
    if output is not None:
        check_output(output, ENDINGS)
    run, given = split_arguments(run, overrides)
    if run is not None and given:
        raise ConfigError(f"{given[0]}: a run is explained as it was trained; name a run, or give settings")
    most, place = MOST if output else MOST_ON_A_TERMINAL, None if batch else row or 1
    found = _explain(run, tuple(given), place, checkpoint, Trust.foreign(allow_large), most)
    if found.numbers > most:
        raise ConfigError(f"explain: the step has {found.numbers:,} numbers; {_too_many(most, batch)}")
    if output is None:
        _print(found)
        return
    from mlpkit.plots.explain_page import to_html, to_markdown

    page = to_html(found) if output.suffix == ".html" else to_markdown(found)
    write_output(output, page.encode())
    say(make_console(), f"{found.title}: {output}")


def _explain(
    run: str | None, given: tuple[str, ...], row: int | None, checkpoint: str, trust: "Trust", most: int
) -> "Explanation":
    """Return the explanation of a step of a run, or of the first step of a config."""
    from mlpkit.analysis.explain_parts import describe_step
    from mlpkit.analysis.named_run import check_which
    from mlpkit.training.one_step import take_step

    check_which(checkpoint)
    if given:
        config, dataset = _composed(given)
        source, state = f"the first ones (init={config.init.name}, seed={config.seed})", None
        trust = trust.OWN
    else:
        path, stored, dataset = _opened(run, checkpoint, trust)
        config, state = stored.config, stored.state
        progress = state.progress
        source = f"{path} ({stored.name_of(path)} checkpoint, epoch {progress.epoch}, step {progress.step})"
        if config.optimizer.slots() and progress.step:
            source += ", with the optimizer's state" if state.optimizer else "; the optimizer's state is not "
            source += "" if state.optimizer else "in it, and begins at zero"
    _check_size(config, dataset, most)
    return describe_step(take_step(config, dataset, row, trust, state), source)


def _composed(given: tuple[str, ...]) -> "tuple[Config, Dataset]":
    """Return the config that train would compose, and its dataset."""
    from mlpkit.cli.compose import Request, read_config
    from mlpkit.cli.shorthand import expand as expand_words
    from mlpkit.data.load import load_dataset
    from mlpkit.system.console import note

    config = read_config(Request(expand_words(given)))
    dataset = load_dataset(config.dataset)
    for line in dataset.remarks:
        note(line)
    return config, dataset


def _opened(run: str | None, checkpoint: str, trust: "Trust") -> "tuple[Path, Checkpoint, Dataset]":
    """Return a run's checkpoint with its path, and the dataset that it was trained on."""
    from mlpkit.analysis.matching_data import load_matching
    from mlpkit.analysis.named_run import open_run
    from mlpkit.system.console import note

    path, stored = open_run(run, checkpoint, trust, parts=("model", "optimizer"))
    if (members := stored.config.model.networks) > 1:
        note(f"the run has {members} members; the step is that of the first")
    return path, stored, load_matching(stored.config.dataset, stored, path, note, trust)


def _check_size(config: "Config", dataset: "Dataset", most: int) -> None:
    """Check that a step can be shown at all; it has several numbers for each weight.

    Raises:
        ConfigError: the network is too large.
    """
    from mlpkit.models.architecture import architecture, count

    parameters = count(architecture(config, dataset.input_schema))
    if parameters > most / 2:
        raise ConfigError(
            f"explain: model={config.model.name} has {parameters:,} parameters; {_too_many(most)}"
        )


def _too_many(most: int, batch: bool = False) -> str:
    """Return the rule for the number of numbers, and the way out; of a batch, one row is one."""
    way = "choose a smaller network (model.hidden=[4])" + (
        ", or --row 1 in place of --batch" if batch else ""
    )
    if most == MOST:
        return f"a file takes a step of up to {most:,} numbers; {way}"
    return f"a step of up to {most:,} numbers is printed; write it with --output step.html, or {way}"


def _print(explanation: "Explanation") -> None:
    """Print an explanation; on a terminal its lines are folded."""
    from mlpkit.system.console import folded, make_console, print_numbers, say

    console = make_console()
    for line in (explanation.title, *explanation.lines):
        say(console, *folded(console, line))
    for part in explanation.parts:
        console.print()
        console.print(part.title, style="bold", markup=False)
        for text, shape in part.formulas:
            say(console, *folded(console, f"  {text}  {shape}".rstrip()))
        for line in part.lines:
            say(console, *folded(console, line))
        if part.table:
            print_numbers(console, part.table.columns, part.table.rows)
