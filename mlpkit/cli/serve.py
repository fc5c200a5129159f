"""mlpkit serve."""

from typing import Annotated

import typer

from mlpkit.analysis.named_run import check_which, choose_run
from mlpkit.cli.arguments import AllowLarge, Device, Plugins, Run, Which
from mlpkit.errors import ConfigError

EXAMPLE = "mlpkit serve --port 8000"


def serve(
    run: Run = None,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 takes any free one.")
    ] = 8000,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Address to listen on; any but this machine's own needs a token.",
        ),
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="TEXT",
            envvar="MLPKIT_TOKEN",
            help="What each request must know.",
            show_envvar=True,
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Let everybody who reaches it use the model.")
    ] = False,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Average what all seeds of a sweep's best setting predict, not its best run alone.",
        ),
    ] = False,
    checkpoint: Which = "best",
    device: Device = "cpu",
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Answer requests over HTTP with a model's predictions, and show a form to try it."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise ConfigError("serve: needs starlette and uvicorn; pip install 'mlpkit[serve]'") from None
    from mlpkit.deploy.guard import guard_for
    from mlpkit.deploy.listener import address_of, listen

    check_which(checkpoint)
    guard = guard_for(host, token, no_auth)
    with listen(host, port) as listener:
        from mlpkit.deploy.serve_model import RunSource, Source, load_ensemble
        from mlpkit.deploy.server import Server
        from mlpkit.folders.find_run import find_members
        from mlpkit.folders.trust import Trust
        from mlpkit.system.console import make_console, note, say
        from mlpkit.system.device import choose_device
        from mlpkit.system.paths import expand

        where, trust = choose_device(device), Trust.foreign(allow_large)
        if ensemble or (run is not None and find_members(expand(run))):
            source = Source(load_ensemble(run, checkpoint, where, trust))
        else:
            path, reason = choose_run(run)
            source = RunSource(path, checkpoint, where, trust, note)
            if reason:
                note(f"{reason}: {path}")
        model, console = source.model, make_console()
        line = f"serving {model.path} ({model.about}) at {address_of(listener)}"
        Server(source, guard, note).run(listener, lambda: say(console, line))
        say(console, "stopped")
