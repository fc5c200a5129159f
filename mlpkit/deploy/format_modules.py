"""The module of each export format. It imports nothing, since `mlpkit export --help` lists the formats."""

MODULES = {
    "python": "python_file",
    "state_dict": "state_dict",
    "c": "c_header",
    "onnx": "onnx_model",
    "torch": "torch_program",
    "sklearn": "sklearn_estimator",
}
