"""`mlpkit data`: what it says of somebody's table is true, and the config that it writes trains so."""

import io
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import Refused
from guide import PROJECT
from PIL import Image
from rich.console import Console
from running import config
from tables import customers, load, write_csv

from mlpkit.analysis.giveaways import find_giveaways
from mlpkit.cli.data_config import default_path
from mlpkit.cli.data_report import print_head, print_table
from mlpkit.cli.main import run as command
from mlpkit.data.column_values import RawColumn
from mlpkit.data.columns import ColumnKind
from mlpkit.data.load import load_dataset
from mlpkit.data.raw_table import RawTable
from mlpkit.data.table_options import TableOptions
from mlpkit.data.table_targets import Targets
from mlpkit.plots.histograms import draw_histograms

Show = Callable[..., str]


@pytest.mark.long
def test_stdin_is_shown_as_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    """With all options, though it can be read once only; a run, which reads it again, refuses it."""
    content = write_csv(tmp_path / "churn.csv", odd_customers()).read_bytes()
    for more in (["--no-write"], ["--head", "3"], ["--plot", "page.png"]):
        answers = []
        for name in ("churn.csv", "-"):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
            assert command(["data", name, "--target", "churned", *more]) == 0
            answers.append(capsys.readouterr().out.replace("stdin", "churn.csv"))
        shown, _, config = answers[0].partition("\n# configs/dataset/churn.yaml")
        assert (config != "") == (more[0] != "--head")
        assert answers[1].startswith(shown)
    assert answers[1].endswith("next: save the table in a file, which mlpkit train data=FILE reads\n")
    (tmp_path / "page.png").unlink()
    for given in (["data=-"], ["dataset=table", "dataset.path=-", "dataset.target=churned"]):
        line = refused("train", *given, code=2)
        assert line.endswith("=-: stdin cannot be read again when a run is resumed; save it in a file")


def odd_customers() -> list[dict[str, object]]:
    """Return customers: a date that only those have who left, an outlier, a text among numbers, a copy."""
    rows = customers()
    for place, row in enumerate(rows):
        row["cancelled_on"] = "" if row["churned"] == "no" else f"2024-0{place % 9 + 1}-1{place % 9}"
        row["weight"] = "n.k." if place == 17 else place * 7 % 113 + 0.5
    rows[5]["income"] = 9e9
    return [*rows, rows[3]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with churn.csv."""
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "churn.csv", odd_customers())
    return tmp_path


@pytest.fixture
def show(here: Path, capsys: pytest.CaptureFixture[str]) -> Show:
    """Run `mlpkit data` with some words; return what it prints, without spaces at the ends of lines."""

    def shown(*words: str) -> str:
        assert command(["data", *words]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        return "".join(f"{line.rstrip()}\n" for line in said.out.splitlines())

    return shown


def row(text: str, name: str) -> list[str]:
    """Return the cells of a table's row."""
    (line,) = re.findall(rf"^{re.escape(name)}  .*$", text, re.M)
    return re.split(r"  +", line)[1:]


def test_columns_are_described_as_they_are(show: Show) -> None:
    text, rows = show("churn.csv", "--target", "churned"), odd_customers()
    ages = np.array([r["age"] for r in rows if r["age"] != ""], float)
    missing = 1 - len(ages) / len(rows)
    assert "241 rows × 13 columns" in text
    assert row(text, "age") == [
        "number", f"{missing:.1%}", str(len(np.unique(ages))), f"{ages.min():g} … {ages.max():g}",
    ]  # fmt: skip
    cities = Counter(str(r["city"]) for r in rows if r["city"])
    listed = ", ".join(name for name, _ in cities.most_common())
    assert row(text, "city") == ["category", f"{1 - cities.total() / 241:.1%}", "3", listed]
    assert row(text, "customer_id")[:2] == ["identifier", "240"]
    assert row(text, "country") == ["constant", "1", "FR"]
    assert row(text, "churned")[0] == "target"
    left = sum(r["churned"] == "yes" for r in rows)
    assert row(text, "yes") == [str(left), f"{left / 241:.1%}"]
    assert row(text, "no") == [str(241 - left), f"{1 - left / 241:.1%}"]


def test_what_looks_wrong_is_said(show: Show) -> None:
    text = show("churn.csv", "--target", "churned")
    assert "rows that equal an earlier one in all columns: 1\n" in text
    assert "outliers in income: 1 over 10 interquartile ranges" in text
    assert "correct them, or set dataset.columns.income.scale=quantile\n" in text
    assert "the farthest is 9e+09 at churn.csv:7;" in text
    assert "99% are numbers, the first other value is 'n.k.' at churn.csv:19: name such texts in" in text
    alone = re.findall(
        r"warning: (\w+) alone predicts the target \(accuracy 1\.000 on 96 held-out rows\)", text
    )
    assert alone == ["cancelled_on"]
    dataset = load(Path("churn.csv"))
    assert next(line for line in dataset.remarks if line.startswith("warning")) in text
    assert re.search(r"^splits: 145 train, 48 val, 48 test$", text, re.M)


def test_a_rare_class_is_named(show: Show, here: Path) -> None:
    rows = [{"x": place / 7, "kind": "rare" if place % 25 == 0 else "usual"} for place in range(200)]
    write_csv(here / "rare.csv", rows)
    text = show("rare.csv", "--target", "kind")
    assert row(text, "rare") == ["8", "4.0%"]
    assert "warning: under 5% of the rows: rare;" in text


def test_a_class_that_only_training_rows_have_is_no_warning_of_scikit_learn(show: Show, here: Path) -> None:
    rows = [
        {
            "day": day,
            "x": day < 9 or day % 20 == 0,
            "z": f"z{day % 3}",
            "kind": f"k{day % 3}" if day > 8 else "new",
        }
        for day in range(200)
    ]
    write_csv(here / "t.csv", rows)
    text = show("t.csv", "--target", "kind", "dataset.split.by=time", "dataset.split.column=day")
    assert "warning: z alone predicts" in text


def test_rows_in_the_order_of_a_date_are_a_time_series(show: Show, here: Path) -> None:
    rows: list[dict[str, object]] = [
        {
            "day": f"2024-{1 + n // 28:02}-{1 + n % 28:02}",
            "born": f"19{n * 37 % 90 + 10}-02-03",
            "y": n * 7 % 11 + 0.5,
        }
        for n in range(200)
    ]
    write_csv(here / "t.csv", rows)
    hint = "rows in the order of day: if you predict the future, split by time: "
    way = "dataset.split.by=time dataset.split.column=day"
    assert f"{hint}{way}\n" in show("t.csv", "--target", "y")
    assert "rows in the order of" not in show("t.csv", "--target", "y", *way.split())
    assert "rows in the order of" not in show("churn.csv", "--target", "churned")


def test_a_regression_has_a_range(show: Show) -> None:
    text = show("churn.csv", "--target", "calls", "--no-write")
    calls = np.array([r["calls"] for r in odd_customers()], float)
    found = [float(cell) for cell in row(text.partition("\ntarget ")[2], "calls")]
    wanted = [calls.min(), np.median(calls), calls.max(), calls.mean(), calls.std()]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert not Path("configs").exists()


def test_the_config_trains_as_the_file_does(show: Show, here: Path) -> None:
    text = show("churn.csv", "--target", "churned", "dataset.split.by=random", "dataset.ignore=[calls]")
    assert "wrote configs/dataset/churn.yaml\n" in text
    assert "  mlpkit train dataset=churn model=mlp\n" in text
    written = load_dataset(config("dataset=churn").dataset)
    typed = load(here / "churn.csv", "dataset.split.by=random", "dataset.ignore=[calls]")
    assert written.fingerprint == typed.fingerprint
    assert written.input_schema == typed.input_schema
    content = (here / "configs/dataset/churn.yaml").read_text()
    assert content.splitlines()[1:] == text.partition("# configs/dataset/churn.yaml\n")[2].split("\n\n")[
        0
    ].split("\n")
    for line in (
        "separator: ','",
        "decimal: .",
        "encoding: utf-8",
        "header: true",
        "  plan:",
        "- customer_id",
    ):
        assert line in content.splitlines()


@pytest.mark.long
def test_a_config_is_never_written_over(show: Show, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show("churn.csv", "--target", "churned")
    path = here / "configs/dataset/churn.yaml"
    assert "exists already, with this content" in show("churn.csv", "--target", "churned")
    path.write_text("# mine\ndefaults: [moons]\n")
    text = show("churn.csv", "--target", "churned")
    assert "exists already with other content and is kept" in text
    assert "  mlpkit train data=churn.csv target=churned model=mlp\n" in text
    assert path.read_text() == "# mine\ndefaults: [moons]\n"
    show("churn.csv", "--target", "churned", "--output", "other.yaml")
    assert "target: churned" in Path("other.yaml").read_text()
    assert command(["data", "churn.csv", "--target", "age", "--output", "other.yaml"]) == 2
    assert capsys.readouterr() == (
        "", "mlpkit: --output=other.yaml: exists already and is not overwritten; choose another name\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("data/Churn 2024.csv.gz", "churn_2024"),
        ("iris.csv", "my_iris"),
        ("table.parquet", "my_table"),
        ("2024.csv", "my_2024"),
        ("null.csv", "my_null"),
        ("a-*.csv", "a"),
        ("é.csv", "my_table"),
    ],
)
def test_the_name_of_a_config_is_no_other_dataset(file: str, name: str) -> None:
    assert default_path(file) == Path(f"configs/dataset/{name}.yaml")


def test_without_a_target_there_is_no_split(show: Show) -> None:
    text = show("churn.csv")
    assert row(text, "churned")[0] == "boolean"
    assert "splits" not in text and "alone predicts" not in text
    assert text.endswith("\nnext: name the column to predict with --target COLUMN\n")
    assert not Path("configs").exists()


def test_head_shows_rows_before_and_after(show: Show, here: Path) -> None:
    dataset = load_dataset(config("dataset=moons", "dataset.standardize=true").dataset)
    before, after = show("dataset=moons", "dataset.standardize=true", "--head", "3").split("\n\n")
    raw, train = dataset.splits["train"].inputs[:3].numpy(), dataset.splits["train"]
    scaled = (train.inputs - train.inputs.mean(0)) / train.inputs.std(0, correction=0)
    for place, name in enumerate(("x1", "x2")):
        np.testing.assert_allclose(np.array(row(before, name), float), raw[:, place], rtol=1e-3)
        np.testing.assert_allclose(np.array(row(after, name), float), scaled[:3, place], rtol=2e-3)
    labels = train.targets[:3].tolist()
    assert row(before, "moon") == [("upper", "lower")[label] for label in labels]
    assert row(after, "moon") == [str(label) for label in labels]


def test_head_of_a_table_has_its_lines(show: Show, here: Path) -> None:
    text = show("churn.csv", "--target", "churned", "--head", "7", "--no-write")
    before, after = text.split("\n\n")
    dataset, rows = load(here / "churn.csv"), odd_customers()
    first = dataset.splits["train"].inputs[:7]
    lines = [int(line) for line in re.findall(r"line +(\d+)", before)]
    assert len(lines) == 7
    for number, line in enumerate(lines):
        assert (
            float(rows[line - 2]["smoker"] == "yes")
            == first[number, dataset.input_schema.features.index("smoker")]
        )
    shown = [cell for part in re.findall(r"^smoker  .*$", before, re.M) for cell in part.split()[1:]]
    assert shown == [rows[line - 2]["smoker"] for line in lines]
    scaled = [float(cell) for part in re.findall(r"^calls  .*$", after, re.M) for cell in part.split()[1:]]
    np.testing.assert_allclose(scaled, first[:, dataset.input_schema.features.index("calls")], rtol=1e-3)


def test_other_datasets_have_a_short_page(show: Show, here: Path) -> None:
    assert "digits: 1,797 rows, pictures of shape [8, 8]" in show("dataset=digits")
    np.savez(here / "a.npz", X=np.random.default_rng(0).normal(size=(40, 3)), y=np.arange(40) % 2)
    text = show("a.npz")
    assert "a: 40 rows, inputs of shape [3]" in text
    assert row(text, "1") == ["20", "50.0%"]


def test_a_terminal_of_80_columns_is_wide_enough(here: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    rows = [
        {**r, "a name that is much longer than others of its kind": "text " * 20} for r in odd_customers()
    ]
    write_csv(here / "wide.csv", rows)
    dataset = config("dataset=table", "dataset.path=wide.csv", "dataset.target=churned").dataset
    assert isinstance(dataset, TableOptions)
    stream = Terminal()
    console = Console(file=stream, force_terminal=True, color_system=None, width=80, soft_wrap=True)
    print_table(console, dataset)
    print_head(console, dataset, 9)
    lines = stream.getvalue().splitlines()
    assert len(lines) > 60
    assert max(map(len, lines)) <= 80
    heads = next(line for line in lines if line.startswith("column ")).split()
    assert heads == ["column", "kind", "missing", "distinct", "values"]  # only names and values are cut
    assert "customer_id               identifier " in stream.getvalue()


@pytest.mark.long
def test_histograms_are_drawn(show: Show, here: Path) -> None:
    """A column of a kind that is not read says so in its place."""
    assert "wrote a.png" in show("churn.csv", "--plot", "a.png")
    with Image.open(here / "a.png") as picture:
        assert picture.size == (round(144 * (4 * 2.4 + 0.4)), round(144 * (4 * 1.8 + 0.8)))
    table = pa.table({"x": [0.5, None], "list": [[1], [2]], "when": pa.array([1, 2], pa.timestamp("s"))})
    with Image.open(io.BytesIO(draw_histograms(RawTable(table, "a", str), ["x"]))) as picture:
        assert picture.size == (round(144 * (3 * 2.4 + 0.4)), round(144 * 2.6))


@pytest.mark.parametrize(
    ("kind", "column", "targets", "found"),
    [
        ("number", np.arange(400.0), np.arange(400.0) * 1.8 + 32, True),
        ("number", np.exp(np.arange(400.0) / 40), np.exp(np.arange(400.0) / 40) * 2, True),
        ("number", np.arange(400.0), np.arange(400.0) * 7 % 11, False),
        ("category", np.arange(400) % 4, np.arange(400) % 4 * 10.0, True),
        ("number", np.arange(400.0), (np.arange(400) > 250).astype(int), True),
        ("category", np.arange(400) % 5, (np.arange(400) % 5 == 2).astype(int), True),
        ("number", np.ones(400), (np.arange(400) % 100 == 0).astype(int), False),
    ],
)
def test_a_column_that_knows_the_target_is_found(
    kind: str, column: "np.typing.NDArray[np.float64]", targets: "np.typing.NDArray[np.float64]", found: bool
) -> None:
    """The last one predicts 99 % of the rows as the commonest class does, which gives nothing away."""
    values = pa.chunked_array([pa.array(column if kind == "number" else [f"c{v}" for v in column])])
    raw = RawColumn("a", values, "t", str)
    is_class = targets.dtype.kind == "i"
    known = Targets(
        "binary" if is_class else "regression",
        targets if is_class else targets.astype(np.float32)[:, None],
        np.ones(400, bool),
    )
    order = np.random.default_rng(0).permutation(400)
    givens = find_giveaways([raw], [ColumnKind("a", kind, "")], known, order[:240], order[240:])
    assert [g.column for g in givens] == (["a"] if found else [])


def test_a_target_with_one_value_is_not_given_away() -> None:
    raw = RawColumn("a", pa.chunked_array([pa.array(np.arange(400.0))]), "t", str)
    known = Targets("regression", np.full((400, 1), 3.5, np.float32), np.ones(400, bool))
    rows = np.arange(400)
    assert find_giveaways([raw], [ColumnKind("a", "number", "")], known, rows[:240], rows[240:]) == []


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["x.csv"], 65, "x.csv: no such file"),
        (
            ["x.csv", "optimizer.lr=1"],
            2,
            "optimizer.lr=1: only settings of dataset.*, or experiment=NAME; leave it out",
        ),
        (["x.csv", "dataset=moons"], 2, "dataset=moons: x.csv chooses the dataset already; remove one"),
        (
            ["dataset=moons", "--plot", "a.png"],
            2,
            "--plot=a.png: dataset=moons has neither columns nor images",
        ),
        (["dataset=moons", "--output", "a.yaml"], 2, "--output=a.yaml: only for a table file with --target"),
        (["dataset=moons", "--target", "y"], 2, "dataset.target: unknown key"),
        (["dataset.n=3"], 2, "data: no file is named; write mlpkit data FILE, or mlpkit data dataset=NAME"),
        (["x.docx"], 2, "data=x.docx: unknown kind"),
    ],
)
def test_what_is_wrong_is_one_line(words: list[str], code: int, line: str, refused: Refused) -> None:
    said = refused("data", *words, code=code)
    assert line in said
    assert "\n" not in said


def test_what_cannot_be_trained_on_is_described_first(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "small.csv").write_text("name;price\na;1,5\na;2,5\na;3,5\na;4,5\na;5,5\n")
    assert command(["data", "small.csv", "--target", "price"]) == 65
    said = capsys.readouterr()
    assert row(said.out, "price")[0] == "target"
    assert "left out name (constant): it is always 'a'" in said.out
    assert (
        said.err.replace(f"{here}/", "")
        == "mlpkit: small.csv: no column is left to predict from; set dataset.columns.NAME.type\n"
    )
    assert not Path("configs").exists()


def test_the_guide_shows_what_is_printed(show: Show, here: Path) -> None:
    names = ("customer_id", "age", "city", "plan", "income", "weight", "cancelled_on", "churned")
    write_csv(here / "churn.csv", [{name: row[name] for name in names} for row in odd_customers()])
    page = (PROJECT / "docs/own-data.md").read_text(encoding="utf-8")
    assert f"```text\n{show('churn.csv', '--target', 'churned')}```" in page
