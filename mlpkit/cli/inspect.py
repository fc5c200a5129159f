"""mlpkit inspect."""

from typing import Annotated, Any

import typer

from mlpkit.analysis.named_run import open_run
from mlpkit.cli.arguments import AllowLarge, Plugins, Run, Which

EXAMPLE = "mlpkit inspect --checkpoint last"


def inspect(
    run: Run = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="Print all weights and biases of a small model, by layer.")
    ] = False,
    checkpoint: Which = "best",
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Show a trained model: layers, parameters, weights, scores and config."""
    import math

    from mlpkit.analysis.weight_tables import weight_tables
    from mlpkit.analysis.weights import readable_weights
    from mlpkit.config import yaml_file
    from mlpkit.config.config import to_dict
    from mlpkit.config.loss import loss_for
    from mlpkit.folders.fork import read_fork
    from mlpkit.folders.labels import describe_labels, read_labels
    from mlpkit.folders.results import summarized_scores
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.folders.state import are_plain
    from mlpkit.folders.tensor_check import check_tensors
    from mlpkit.folders.trust import Trust
    from mlpkit.models.architecture import architecture, count
    from mlpkit.system.console import (
        make_console,
        plain_table,
        print_numbers,
        print_scores,
        print_weights,
        say,
    )
    from mlpkit.system.tensor_file import TensorFile

    trust = Trust.foreign(allow_large)
    path, stored = open_run(run, checkpoint, trust, parts=())
    input_schema, console = stored.input_schema, make_console()
    layers, members = architecture(stored.config, input_schema), stored.config.model.networks
    features = ", ".join(input_schema.features[:8]) + (", …" if len(input_schema.features) > 8 else "")
    targets = ", ".join(input_schema.targets)
    if input_schema.classes:
        targets += f" ({', '.join(input_schema.classes)})"
    say(console, str(path))
    say(console, f"{input_schema.task}: {features} → {targets}")
    say(console, f"epoch {stored.state.progress.epoch}, step {stored.state.progress.step}")
    if path.parent.name == "checkpoints":
        say(console, *describe_labels(read_labels(RunFolder(path.parent.parent).labels)))
        if fork := read_fork(path.parent.parent):
            say(console, f"forked from {fork.run} at step {fork.step}")
    loss = loss_for(stored.config.loss, input_schema.task, stored.config.dataset.name)
    say(console, f"loss: {loss.on_output(input_schema.task)}")
    if stored.temperature != 1:
        say(console, f"calibrated: temperature {stored.temperature:.4g}")
    if stored.ensemble:
        say(console, "calibrated in an ensemble of {1}: temperature {0:.4g}".format(*stored.ensemble))
    console.print()

    table = plain_table("layer", ["shape", "parameters"])
    for layer in layers:
        if layer.kind == "Identity":
            continue
        number = sum(math.prod(shape) for shape in layer.parameters.values())
        has_widths = layer.kind in ("Linear", "PeriodicEmbedding", "MemberOutputs")
        shape = f"{layer.in_features} → {layer.out_features}" if has_widths else ""
        table.add_row(f"{layer.name} {layer.kind}", shape, f"{number:,}" if number else "")
    table.add_row("total", "", f"{count(layers):,}")
    if members > 1:
        table.add_row(f"all {members} members", "", f"{count(layers) * members:,}")
    console.print(table)

    with TensorFile(path) as file:
        check_tensors(file, stored.config, input_schema, trust)  # again: the file may have been replaced
        if (compared := file.entries.get("novelty/rows")) is not None:
            say(console, f"novelty: compares rows with {compared.shape[0]:,} training rows")

        in_newest = stored.is_best and any(name.startswith("best/") for name in file.entries)
        kind = "best" if in_newest else "model"

        def read(name: str) -> Any:
            values = file.read(f"{kind}/{name}")
            return (values[0] if members > 1 else values).tolist()

        tables = list(weight_tables(layers, input_schema, read, loss)) if weights else []
        readable = [] if tables else readable_weights(layers, input_schema, read)
    used = f"{stored.name_of(path)}, epoch {stored.state.progress.epoch}"
    of_first = f"first member, {used}" if members > 1 else used
    console.print()
    say(console, *yaml_file.dump(to_dict(stored.config)).rstrip().split("\n"))
    for numbers in tables:
        console.print()
        print_numbers(console, numbers.columns, numbers.rows)
    if readable:
        console.print()
        print_weights(console, of_first, readable)
    by_split, folder = stored.state.scores, RunFolder(path.parent.parent)
    if path.parent.name == "checkpoints":
        summarized = summarized_scores(folder, stored.name_of(path), stored.state.progress.step) or {}
        by_split = summarized if summarized and are_plain(summarized) else by_split
    if by_split:
        console.print()
        print_scores(console, f"scores ({used})", by_split)
