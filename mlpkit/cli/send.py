"""mlpkit send."""

from typing import Annotated

import typer

from mlpkit.analysis.named_run import newest_of
from mlpkit.cli.arguments import Plugins

EXAMPLE = "mlpkit send --to mlflow"
TRACKERS = ("mlflow",)


def send(
    run: Annotated[
        str | None,
        typer.Argument(
            help="Run folder, sweep (all of its runs) or folder of runs (the newest run or sweep); left out, "
            "the newest.",
            metavar="RUN",
        ),
    ] = None,
    to: Annotated[str, typer.Option("--to", metavar="mlflow", help="The tracker.")] = "mlflow",
    uri: Annotated[
        str | None,
        typer.Option(
            "--uri",
            metavar="URI",
            help="Where it is, such as http://host:5000 or sqlite:///mlflow.db; left out, "
            "MLFLOW_TRACKING_URI or MLflow's default.",
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Send runs to a tracker: settings, scores, pictures, the checkpoint. Sending again changes nothing."""
    from collections import Counter

    from mlpkit.config.problems import plural
    from mlpkit.errors import ConfigError, DataError, MlpkitError, TrackerError
    from mlpkit.folders.find_run import find_run
    from mlpkit.folders.found_runs import find_runs
    from mlpkit.folders.labels import read_labels
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
    from mlpkit.folders.tracked_run import read_tracked
    from mlpkit.loggers.mlflow_store import MLflowStore, check_installed
    from mlpkit.system.console import make_console, note, say
    from mlpkit.system.lock import locked

    if to not in TRACKERS:
        raise ConfigError(f"--to={to}: must be {' or '.join(TRACKERS)}")
    check_installed(f"--to={to}")
    path, newest = newest_of(run, begun=True)
    in_sweep = is_sweep(path)
    folders = [RunFolder(found) for found in find_runs([path], note)] if in_sweep else [find_run(path)]
    if newest:
        note(f"newest {'sweep' if in_sweep else 'run'}: {path}")
    store, changes, group = MLflowStore(uri), Counter[str](), ""
    for folder in folders:
        try:
            with locked(folder.lock):
                folder.open_for_writing()
                tracked = read_tracked(folder)
                changes[store.open(tracked).change] += 1
                group = tracked.group
        except TrackerError as error:
            raise TrackerError(f"{error}; start the server, or name another with --uri") from None
        except MlpkitError as error:
            if not in_sweep:
                raise
            note(f"left out: {error}")
    if not changes:
        raise DataError(f"{path}: no run of it can be sent; the notes say why")
    counted = ", ".join(
        f"{changes[kind]} {kind}" for kind in ("new", "changed", "unchanged") if changes[kind]
    )
    lines = [f"{store.uri}, experiment {group}: {plural(changes.total(), 'run')} ({counted})"]
    sweep = folders[0].path.resolve().parent
    if is_sweep(sweep) and store.label(group, read_labels(SweepFolder(sweep).labels)):
        lines.append("the sweep's tags or note have changed")
    say(make_console(), *lines)
