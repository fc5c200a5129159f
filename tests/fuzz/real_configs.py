"""Whole configs, as they are and with values, keys and sections changed."""

from typing import Any

from hypothesis import strategies as st

from mlpkit.config import nested, search_path
from mlpkit.config.config import parse, to_dict

CHOSEN = ("dataset", "model", "loss", "optimizer", "scheduler", "init")  # the groups whose choices are names
GROUPS = search_path.groups([search_path.packaged()])

# Text that a terminal, YAML, Hydra or a message could stumble over.
TEXTS = st.text(max_size=20) | st.sampled_from(
    [
        *("", "\n", "\x1b[31m", "\x7f", "\u2028", "\xa0", "\ufeff", "\0", "[red]", "{}", "%s"),
        *("x" * 100, "x" * 5000),
        *("${seed}", "${a}", "${.x}", "${..x}", "${oc.env:HOME}", "${", "$", "???", "true", "null"),
        *("1e3", "full"),
    ]
)
NUMBERS = (
    st.integers() | st.integers(-2, 3) | st.floats() | st.sampled_from([10**9, 2**63, 10**400, -(2**70)])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXTS, below, max_size=3),
    max_leaves=8,
)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid config with a choice of each group and the defaults of each choice."""
    names = {group: {"name": draw(st.sampled_from(sorted(GROUPS[group])))} for group in CHOSEN}
    return to_dict(parse(names))


@st.composite
def changed_configs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a config in which up to three keys were set, renamed or removed."""
    config = draw(configs())
    for _ in range(draw(st.integers(0, 3))):
        keys = [*dict(nested.items(config)), *config]
        key = draw(st.sampled_from(keys)) if keys else "seed"
        way = draw(st.sampled_from(("set", "set", "rename", "remove")))
        if way == "set":
            config = nested.replace(config, key, draw(VALUES))
        elif way == "rename":
            config = nested.replace(config, draw(TEXTS | st.just(f"{key}x")), draw(VALUES))
        else:
            config = _without(config, key)
    return config


def _without(config: dict[str, Any], key: str) -> dict[str, Any]:
    try:
        return nested.remove(config, key)
    except KeyError:  # a key with a dot of its own, which no dotted key can name
        return config
