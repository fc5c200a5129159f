"""Every YAML file composes, validates, builds, and says what the schema says."""

import re
from pathlib import Path

import pytest
import yaml
from cases import rest_long
from own_data import own_path
from real_data import real_data
from running import config, dataset_of_loss
from tables import customers, write_csv

from mlpkit.config import nested, search_path
from mlpkit.config.config import Config, parse, to_dict
from mlpkit.errors import ConfigError
from mlpkit.training.build import build

GROUPS = search_path.groups([search_path.packaged()])
CHOICES = [(group, choice) for group, choices in GROUPS.items() for choice in choices]
NEEDS_FILES = ("mnist", "fashion_mnist")
LARGE = ("fashion_mnist", "mnist_mlp", "mnist_regularized", "fashion_mlp")  # mnist itself stays


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("group", "choice"), rest_long(CHOICES, lambda of: of[1] not in LARGE))
def test_every_choice_composes_and_builds(
    group: str, choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = [] if group in ("dataset", "experiment") else ["dataset=moons"]
    if (group, choice) == ("model", "linear"):
        dataset = ["dataset=line"]
    if group == "loss":
        dataset = [f"dataset={dataset_of_loss(choice)}"]
    chosen = config(f"{group}={choice}", *dataset, "run.root=unused")
    if group not in ("experiment", "trainer", "run"):
        assert getattr(chosen, group).name == choice
    if chosen.dataset.name in NEEDS_FILES:
        root = real_data()
        if root is None:
            pytest.skip("needs MNIST in MLPKIT_DATA or ../shared/data")
        monkeypatch.setenv("MLPKIT_DATA", str(root))
    model = (
        ["model=mlp"] if chosen.dataset.name in ("sum", "line") and chosen.model.name == "logistic" else []
    )
    if chosen.dataset.name == "table":
        path = write_csv(tmp_path / "churn.csv", customers(60))
        dataset = [f"dataset.path={path}", "dataset.target=churned"]
    elif path := own_path(chosen.dataset.name, tmp_path):
        with pytest.raises(ConfigError, match=r"^dataset\.path: no f.* is named; write dataset\.path="):
            build([chosen])
        dataset = [f"dataset.path={path}"]
    engine = build([config(f"{group}={choice}", *dataset, *model)])
    assert {"train"} <= set(engine.experiments[0].dataset.splits)


@pytest.mark.parametrize(("group", "choice"), [c for c in CHOICES if c[0] not in ("experiment",)])
def test_yaml_shows_the_schemas_defaults(group: str, choice: str) -> None:
    """A key left out of a config takes the value that its YAML file shows."""
    written = yaml.safe_load(GROUPS[group][choice].read_text(encoding="utf-8"))
    written.pop("defaults", None)
    base = to_dict(config())
    if group == "trainer":
        sparse = {name: written[name] for name in ("epochs", "batch_size", "monitor", "early_stopping")}
    else:
        sparse = {"name": written["name"]} if "name" in written and group != "run" else {}
    completed = to_dict(parse({**base, group: sparse}))[group]
    full = to_dict(parse({**base, group: written}))[group]
    assert full == completed
    assert set(written) == set(completed), "the file leaves out a key of the schema"


def test_choices_have_a_line_that_says_what_they_are() -> None:
    assert [f"{g}={c}" for g, c in CHOICES if not search_path.first_comment(GROUPS[g][c])] == []


def test_a_number_beyond_float32_is_refused_by_its_key() -> None:
    """In every key of every choice that is a number with decimals."""
    base, found = to_dict(config("dataset=moons", "model=mlp")), set()
    for group, choice in [choice for choice in CHOICES if choice[0] not in ("experiment", "run")]:
        written = yaml.safe_load(GROUPS[group][choice].read_text(encoding="utf-8"))
        written.pop("defaults", None)
        for key, _ in [pair for pair in nested.items(written) if isinstance(pair[1], float)]:
            for value in (1e300, -1e39, 3.41e38):
                with pytest.raises(ConfigError) as caught:
                    parse({**base, group: nested.replace(written, key, value)})
                (line,) = caught.value.args
                assert line.startswith(f"{group}.{key}={value}: must be ")
            found.add((choice, key))
    assert len(found) > 40


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["optimizer.eps=1e-50"],
            "optimizer.eps=1e-50: must be 0 or from 1.2e-38 to 3.4e+38 in size, the range of float32",
        ),
        (
            ["init.bias=1e300"],
            "init.bias=1e+300: must be 0 or from 1.2e-38 to 3.4e+38 in size, the range of float32",
        ),
        (
            ["init=constant", "init.value=-1e39"],
            "init.value=-1e+39: must be 0 or from 1.2e-38 to 3.4e+38 in size, the range of float32",
        ),
        (
            ["init=uniform", "init.low=-3e38", "init.high=3e38"],
            "init: low=-3e+38 and high=3e+38 are further apart than float32 can say",
        ),
    ],
)
def test_a_number_beyond_float32_is_one_line(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(*overrides)
    assert caught.value.args == (line,)


def test_config_survives_a_round_trip() -> None:
    for _, choice in [c for c in CHOICES if c[0] == "experiment"]:
        first = config(f"experiment={choice}")
        assert parse(yaml.safe_load(yaml.safe_dump(to_dict(first)))) == first


def test_every_field_is_described() -> None:
    schema = Config.model_json_schema()
    silent = [
        f"{section}.{name}"
        for section, content in schema["$defs"].items()
        for name, field in content.get("properties", {}).items()
        if "description" not in field and name != "name"
    ]
    assert silent == []


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        config("optimizer.lr=-1", "trainer.epochs=-1", "model.hiden=[4]")
    assert str(caught.value).splitlines() == [
        "model.hiden: unknown key; did you mean model.hidden?",
        'optimizer.lr=-1: must be a number > 0 or auto (learning rate; default "auto")',
        "trainer.epochs=-1: must be an integer ≥ 0 and ≤ 1000000000 "
        "(passes over the training data; 0: the untrained network; default 1000)",
    ]


def test_images_are_trained_in_batches_and_small_data_whole() -> None:
    assert config("dataset=mnist").trainer.batch_size == 64
    assert config("dataset=moons").trainer.batch_size == "full"
    assert config("dataset=mnist", "trainer=full_batch").trainer.batch_size == "full"


def test_no_config_names_a_class_or_a_resolver() -> None:
    for path in search_path.packaged().rglob("*.yaml"):
        assert not re.search(r"_target_|\$\{|!!", path.read_text(encoding="utf-8")), path
