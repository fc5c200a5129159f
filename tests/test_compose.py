"""Choices, values and files end in one config, each in its turn; where a value came from can be told."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from mlpkit.cli.compose import Request, compose, explain, override
from mlpkit.cli.main import run as command
from mlpkit.config.config import parse, to_dict
from mlpkit.config.nested import items
from mlpkit.errors import ConfigError
from mlpkit.folders.trust import Trust


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def composed(*overrides: str, **request: Any) -> dict[str, Any]:
    return compose(Request(overrides, **request))


def sources(*overrides: str, **request: Any) -> dict[str, str]:
    asked = Request(overrides, **request)
    return {key: source for key, _, source in explain(asked, to_dict(parse(compose(asked))))}


def test_defaults() -> None:
    config = composed()
    assert [config[group]["name"] for group in ("dataset", "model", "optimizer")] == ["moons", "mlp", "adam"]
    assert config["seed"] == 0 and "experiment" not in config
    assert parse(config)


@pytest.mark.parametrize("text", ["optimizer.lr=0.5", "+optimizer.lr=0.5", "++optimizer.lr=0.5"])
def test_a_value_is_set_whatever_the_plus(text: str) -> None:
    assert composed(text)["optimizer"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("model.hidden=[4,2]", [4, 2]),
        ("model.hidden=[4]", [4]),
        ("model.hidden=sort([4,2])", [2, 4]),
        ("model.hidden=${optimizer.betas}", [0.9, 0.999]),
        ("model.hidden=null", None),
        ("model.hidden=1e-3", 0.001),
        ("model.hidden=1_000", 1000),
        ("model.hidden=true", True),
        ("model.hidden=a b", "a b"),
        ('model.hidden="1"', "1"),
        ("model.hidden='${seed}'", 0),
        ("model.hidden=x${seed}y", "x0y"),
        ("model.hidden=/data/a-b.c:d", "/data/a-b.c:d"),
        ('model.hidden="ü [x], {y}"', "ü [x], {y}"),
        ("model.hidden={a:{b:[1]}}", {"a": {"b": [1]}}),
        ("model.hidden=", ""),
    ],
)
def test_values_are_read_as_hydra_does(text: str, value: object) -> None:
    assert composed(text)["model"]["hidden"] == value


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["model.hidden=${dataset.seed}", "dataset.seed=${seed}", "seed=7"], 7),
        (["model.hidden=[${seed},[${run.name}],{a:${optimizer.betas}}]"], [0, [None], {"a": [0.9, 0.999]}]),
        (
            ["model.hidden=${trainer.early_stopping}"],
            {"patience": None, "min_delta": 0.0, "min_delta_mode": "abs"},
        ),
        (["model.hidden=[${dataset.val_fraction},x${seed}]"], [0.2, "x0"]),
        (["model.hidden=${optimizer.betas[0]}"], 0.9),
        (["model.hidden=${.bias}"], True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_keys_are_filled_in(texts: list[str], value: object) -> None:
    assert composed(*texts)["model"]["hidden"] == value


def test_sections_are_merged() -> None:
    config = composed("optimizer={lr: 0.5, betas: [0.1, 0.2]}", "trainer={early_stopping: {patience: 3}}")
    assert config["optimizer"] == {**composed()["optimizer"], "lr": 0.5, "betas": [0.1, 0.2]}
    assert config["trainer"]["early_stopping"] == {
        "patience": 3,
        "min_delta": 0.0,
        "min_delta_mode": "abs",
    }


def test_the_later_value_wins() -> None:
    assert composed("optimizer.lr=0.1", "optimizer={lr: 0.2}")["optimizer"]["lr"] == 0.2
    assert composed("optimizer={lr: 0.2}", "optimizer.lr=0.1")["optimizer"]["lr"] == 0.1


def test_a_value_outlives_a_choice_named_after_it() -> None:
    config = composed("optimizer.lr=0.5", "optimizer=sgd", "experiment=line")
    assert config["optimizer"]["name"] == "sgd"
    assert config["optimizer"]["lr"] == 0.5


def test_a_choice_beats_the_experiment() -> None:
    assert composed("experiment=line")["optimizer"]["name"] == "sgd"
    assert composed("experiment=line", "optimizer=adam")["optimizer"]["name"] == "adam"
    assert composed("experiment=null") == composed("~experiment") == composed()


def test_deleting_gives_the_schemas_default() -> None:
    assert "lr" not in composed("~optimizer.lr")["optimizer"]
    assert parse(composed("~optimizer.lr=auto", "~trainer", "~run")) == parse(composed())


def test_settings_do_not_leak_into_the_next_composition() -> None:
    first = composed()
    composed("dataset.n=7", "model={hidden: [1]}", "~seed", "optimizer=sgd")
    assert composed() == first
    assert not GlobalHydra.instance().is_initialized()
    with pytest.raises(ConfigError):
        composed("dataset=mon")
    assert not GlobalHydra.instance().is_initialized()


# ------------------------------------------------------------------------------------ files of one's own


@pytest.mark.long
def test_ones_own_choice_is_found_shown_and_explained(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = write(here / "configs/dataset/mine.yaml", "# My moons\ndefaults: [moons]\nnoise: 0.3\n")
    moons = composed()["dataset"]
    assert composed("dataset=mine")["dataset"] == {**moons, "noise": 0.3}
    found = sources("dataset=mine", "dataset.n=50")
    assert found["dataset.noise"] == str(mine)
    assert found["dataset.test_fraction"] == "configs/dataset/moons.yaml"
    assert found["dataset.n"] == "command line: dataset.n=50"
    assert command(["list", "dataset"]) == 0
    assert "  mine           My moons (configs/dataset/mine.yaml)\n" in capsys.readouterr().out
    assert command(["config", "dataset=mine", "--explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("dataset.noise " in line and line.endswith(f"  {mine}") for line in lines) == 1


def test_ones_own_choice_replaces_that_of_mlpkit(here: Path) -> None:
    write(here / "configs/optimizer/adam.yaml", "name: adam\nlr: 0.5\n")
    assert parse(composed()).optimizer.lr == 0.5
    assert parse(composed("optimizer=adamw")).optimizer.lr == 0.001


def test_ones_own_experiment(here: Path) -> None:
    write(
        here / "configs/experiment/mine.yaml",
        "# @package _global_\n# Mine\ndefaults:\n  - override /model: logistic\n  - _self_\nseed: 7\n",
    )
    config = composed("experiment=mine")
    assert (config["model"]["name"], config["seed"]) == ("logistic", 7)
    assert sources("experiment=mine")["seed"] == str(here / "configs/experiment/mine.yaml")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["a b", "1", "ü", "a.b", "a=b", "a,b", "a-b"])
def test_names_of_ones_own_choices(name: str, here: Path) -> None:
    write(here / f"configs/dataset/{name}.yaml", "defaults: [moons]\nnoise: 0.3\n")
    assert composed(f'dataset="{name}"')["dataset"]["noise"] == 0.3


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["a b", "a,b", 'a"b', "a'b", "${a}", "a=b", "[a]", "ü", "a\\b"])
def test_places_with_odd_names(name: str, here: Path) -> None:
    folder = here / name
    write(folder / "dataset/mine.yaml", "defaults: [moons]\nnoise: 0.3\n")
    assert composed("dataset=mine", folders=(Path(name),))["dataset"]["noise"] == 0.3
    whole = write(folder / f"{name}.yaml", yaml.safe_dump(to_dict(parse(composed("seed=5")))))
    assert composed(file=whole)["seed"] == 5


@pytest.mark.long
def test_folders_are_searched_in_order(here: Path) -> None:
    for number, place in enumerate(("first", "second", "configs")):
        write(here / place / "init/mine.yaml", f"# {place}\nname: constant\nvalue: {number}.0\n")
    write(here / "second/init/other.yaml", "name: constant\nvalue: 9.0\n")
    both = (Path("first"), Path("second"))
    assert composed("init=mine", folders=both)["init"]["value"] == 0
    assert composed("init=mine", folders=both[::-1])["init"]["value"] == 1
    assert composed("init=mine")["init"]["value"] == 2
    assert composed("init=other", folders=both)["init"]["value"] == 9
    assert sources("init=mine", folders=both)["init.value"] == str(here / "first/init/mine.yaml")


def test_a_broken_file_that_is_not_used_does_no_harm(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here / "configs/model/broken.yaml", "name: [")
    write(here / "configs/model/long.yaml", "# " + "x" * 100_000)
    write(here / "configs/model/ansi.yaml", "# a\x1b[31mb\n")
    (here / "configs/model/folder.yaml").mkdir()
    (here / "configs/model/gone.yaml").symlink_to("nowhere")
    assert parse(composed("model=logistic"))
    assert command(["list", "model"]) == 0
    printed = capsys.readouterr().out
    assert "folder" not in printed and "gone" not in printed and "\x1b" not in printed
    assert max(len(line) for line in printed.splitlines()) < 300


def test_a_file_called_configs_is_no_folder_of_configs(here: Path) -> None:
    (here / "configs").write_text("mine")
    assert parse(composed())


# ------------------------------------------------------------------------------------------- --config


def test_a_whole_config_is_taken_as_it_is(here: Path) -> None:
    first = parse(composed("experiment=line", "seed=3", "optimizer.lr=1.0e-07", "run.name=mine"))
    path = write(here / "mine.yaml", yaml.safe_dump(to_dict(first)))
    assert parse(composed(file=path)) == first
    changed = composed("seed=4", "model.bias=false", file=Path("mine.yaml"))
    assert (changed["seed"], changed["model"]) == (4, {"name": "linear", "members": 1, "bias": False})
    found = sources("seed=4", file=path)
    assert (found["seed"], found["optimizer.lr"]) == ("command line: seed=4", str(path))


def test_a_config_with_a_defaults_list_is_composed(here: Path) -> None:
    path = write(here / "mine.yaml", "defaults:\n  - /train\n  - _self_\nseed: 9\n")
    assert composed(file=path) == {**composed(), "seed": 9}


def test_keys_may_name_each_other(here: Path) -> None:
    base = to_dict(parse(composed()))
    path = write(
        here / "mine.yaml", yaml.safe_dump({**base, "dataset": {**base["dataset"], "seed": "${seed}"}})
    )
    assert composed("seed=8", file=path)["dataset"]["seed"] == 8


def test_the_config_of_a_run_repeats_it(trained: dict[str, Path], here: Path) -> None:
    file = str(trained["line"] / "config.yaml")
    places = (f"run.root={here}", "run.dir=null")
    assert command(["train", "--config", file, *places]) == 0
    (again,) = here.glob("line-linear/*")
    for name in ("last", "best"):
        checkpoint = Path("checkpoints") / f"{name}.safetensors"
        assert header_less(again / checkpoint) == header_less(trained["line"] / checkpoint)


def header_less(path: Path) -> bytes:
    """Return the tensors of a checkpoint: its header also holds the place of the run."""
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_config_prints_what_config_reads(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["dataset=digits", "scheduler=onecycle", "optimizer.lr=1.0e-07", "model.hidden=[3]"]
    assert command(["config", *arguments]) == 0
    printed = capsys.readouterr().out
    write(here / "mine.yaml", printed)
    assert command(["config", "--config", "mine.yaml"]) == 0
    assert capsys.readouterr().out == printed
    assert command(["train", "--cfg", "job", *arguments]) == 0
    assert capsys.readouterr().out == printed
    assert yaml.safe_load(io.StringIO(printed))["optimizer"]["lr"] == 1e-7


@pytest.mark.parametrize(
    ("package", "printed"),
    [
        ("dataset.seed", "0\n"),
        ("scheduler", "# @package scheduler\nname: none\nwarmup_steps: 0\n"),
        ("model.hidden", "# @package model.hidden\n- 16\n- 16\n"),
    ],
)
def test_one_section_is_printed_as_by_hydra(
    package: str, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["train", "-c", "job", "--resolve"], ["config"]):
        assert command([*arguments, "-p", package, "model.hidden=[16,16]"]) == 0
        assert capsys.readouterr().out == printed


# ------------------------------------------------------------------------------------- the environment


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RATE": "0.25", "NAME": "mine", "SIZES": "[4,2]", "BEST": "sgd"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("variables")
@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("optimizer.lr=${oc.env:RATE}", "optimizer.lr", 0.25),
        ("optimizer.lr=${oc.env:NOT_SET, 0.5}", "optimizer.lr", 0.5),
        ("optimizer=${oc.env:BEST}", "optimizer.name", "sgd"),
        ("run.name=${oc.env:NAME}-${seed}", "run.name", "mine-0"),
        ('run.name="${oc.env:RATE}"', "run.name", "0.25"),
        ("model.hidden=${oc.env:SIZES}", "model.hidden", [4, 2]),
        ("run.name=${oc.env:NOT_SET,${oc.env:NAME}}", "run.name", "mine"),
        ("run.name=x${oc.env:NOT_SET,${seed}}", "run.name", "x0"),
        ("run.dir=${oc.env:NOT_SET,null}", "run.dir", None),
    ],
)
def test_what_is_typed_reads_the_environment(
    text: str, key: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["config", text]) == 0
    assert dict(items(yaml.safe_load(capsys.readouterr().out)))[key] == value


@pytest.mark.usefixtures("variables")
def test_files_of_the_user_read_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here / "configs/optimizer/mine.yaml", "name: ${oc.env:BEST}\nlr: ${oc.env:RATE}\n")
    write(here / "other/run/mine.yaml", "name: '${oc.env:NAME}-${oc.env:NOT_SET,1}'\n")
    config = composed("optimizer=mine", "+run=mine", folders=(here / "other",))
    assert (config["optimizer"]["name"], config["optimizer"]["lr"]) == ("sgd", 0.25)
    assert config["run"]["name"] == "mine-1"
    monkeypatch.delenv("RATE")
    with pytest.raises(ConfigError, match="RATE is not set"):
        composed("optimizer=mine")


@pytest.mark.usefixtures("variables")
def test_foreign_files_do_not(here: Path) -> None:
    """The folders of a foreign search are foreign as well; what the user has in configs/ is not."""
    write(here / "configs/optimizer/mine.yaml", "name: sgd\nlr: ${oc.env:RATE}\n")
    assert composed("optimizer=mine", trust=Trust.LARGE)["optimizer"]["lr"] == 0.25
    for request in (
        {"overrides": ("run.name=${oc.env:NAME}",)},
        {"overrides": ("optimizer=mine",), "folders": (here / "configs",)},
    ):
        with pytest.raises(ConfigError, match=r"only \$\{other.key\} can be filled in"):
            compose(Request(**request, trust=Trust.LARGE))


# --------------------------------------------------------------------------------------------- explain


def test_every_value_has_a_source() -> None:
    found = sources("experiment=line", "model.bias=false", "trainer={epochs: 3}", "~run.plots")
    assert found["model.bias"] == "command line: model.bias=false"
    assert found["trainer.epochs"] == "command line: trainer={epochs: 3}"
    assert found["trainer.batch_size"] == "configs/trainer/full_batch.yaml"
    assert found["seed"] == "configs/experiment/line.yaml"
    assert found["device"] == "configs/train.yaml"
    assert found["run.plots"] == "command line: ~run.plots"
    assert found["optimizer.lr"] == "configs/experiment/line.yaml"
    assert found["optimizer.momentum"] == "configs/optimizer/sgd.yaml"


def test_a_deleted_section_comes_from_the_schema() -> None:
    found = sources("~trainer")
    assert found["trainer.epochs"] == found["trainer.early_stopping.patience"] == "command line: ~trainer"
    assert found["run.root"] == "configs/run/default.yaml"


def test_a_key_that_no_file_has_is_a_default(here: Path) -> None:
    write(here / "configs/optimizer/mine.yaml", "name: sgd\n")
    found = sources("optimizer=mine")
    assert found["optimizer.name"] == str(here / "configs/optimizer/mine.yaml")
    assert found["optimizer.momentum"] == "default of mlpkit"


# -------------------------------------------------------------------------------------------- evaluate


OF_THE_DATASET = (lambda key: key.split(".")[0] == "dataset", "only the dataset")


@pytest.mark.parametrize(
    ("overrides", "changes"),
    [
        ((), {}),
        (("dataset.noise=0.5", "+dataset.n=7"), {"noise": 0.5, "n": 7}),
        (("dataset={noise: 0.5}",), {"noise": 0.5}),
        (("dataset.noise=${seed}",), {"noise": 3}),
    ],
)
def test_the_dataset_of_a_run_is_overridden(overrides: tuple[str, ...], changes: dict[str, Any]) -> None:
    stored = to_dict(parse(composed("seed=3", "dataset.n=90")))
    before = yaml.safe_dump(stored)
    found = to_dict(override(stored, Request(overrides), *OF_THE_DATASET))
    assert found == {**stored, "dataset": {**stored["dataset"], **changes}}
    assert yaml.safe_dump(stored) == before


def test_another_dataset_takes_the_place_of_that_of_a_run() -> None:
    stored = to_dict(parse(composed("dataset.n=90")))
    found = to_dict(override(stored, Request(("dataset=digits", "dataset.seed=5")), *OF_THE_DATASET))
    assert found["dataset"] == to_dict(parse(composed("dataset=digits", "dataset.seed=5")))["dataset"]
    assert found["trainer"] == stored["trainer"]


@pytest.mark.parametrize("text", ["seed=1", "optimizer=sgd", "~dataset.noise", "datasets.n=1"])
def test_what_may_not_be_overridden(text: str) -> None:
    stored = to_dict(parse(composed()))
    with pytest.raises(ConfigError) as caught:
        override(stored, Request((text,)), *OF_THE_DATASET)
    assert str(caught.value) == f"{text}: only the dataset"
