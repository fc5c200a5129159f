"""Any overrides are applied, or refused in lines."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.real_configs import GROUPS, TEXTS
from fuzz.refusal import taken
from mlpkit.cli.compose import Request, compose
from mlpkit.config import nested
from mlpkit.config.config import parse, to_dict
from mlpkit.errors import ConfigError

NAMES = {"dataset": "line", "model": "mlp", "optimizer": "adam", "scheduler": "cosine", "init": "normal"}
FIRST = to_dict(parse({group: {"name": name} for group, name in NAMES.items()}))
KEYS = sorted({*dict(nested.items(FIRST)), *FIRST, *GROUPS, "optimizer.momentum", "hydra", "defaults"})
CHOICES = sorted({name for choices in GROUPS.values() for name in choices})

odd_keys = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", "+", "++", "~", "-", "--", "+~", " "]),
    st.sampled_from(KEYS) | TEXTS,
    st.sampled_from(["", "", ".x", "[0]", "@_global_", "@x:y", "/x", ".", ":"]),
)
words = st.sampled_from(
    [
        *("", "0", "1", "-1", "010", "1e3", "1e400", "nan", "inf", "-inf", "1_000", "9" * 400),
        *("9" * 5000, "x" * 5000),
        *("true", "null", "on", "???", "full", "30s", "cpu", "a b", "\\", "\\,", "\\=", "a=b"),
        *("\x1b[31m", "\n", "ü"),
        *("${seed}", "${optimizer.lr}", "${.lr}", "${..seed}", "${model}", "${nope}", "${a[0]}"),
        *("${oc.env:HOME}",),
        *("${oc.decode:x}", "${x:${y}}", "${", "$", "1,2", "range(1,3)", "choice(1,2)", "glob(*)"),
        *("interval(0,1)",),
    ]
)
scalars = words | st.sampled_from(CHOICES) | TEXTS | st.integers().map(str) | st.floats().map(str)
FUNCTIONS = ["int", "float", "str", "bool", "json_str", "sort", "shuffle", "tag", "extend_list", "x"]
values = st.recursive(
    scalars,
    lambda below: (
        st.lists(below, max_size=4).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(scalars, below), max_size=3).map(
            lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"
        )
        | st.builds("{0}{1}{0}".format, st.sampled_from(["'", '"']), below)
        | st.builds("{}({})".format, st.sampled_from(FUNCTIONS), below)
    ),
    max_leaves=6,
)
settings_of_keys = st.builds("{}={}".format, st.sampled_from(KEYS), scalars | values)
choices = st.sampled_from([f"{group}={name}" for group, names in GROUPS.items() for name in names])
odd = odd_keys | st.builds("{}={}".format, odd_keys, values)


def check(overrides: list[str]) -> None:
    """Check that the overrides make a config that `to_dict` turns into data of the same config, or none."""
    config = taken(ConfigError, lambda: parse(compose(Request(tuple(overrides)))))
    if config is not None:
        assert parse(to_dict(config)) == config


@given(text=st.text())
def test_any_text(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check([text])


@example(overrides=["x" * 5000 + "@y=1"])
@example(overrides=["x" * 5000 + "=1,2"])
@example(overrides=["x" * 5000 + "=${y}"])
@example(overrides=["seed=${" + "x" * 5000 + "}"])
@example(overrides=["format=" + "9" * 4000])
@example(overrides=["a." * 3000 + "b=1"])
@example(overrides=["seed=" + "[" * 300 + "]" * 300])
@given(overrides=st.lists(settings_of_keys | settings_of_keys | choices | odd, min_size=1, max_size=2))
def test_settings_and_choices(overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(overrides)
