"""mlpkit inspect."""

from mlpkit.cli.arguments import AllowLarge, Run, Which, open_run

EXAMPLE = "mlpkit inspect --checkpoint last"


def inspect(run: Run = None, checkpoint: Which = "best", allow_large: AllowLarge = False) -> None:
    """Show a trained model: layers, parameters, weights, scores and config."""
    import yaml

    from mlpkit.checkpoint import are_plain
    from mlpkit.config import to_dict
    from mlpkit.console import make_console, plain_table, print_scores, print_weights, printable
    from mlpkit.outcome import summarized_scores
    from mlpkit.predict import make_predictor
    from mlpkit.run_folder import RunFolder
    from mlpkit.weights import readable_weights

    path, stored = open_run(run, checkpoint, allow_large)
    predictor = make_predictor(stored)
    signature, network, console = predictor.signature, predictor.network, make_console()
    features = ", ".join(signature.features[:8]) + (", …" if len(signature.features) > 8 else "")
    targets = ", ".join(signature.targets)
    if signature.classes:
        targets += f" ({', '.join(signature.classes)})"
    console.print(printable(str(path)), markup=False)
    console.print(f"{signature.task}: {features} → {targets}", markup=False)
    console.print(f"epoch {stored.state.progress.epoch}, step {stored.state.progress.step}", markup=False)
    console.print()

    table = plain_table("layer", ["shape", "parameters"])
    total = 0
    for name, module in network.named_modules():
        if list(module.children()) or type(module).__name__ == "Identity":
            continue
        own = list(module.parameters(recurse=False))
        count = sum(parameter.numel() for parameter in own)
        total += count
        shape = " → ".join(str(n) for n in reversed(own[0].shape)) if own and own[0].ndim == 2 else ""
        table.add_row(f"{name} {type(module).__name__}", shape, f"{count:,}" if count else "")
    table.add_row("total", "", f"{total:,}")
    console.print(table)

    if weights := readable_weights(network, signature):
        console.print()
        print_weights(console, path.stem, weights)
    by_split, folder = stored.state.scores, RunFolder(path.parent.parent)
    if path.parent.name == "checkpoints" and folder.summary.is_file():
        summarized = summarized_scores(folder, path.stem, stored.state.progress.step) or {}
        by_split = summarized if summarized and are_plain(summarized) else by_split
    if by_split:
        console.print()
        print_scores(console, f"scores ({path.stem})", by_split)
    console.print()
    console.print(yaml.safe_dump(to_dict(stored.config), sort_keys=False).rstrip(), markup=False)
