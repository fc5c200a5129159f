"""`data=FILE target=COLUMN` is short for a table."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Refused
from running import config
from tables import customers, write_csv

from mlpkit.cli.main import run as command
from mlpkit.cli.shorthand import expand
from mlpkit.datasets.table import TableDataset


def test_it_is_written_out() -> None:
    given = ("data=a b.csv.gz", "target=y", "model=mlp", "dataset.fold=1")
    wanted = ("dataset=table", "dataset.path=a b.csv.gz", "dataset.target=y", *given[2:])
    assert expand(given) == wanted
    assert expand(given[2:]) == given[2:]


def test_a_name_may_have_any_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which Hydra reads in quotes alone; its own lists and functions stay."""
    monkeypatch.chdir(tmp_path)
    for name, target in (("häuser (1).csv", "Preis (€)"), ('a,b"c.csv', "[x,y]"), ("日本.csv", "ü: 1")):
        (tmp_path / name).touch()
        chosen: Any = config(*expand([f"data={name}", f"target={target}"])).dataset
        assert (chosen.path, chosen.target) == (
            str(tmp_path / name),
            ("x", "y") if target[0] == "[" else target,
        )
    for value in ("[a.csv,b.csv]", "a.csv,b.csv", "'a b.csv'", "choice(a.csv,b.csv)", "${oc.env:D}/a.csv"):
        assert expand(["data=[a.csv]", f"target={value}"])[2] == f"dataset.target={value}"


@pytest.mark.parametrize(
    "name",
    [
        *("weight (kg)", "price(usd)", "größe", "1", "2.5", "true", "a=b", "a&b", "#", "a[0]", "{x}"),
        *("a'b", 'a"b', 'a\\"b', "a\\", "a\\b", "50%", "$", "<NA>", "a:b", "a;b", "~a"),
    ],
)
def test_a_column_may_have_any_name(name: str) -> None:
    """Without quotes besides the shell's."""
    chosen = config(*expand(["data=my table (1).csv", f"target={name}"])).dataset
    assert isinstance(chosen, TableDataset)
    assert isinstance(chosen.path, str)
    assert (chosen.target, Path(chosen.path).name) == (name, "my table (1).csv")


def test_several_values_stay_hydras() -> None:
    for value in ("[a,b]", "a,b", "choice(a,b)", "'a b'", '"a (1)"', "null", "${dataset.name}"):
        assert expand(["data=a.csv", f"target={value}"])[-1] == f"dataset.target={value}"


def test_arrays_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots").mkdir()
    assert expand(["data=a.npz"]) == ("dataset=arrays", "dataset.path=a.npz")
    assert expand(["data=X.npy", "target=y.npy"])[0] == "dataset=arrays"
    for path in ("shots", "shots/", "elsewhere/"):
        assert expand([f"data={path}"]) == ("dataset=image_folder", f"dataset.path={path}")


def test_a_run_is_the_same_as_with_whole_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "churn.csv", customers(60))
    answers = []
    for given in (
        ("data=churn.csv", "target=churned"),
        ("dataset=table", "dataset.path=churn.csv", "dataset.target=churned"),
    ):
        assert command(["config", *given]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
    assert f"path: {tmp_path / 'churn.csv'}" in answers[0]
    command(["train", "data=churn.csv", "target=churned", "model=mlp", "trainer.epochs=1", "run.plots=false"])
    assert "churn: binary, 36 train, 12 val, 12 test" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "outputs").iterdir() if path.is_dir()] == ["churn-mlp"]


@pytest.mark.parametrize(
    ("data", "title"),
    [
        ("/data/house prices.v2.csv.gz", "house_prices_v2"),
        ("[jan.csv,feb.csv]", "jan"),
        ("'house-*.csv'", "house"),
        ("*.csv", "table"),
        ("日本.csv", "日本"),
        (f"{'x' * 300}.csv", "x" * 40),
        ("../arrays.npz", "arrays"),
        ("../flowers/", "flowers"),
        ("/", "image_folder"),
    ],
)
def test_folders_of_runs_are_called_after_the_file(data: str, title: str) -> None:
    """Whatever its name: in their names are letters, digits, hyphens and underscores alone."""
    given = config(*expand([f"data={data}"]))
    assert given.dataset.title() == title
    odd = config("dataset=table").dataset.model_copy(update={"path": "/data/..\udce9\n$ .csv"})
    assert odd.title() == "table"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["target=y"], "target=y: only with data=FILE; add data=FILE"),
        (["target=y", "dataset=table"], "target=y: only with data=FILE; add dataset.target=y"),
        (
            ["data=a.csv", "dataset=moons"],
            "dataset=moons: data=a.csv chooses the dataset already; remove one",
        ),
        (["data=-"], "data=-: stdin cannot be read again when a run is resumed; save it in a file"),
        (
            ["data=a.pt"],
            "data=a.pt: a pickle can run code when it is opened; if you trust it, save its table as ",
        ),
        (["data=a.pkl.gz"], "data=a.pkl.gz: a pickle can run code when it is opened; "),
        (["data=a.xls"], "data=a.xls: an old Excel workbook; save it as .xlsx or .csv"),
        (["data=a.doc"], "data=a.doc: unknown kind; tables end in .csv, "),
        (["data=pictures"], "data=pictures: unknown kind; tables end in .csv, "),
    ],
)
def test_what_is_no_table_is_refused(given: list[str], line: str, refused: Refused) -> None:
    assert refused("train", *given, code=2).startswith(line)
