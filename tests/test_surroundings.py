"""What lies about in the working directory, and was never meant for mlpkit, is left alone or named."""

from pathlib import Path

import pytest
from conftest import Refused

from mlpkit.cli.main import run as command

SMALL = (
    "dataset=moons", "dataset.n=60", "model.hidden=[4]", "trainer.epochs=2", "run.plots=false",
    "run.tensorboard=false", "run.progress=none",
)  # fmt: skip
MEANT = "if it is another program's, rename it or work in another folder"


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file.resolve()


@pytest.mark.parametrize("line", ["train", "resume", "list"])
def test_a_working_directory_that_was_deleted(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert command([line]) == 2
    assert capsys.readouterr().err == "mlpkit: the working directory was deleted; change into another one\n"


# ------------------------------------------------------------------------- a config.yaml of something else


@pytest.mark.parametrize("root", ["outputs", "."])
def test_sweeps_run_beside_a_config_of_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write("config.yaml", "theme: dark\n")
    write("outputs/config.yaml", "theme: light\n")
    for name in ("train.log", "metrics.jsonl", "summary.json"):
        write(name, "")
    assert command(["train", "-m", *SMALL, "seed=1,2", f"run.root={root}", "run.dir=outputs/sweep"]) == 0
    assert len(list(Path("outputs/sweep").glob("*/summary.json"))) == 2
    assert command(["compare", "outputs"]) == 0
    assert command(["compare"]) == 0
    run = str(next(Path("outputs/sweep").glob("0*")))
    assert command(["predict", run, "--values", "1,2", "--output", "metrics.jsonl"]) == 0  # not a run's


def test_a_run_is_not_begun_inside_another(trained: dict[str, Path], refused: Refused) -> None:
    Path("run").mkdir()
    Path("run/config.yaml").write_bytes((trained["moons"] / "config.yaml").read_bytes())
    said = refused("train", *SMALL, "run.root=.", "run.dir=run/below", code=2)
    assert said == "run.dir=run/below: inside the run run; name a folder beside it"


# ------------------------------------------------------------------------------- configs of something else


@pytest.mark.long
def test_a_choice_that_stands_in_for_mlpkits_own_is_named(refused: Refused) -> None:
    other = write("configs/model/mlp.yaml", "_target_: torch.nn.Linear\n")
    for arguments in (("train",), ("train", "-m", "seed=1,2"), ("config", "model=mlp")):
        assert refused(*arguments, code=2).splitlines() == [
            "model.name: missing; must be one of linear, logistic, mlp, tabm",
            f"{other}: is read instead of mlpkit's own configs/model/mlp.yaml; {MEANT}",
        ]


def test_a_primary_config_that_stands_in_for_mlpkits_own_is_named(refused: Refused) -> None:
    other = write("configs/train.yaml", "defaults: [{data: cifar}]\nlr: 0.1\n")
    last = f"{other}: is read instead of mlpkit's own configs/train.yaml; {MEANT}"
    assert refused("train", code=2).splitlines()[1:] == [last]
    other.write_text("lr: 0.1\n")
    assert refused("train", code=2).splitlines()[-2:] == [
        f"lr: unknown key; did you mean optimizer.lr? (in {other.resolve()})",
        last,
    ]
    other.write_text("hydra: {run: here}\n")
    assert refused("train", code=2).splitlines()[1:] == [last]


def test_a_file_that_has_no_part_in_a_problem_is_not_named(refused: Refused) -> None:
    write("configs/model/mlp.yaml", "_target_: torch.nn.Linear\n")
    write("configs/optimizer/adam.yaml", "name: adam\nlr: 0.02\n")
    found = refused("config", "model=linear", "dataset=line", "model.hiden=3", "optimizer.lr=x", code=2)
    assert [line.partition(":")[0] for line in found.splitlines()] == ["model.hiden", "optimizer.lr='x'"]


# ------------------------------------------------------------------------------------------------ endings


@pytest.mark.parametrize(
    "group", ["dataset", "model", "loss", "optimizer", "scheduler", "init", "trainer", "run"]
)
def test_another_ending_is_named_in_every_group(refused: Refused, group: str) -> None:
    other = write(f"configs/{group}/big.yml", "lr: 0.1\n")
    for arguments in (("config", f"{group}=big"), ("train", "-m", f"{group}=big,big")):
        assert refused(*arguments, code=2) == f"{other}: the name of a config ends in .yaml; rename the file"


def test_another_ending_is_named_in_defaults_and_for_a_whole_config(refused: Refused) -> None:
    other = write("configs/optimizer/big.YAML", "lr: 0.1\n")
    write("configs/experiment/mine.yaml", "# @package _global_\ndefaults: [{override /optimizer: big}]\n")
    rule = "the name of a config ends in .yaml; rename the file"
    assert refused("config", "experiment=mine", code=2) == f"{other}: {rule}"
    write("whole.yml", "seed: 1\n")
    assert refused("config", "--config", "whole.yml", code=2) == f"whole.yml: {rule}"
