"""What a strict YAML file may say, and what is said of one that may not be read."""

import os
import sys
import time
from pathlib import Path

import pytest
import yaml
from faulty_yaml import FAULTS

from mlpkit.config import search_path, yaml_file
from mlpkit.errors import ConfigError


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        yaml_file.read(path)
    return str(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_said_with_its_line(fault: str, tmp_path: Path) -> None:
    content, message = FAULTS[fault]
    path = tmp_path / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    started = time.process_time()
    assert refusal(path) == message.format(path=path)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("seed: 1", {"seed": 1}),
        ("lr: 0.1\nbias: true\nname: null\n", {"lr": 0.1, "bias": True, "name": None}),
        ("hidden: [64, 64]", {"hidden": [64, 64]}),
        ("a:\n  b:\n    c: x", {"a": {"b": {"c": "x"}}}),
        ("'on': 'on'\n'010': \"12:30:45\"", {"on": "on", "010": "12:30:45"}),
        ("n: 0\ny: 10\nx: n", {"n": 0, "y": 10, "x": "n"}),
        ("date: '2020-01-01'", {"date": "2020-01-01"}),
        ("a: -0.5\nb: 0.0\nc: 1.0e-08", {"a": -0.5, "b": 0.0, "c": 1e-8}),
        ("\ufeffseed: 1", {"seed": 1}),
        ("seed: 1\r\nname: é\r\n", {"seed": 1, "name": "é"}),
        ("a: ${b}\nb: 1", {"a": "${b}", "b": 1}),
        ("a: &name [1]", {"a": [1]}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("a: {}\nb: []\nc:\n", {"a": {}, "b": [], "c": None}),
    ],
)  # fmt: skip
def test_plain_values_are_read(text: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert yaml_file.read(path) == value


def test_every_config_of_mlpkit_is_plain() -> None:
    paths = list(search_path.packaged().rglob("*.yaml"))
    assert len(paths) > 30
    for path in paths:
        assert yaml_file.read(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


def test_what_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml") == f"{tmp_path / 'none.yaml'}: no such file; name a YAML file"
    assert refusal(tmp_path) == f"{tmp_path}: not a regular file; name a YAML file"
    os.mkfifo(tmp_path / "pipe.yaml")
    assert (
        refusal(tmp_path / "pipe.yaml") == f"{tmp_path / 'pipe.yaml'}: not a regular file; name a YAML file"
    )
    long = tmp_path / ("x" * 300)
    why = "cannot be read (File name too long)"
    if sys.version_info >= (3, 14):  # whose `Path.is_file` does not say why there is no file
        why = "no such file; name a YAML file"
    assert refusal(long) == f"{long}: {why}"


def test_a_file_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\n".ljust(yaml_file.LARGEST_CONFIG, "#"))
    assert yaml_file.read(path) == {"seed": 1}
