"""TensorBoard's messages for what is not a scalar: texts, histograms, curves, layouts of charts, graphs."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_FLOAT, DT_STRING
from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MarginChartContent
from tensorboard.plugins.custom_scalar.layout_pb2 import MultilineChartContent as Multiline
from tensorboard.plugins.pr_curve.plugin_data_pb2 import PrCurvePluginData

_LAYOUT = "custom_scalars__config__"  # the tag at which TensorBoard looks for it

Array = NDArray[np.float64]


def text_value(tag: str, markdown: str) -> Summary.Value:
    """Return a text, which TensorBoard shows as Markdown."""
    return _value(tag, "text", TensorProto(dtype=DT_STRING, string_val=[_bytes(markdown)]))


def _bytes(text: str) -> bytes:
    """Return a text as UTF-8; what cannot be in it, such as in names of files, is escaped."""
    return text.encode(errors="backslashreplace")


def histogram_value(tag: str, counts: Array, edges: Array) -> Summary.Value:
    """Return a histogram of n bins: counts (n,) and edges (n + 1,)."""
    rows = np.stack([edges[:-1], edges[1:], counts], axis=1)
    tensor = TensorProto(dtype=DT_DOUBLE, tensor_content=rows.astype("<f8").tobytes())
    _set_shape(tensor, rows.shape)
    return _value(tag, "histograms", tensor)


def precision_recall_value(tag: str, probabilities: Array, positive: NDArray[np.bool_]) -> Summary.Value:
    """Return the precision-recall curve of the probabilities of rows to be positive.

    Args:
        tag: the name of the curve.
        probabilities: (rows,) numbers from 0 to 1.
        positive: (rows,) whether a row is positive.
    """
    thresholds = 127  # as many as TensorBoard's own summaries have
    edges = np.linspace(0.0, 1.0, thresholds)
    place = np.searchsorted(edges, probabilities, side="right")  # positive at the first `place` thresholds

    def at_least(rows: NDArray[np.bool_]) -> Array:
        counted = np.bincount(place[rows], minlength=thresholds + 1)[1:]
        return np.cumsum(counted[::-1])[::-1].astype(np.float64)

    true, false = at_least(positive), at_least(~positive)
    missed = positive.sum() - true
    precision, recall = true / np.maximum(true + false, 1), true / np.maximum(true + missed, 1)
    rows = np.stack([true, false, (~positive).sum() - false, missed, precision, recall])
    tensor = TensorProto(dtype=DT_FLOAT, float_val=rows.ravel().tolist())
    _set_shape(tensor, rows.shape)
    return _value(tag, "pr_curves", tensor, PrCurvePluginData(num_thresholds=thresholds).SerializeToString())


def layout_value(title: str, charts: Mapping[str, Sequence[str]], bands: bool = False) -> Summary.Value:
    """Return a layout of the tab CUSTOM SCALARS.

    Args:
        title: of the group of charts.
        charts: the tags in each chart, by its title; with `bands`, the value's, the lower and the upper one.
        bands: draw a line and the band around it.
    """
    found = []
    for name, tags in charts.items():
        if bands:
            value, lower, upper = tags
            series = MarginChartContent.Series(value=value, lower=lower, upper=upper)
            found.append(Chart(title=name, margin=MarginChartContent(series=[series])))
        else:
            found.append(Chart(title=name, multiline=Multiline(tag=[f"^{tag}$" for tag in tags])))
    layout = Layout(category=[Category(title=title, chart=found)])
    content = TensorProto(dtype=DT_STRING, string_val=[layout.SerializeToString()])
    return _value(_LAYOUT, "custom_scalars", content)


def chain_graph(nodes: Sequence[tuple[str, str, Mapping[str, str], int]]) -> bytes:
    """Return the graph of operations that follow one another.

    Args:
        nodes: the name, kind, settings and number of outputs of each.
    """
    graph, before = GraphDef(), ""
    for name, kind, settings, width in nodes:
        node = graph.node.add(name=name, op=kind, input=[before] if before else [])
        for key, text in settings.items():
            node.attr[key].s = _bytes(text)
        shape = node.attr["_output_shapes"].list.shape.add()
        for size in (-1, width):
            shape.dim.add(size=size)
        before = name
    return bytes(graph.SerializeToString())


def _set_shape(tensor: TensorProto, shape: Sequence[int]) -> None:
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)


def _value(tag: str, plugin: str, tensor: TensorProto, content: bytes = b"") -> Summary.Value:
    about = SummaryMetadata(
        plugin_data=SummaryMetadata.PluginData(plugin_name=plugin, content=content),
        data_class=DATA_CLASS_TENSOR,
    )
    return Summary.Value(tag=tag, metadata=about, tensor=tensor)
