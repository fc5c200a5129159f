"""The colours of all pictures and films."""

INK, MUTED, FAINT = "#1f2328", "#66707a", "#c9ced4"

# Paul Tol's high-contrast scheme, which colour-blind people can tell apart, and which differs in grey print.
SPLIT_COLOURS = {"train": "#004488", "val": "#ddaa33", "test": "#bb5566"}
# Okabe and Ito's scheme without black; with more classes the colours repeat.
CLASS_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#7f7f7f")
MANY_CLASSES = (*CLASS_COLOURS, "#332288", "#999933")  # ten, for digits
TWO_CLASSES = ("#2166ac", "#b2182b")
PROBABILITY = ("#6f9fce", "#bcd3e8", "#f7f6f4", "#f2c6b4", "#dc7f6c")  # of the second of two classes
VALUES = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")  # viridis, for a map of values
