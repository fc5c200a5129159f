"""Any file given as a config is read, or refused in lines; what is read is what YAML says."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.real_configs import changed_configs
from fuzz.refusal import taken
from mlpkit.cli.compose import Request, compose
from mlpkit.config import yaml_file
from mlpkit.config.config import parse, to_dict
from mlpkit.errors import ConfigError

SNIPPETS = [
    *("!!int", "!!int ''", "!!float '-'", "!!bool x", "!!null x", "!!str", "!!map", "!!seq"),
    *("!!set", "!x", "!", "!!timestamp x", "!!binary aGk=", "!!python/name:os.system", "!%ff"),
    *("!<>", "!<tag:yaml.org,2002:int>", "&a", "*a", "&a x", "<<", "<<: *a", "=", "on", "No"),
    *("010", "0x1f", "0b1", "0o7", "1_000", "12:30:45", "1:30.5", "2020-01-01", ".nan", "-.inf"),
    *("1e400", "1e-3", "1.", ".5", "~", "null", "''", "{}", "[]", "[", "]", "{", "}", ",", ":"),
    *(": ", "- ", "? ", "|", ">", "|+9", "#", "# @package x", "@", "`", "\t", "'", '"', '"\\x07"'),
    *('"\\ud800"', '"\\U00110000"', '"\\UFFFFFFFF"', '"\\N"', '"\\', "---", "...", "%YAML 9.9"),
    *("%TAG ! !x", "\ufeff", "\u2028", "\x85", "\xa0", "\r", "\0", "${seed}", "${a.b}"),
    *("${oc.env:HOME}", "???", "defaults: [_self_]", "defaults: [{dataset: line}]", "hydra: {}"),
    *("a.b: 1", "format: 2", "seed: 1", "0x" + "f" * 5000, "9" * 5000, "x" * 5000),
    *("&" + "a" * 5000, "*" + "a" * 5000, "[" * 60, "? " * 60),
]
WORDS = st.sampled_from(SNIPPETS) | st.sampled_from(["\n", "\n  ", "\n    ", " ", ": ", "a", "b", "1", ", "])
SOUP = st.lists(WORDS, max_size=12).map("".join)


@st.composite
def changed_texts(draw: st.DrawFn) -> str:
    """Draw a config as a file has it, with lines dropped, repeated, swapped, indented or written over."""
    config = draw(changed_configs())
    text = yaml.safe_dump(config, allow_unicode=draw(st.booleans()), default_flow_style=draw(st.booleans()))
    lines = text.split("\n")
    for _ in range(draw(st.integers(0, 3))):
        place, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        way = draw(st.sampled_from(("drop", "repeat", "swap", "indent", "value", "insert", "within")))
        line = lines[place]
        if way == "drop" and len(lines) > 1:
            del lines[place]
        elif way == "repeat":
            lines.insert(other, line)
        elif way == "swap":
            lines[place], lines[other] = lines[other], line
        elif way == "indent":
            lines[place] = draw(st.sampled_from(["  ", " ", "\t", "- ", "? ", "# "])) + line
        elif way == "value":
            lines[place] = f"{line.split(':')[0]}: {draw(WORDS)}"
        elif way == "insert":
            lines.insert(place, draw(SOUP))
        else:
            column = draw(st.integers(0, len(line)))
            lines[place] = line[:column] + draw(WORDS) + line[column:]
    return "\n".join(lines)


ENTRIES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *("_self_", "mine", "train", "nope", "dataset/line", "../x", "/", "", "${seed}", 1, None, []),
        *({"dataset": "line"},),
        *(
            {f"{word}dataset{package}": "moons"}
            for word in ("/", "override ", "optional ")
            for package in ("", "@x")
        ),
        *({"dataset": None}, {"dataset": ["line", "sum"]}, {"dataset": "${seed}"}),
        *({"dataset": "x\ny"}, {"x@y": "z"}),
        *({"experiment": "sum"}, {"hydra": "x"}, {"override hydra/output": "x"}),
        *({"a": "b", "c": "d"}, {"": ""}),
        *(
            {key: "x"}
            for key in (
                "override ",
                "optional",
                "/",
                "@x",
                "override @x",
                "a@b@c",
                "a b",
                "override  a",
                "\n",
            )
        ),
        *({"dataset": ""}, {"": None}, {"@x": None}, "@x", "a@b@c", "a b", "override a", "optional "),
        *("\n", ".", ".."),
    ]
)
WITH_DEFAULTS = st.builds(
    lambda entries, text: yaml.safe_dump({"defaults": entries}) + text,
    st.lists(ENTRIES, max_size=3),
    changed_texts(),
)


def check_valid(data: dict[str, Any]) -> None:
    """Check that the data makes a config that `to_dict` turns into data of the same config, or none."""
    config = taken(ConfigError, lambda: parse(data))
    if config is not None:
        assert parse(to_dict(config)) == config


def check(path: Path, content: bytes) -> None:
    """Check that the content is read as YAML has it, or refused."""
    path.write_bytes(content)
    found = taken(ConfigError, lambda: yaml_file.read(path))
    if found is not None:
        assert repr(found) == repr(yaml.safe_load(content))  # as text, in which NaN equals NaN
        check_valid(found)


@example(content=b"seed: !!int ''")
@example(content=b"seed: !!float '" + b":".join([b"1"] * 300) + b"'")
@example(content=b'name: "\\UFFFFFFFF"')
@example(content=b'name: "\\U00110000"')
@example(content=b"%YAML 1." + b"9" * 5000 + b"\n--- {}")
@example(content=b"seed: 0x" + b"f" * 5000)
@example(content=b'name: "\\ud800"')
@example(content=b'"\\ud800": 1')
@example(content=b"seed: *" + b"a" * 5000)
@example(content=b"seed: 0" + b"1" * 5000)
@example(content=b"seed: [\xe2\x80\xa8]")
@example(content=b"model: {name: mlp, hidden: [" + b"x, " * 5000 + b"]}")  # once quadratic, in the many lines
@given(content=st.binary() | (st.text() | SOUP).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(content: bytes, tmp_path: Path) -> None:
    check(tmp_path / "config.yaml", content)


@pytest.mark.long
@given(text=changed_texts())
def test_a_changed_config(text: str, tmp_path: Path) -> None:
    check(tmp_path / "config.yaml", text.encode("utf-8", "surrogatepass"))


@example(data={"seed": ["\x7f", "\u2028"]})
@example(data={"\ud800": 1})
@example(data={"model": {"name": "mlp", "\ud800": 1}})
@given(data=changed_configs())
def test_a_changed_config_in_memory(data: dict[str, Any]) -> None:
    check_valid(data)


@settings(max_examples=max(1, settings().max_examples // 10))  # Hydra takes its time
@example(text='"a\\nb": ${x:y}')
@example(text='"a\\nb": ${nope}')
@example(text="seed: ${" + "x" * 5000 + "}")
@example(text="format: " + "9" * 4000)
@example(text="defaults: [{'': x}]")
@example(text="defaults: [" + "x" * 5000 + "]")
@example(text='defaults: ["a\\nb"]')
@given(text=changed_texts() | WITH_DEFAULTS | SOUP)
def test_a_changed_config_given_as_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    composed = taken(ConfigError, lambda: compose(Request(file=Path("mine.yaml"))))
    if composed is not None:
        check_valid(composed)
