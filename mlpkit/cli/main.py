"""The command line: registers the commands, and turns errors into one line and an exit code."""

import functools
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import typer

from mlpkit.cli import (
    calibrate,
    clean,
    compare,
    completion,
    config,
    data,
    diagnose,
    diff,
    doctor,
    evaluate,
    explain,
    export,
    film,
    fit,
    fork,
    importance,
    inspect,
    lr,
    ls,
    note,
    plot,
    predict,
    report,
    resume,
    send,
    serve,
    tag,
    train,
    verify,
    versus,
    watch,
)
from mlpkit.cli import list as list_command
from mlpkit.cli.hydra_habits import refuse_options
from mlpkit.cli.memory import check_limit, is_lack_of_memory
from mlpkit.cli.usage import describe_usage
from mlpkit.errors import ConfigError, MlpkitError, WriteError
from mlpkit.version import __version__

COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "data": (data.data, data.EXAMPLE),
    "fit": (fit.fit, fit.EXAMPLE),
    "train": (train.train, train.EXAMPLE),
    "resume": (resume.resume, resume.EXAMPLE),
    "fork": (fork.fork, fork.EXAMPLE),
    "lr": (lr.lr, lr.EXAMPLE),
    "predict": (predict.predict, predict.EXAMPLE),
    "serve": (serve.serve, serve.EXAMPLE),
    "evaluate": (evaluate.evaluate, evaluate.EXAMPLE),
    "importance": (importance.importance, importance.EXAMPLE),
    "calibrate": (calibrate.calibrate, calibrate.EXAMPLE),
    "export": (export.export, export.EXAMPLE),
    "explain": (explain.explain, explain.EXAMPLE),
    "watch": (watch.watch, watch.EXAMPLE),
    "diagnose": (diagnose.diagnose, diagnose.EXAMPLE),
    "inspect": (inspect.inspect, inspect.EXAMPLE),
    "plot": (plot.plot, plot.EXAMPLE),
    "film": (film.film, film.EXAMPLE),
    "report": (report.report, report.EXAMPLE),
    "compare": (compare.compare, compare.EXAMPLE),
    "versus": (versus.versus, versus.EXAMPLE),
    "ls": (ls.ls, ls.EXAMPLE),
    "diff": (diff.diff, diff.EXAMPLE),
    "tag": (tag.tag, tag.EXAMPLE),
    "note": (note.note, note.EXAMPLE),
    "send": (send.send, send.EXAMPLE),
    "clean": (clean.clean, clean.EXAMPLE),
    "verify": (verify.verify, verify.EXAMPLE),
    "list": (list_command.list_choices, list_command.EXAMPLE),
    "config": (config.config, config.EXAMPLE),
    "doctor": (doctor.doctor, doctor.EXAMPLE),
    "completion": (completion.completion, completion.EXAMPLE),
}
# Commands that import torch.
TRAINING = ("fit", "train", "lr", "fork", "versus", "resume", "verify")
TORCH = (
    *(
        *TRAINING,
        "data",
        "predict",
        "serve",
        "evaluate",
        "calibrate",
        "importance",
        "explain",
        "diagnose",
        "export",
    ),
    *("plot", "film", "report", "doctor"),
)

# Newer releases of typer bundle click. This finds the exception class in either case.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="mlpkit",
    help="Train linear, logistic and multilayer-perceptron models from composable YAML configs.",
    epilog="A first run: mlpkit train dataset=moons model=mlp. With --debug an error shows its traceback.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, (function, example) in COMMANDS.items():
    app.command(name, epilog=f"Example: {example}")(function)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mlpkit {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Train linear, logistic and multilayer-perceptron models from composable YAML configs."""


@functools.cache
def _command() -> Callable[..., object]:
    return typer.main.get_command(app)


def _check_working_directory() -> None:
    """Check that the working directory exists: without one, relative paths and torch's libraries fail.

    Raises:
        ConfigError: it was deleted.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise ConfigError("the working directory was deleted; change into another one") from None


def main() -> int:
    """Run the command line; return its exit code."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments  # allowed anywhere: users append it to a command that has just failed
    if debug:
        arguments.remove("--debug")
    return run(arguments, debug)


def run(arguments: list[str], debug: bool = False) -> int:
    """Run one command; return its exit code.

    Expected errors are printed on stderr, one line per problem; with `debug`, also the traceback.
    """
    from mlpkit.system.console import print_error

    try:
        _check_working_directory()
        refuse_options(arguments)
        if arguments and arguments[0] in TORCH:
            check_limit()
        code = _command()(args=arguments or ["--help"], prog_name="mlpkit", standalone_mode=False)
    except MlpkitError as error:
        if debug:
            traceback.print_exc()
        print_error(*error.args)
        return error.exit_code
    except UsageError as error:
        if debug:
            traceback.print_exc()
        print_error(describe_usage(error, arguments, arguments[0] in COMMANDS))
        return 2
    except OSError as error:  # not handled elsewhere, such as a folder without permission
        if debug:
            traceback.print_exc()
        print_error(f"{error.filename or 'system'}: {error.strerror or error}")
        return WriteError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print_error("interrupted")
        return 130
    except (MemoryError, RuntimeError, ImportError) as error:
        if debug or not is_lack_of_memory(error):
            raise
        said = str(error).splitlines()[:1]
        print_error(
            f"memory: there is not enough of it{f' ({said[0]})' if said else ''}; train on fewer rows, "
            "choose a smaller model or batch, or raise a limit (ulimit -v)"
        )
        return MlpkitError.exit_code
    if code == 130:  # a Ctrl-C that typer has caught: it returns the code without a message
        print_error("interrupted")
    return code if isinstance(code, int) else 0
