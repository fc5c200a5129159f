"""What TensorBoard shows of a run besides numbers: the config as a text, and the layers as a graph."""

import json
from collections.abc import Sequence

from mlpkit.config.changed import NONE, changed_settings
from mlpkit.config.config import Config
from mlpkit.config.model import Layer


def config_text(config: Config, written: str) -> str:
    """Return a config as Markdown: a table of what differs from the defaults, and the whole.

    Args:
        config: the config.
        written: the text of config.yaml.
    """
    rows = [
        f"| {_cell(each.key)} | {_cell(each.value)} | {'' if each.default is NONE else _cell(each.default)} |"
        for each in changed_settings(config)
    ]
    yaml = "".join(f"    {line}\n" for line in written.splitlines())
    return "\n".join(["| key | value | default |", "|---|---|---|", *rows, "", "The whole config:", "", yaml])


def graph_of(layers: Sequence[Layer]) -> bytes:
    """Return the graph of a network: its layers in their order."""
    from mlpkit.system.event_values import chain_graph

    nodes = [("inputs", "Input", dict[str, str](), layers[0].in_features)]
    for layer in layers:
        shapes = {name: "×".join(map(str, shape)) for name, shape in layer.parameters.items()}
        shown = {**({"settings": layer.settings} if layer.settings else {}), **shapes}
        number = layer.name.removeprefix("layers.")
        name = f"{number}_{layer.kind}" if number.isdigit() else number
        nodes.append((name.replace(" ", "_"), layer.kind, shown, layer.out_features))
    nodes.append(("outputs", "Output", {}, layers[-1].out_features))
    return chain_graph(nodes)


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return "`" + text.replace("|", "\\|").replace("`", "'").replace("\n", " ") + "`"
