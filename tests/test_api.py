"""The Python API: equal to the commands, silent, and without a trace in the process's global settings."""

import csv
import inspect
import math
import os
import pickle
import random
import signal
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from running import mlpkit as command

import mlpkit
from mlpkit import api
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.tasks import BINARY
from mlpkit.training.stop import StopRequest

MOONS = ("dataset=moons", "dataset.n=60", "model.hidden=[4]")
SHORT = (*MOONS, "trainer.epochs=3", "run.plots=false")
ROWS: list[dict[str, Any]] = [
    {"age": 31.0, "city": "Oslo", "since": "2020-05-01", "member": "yes"},
    {"age": None, "city": "Bergen", "since": "2021-11-30", "member": "no"},
    {"age": 58.5, "city": "Atlantis", "since": None, "member": None},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and a run on it."""
    folder = tmp_path_factory.mktemp("api")
    draw = random.Random(0)
    with (folder / "people.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["age", "city", "since", "member", "spent"])
        for _ in range(80):
            age, city = draw.randint(18, 80), draw.choice(["Oslo", "Bergen", "Bodø"])
            date = f"20{draw.randint(10, 24)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"
            rows.writerow([age, city, date, draw.choice(["yes", "no"]), age * 3 + len(city)])
    table = ("data=people.csv", "target=spent", "model.hidden=[4]", "trainer.epochs=3", "run.plots=false")
    command("train", *table, "run.dir=table", cwd=folder)
    return folder


@pytest.fixture
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


def test_the_names_and_arguments_of_the_api_stay_what_they_are() -> None:
    assert set(mlpkit.__all__) == set(api.__all__)
    assert all(getattr(mlpkit, name) is getattr(api, name) for name in api.__all__)
    functions = {of.__name__: str(inspect.signature(of)) for of in (api.train, api.sweep, api.load, api.runs)}
    functions = {name: text.replace("pathlib._local.", "pathlib.") for name, text in functions.items()}
    assert functions == {
        "train": "(*overrides: str, plugins: collections.abc.Sequence[str] = (), progress: bool = False) -> "
        "mlpkit.deploy.run.Run",
        "sweep": "(*overrides: str, paired: bool = False, plugins: collections.abc.Sequence[str] = (), "
        "progress: bool = False) -> mlpkit.deploy.run.Sweep",
        "load": "(path: str | pathlib.Path, checkpoint: str = 'best', ensemble: bool = False, "
        "device: str = 'cpu', allow_large: bool = False) -> mlpkit.deploy.model.Model",
        "runs": "(root: str | pathlib.Path = 'outputs') -> mlpkit.deploy.table.Table",
    }
    public = {
        of.__name__: [name for name in vars(of) if not name.startswith("_")]
        for of in (api.Run, api.Sweep, api.Model, api.Table)
    }
    assert public == {
        "Run": ["config", "summary", "scores", "history", "pictures", "model"],
        "Sweep": ["runs", "best", "model", "compare"],
        "Model": [
            "task",
            "columns",
            "targets",
            "classes",
            "predict",
            "predict_proba",
            "novelty",
            "to_torch",
            "features",
        ],
        "Table": [],
    }


def test_a_run_is_that_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command("train", *SHORT, "run.dir=typed", cwd=tmp_path)
    run = api.train(*SHORT, "run.dir=called")
    typed, called = (checkpoint.load(RunFolder(Path(name)).best) for name in ("typed", "called"))
    assert all(torch.equal(called.state.model[name], values) for name, values in typed.state.model.items())
    assert run.summary["best"]["val"] == api.Run("typed").summary["best"]["val"]
    assert (run.config["model"]["hidden"], len(run.history)) == ([4], 7)
    assert list(run.scores) == ["train", "val", "test"]
    written = Path("called/command.txt").read_text()
    assert written.startswith("mlpkit train dataset=moons ") and written.endswith(" run.dir=called\n")


def settings() -> dict[str, Any]:
    """Return the process's global settings that a library might change."""
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "default dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "torch's generator": torch.get_rng_state().tolist(),
        "numpy's generator": np.random.get_state()[1].tolist(),  # type: ignore[index]
        "python's generator": random.getstate(),
        "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "folder": Path.cwd(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
    }


def test_nothing_is_printed_and_no_global_setting_changes(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.use_deterministic_algorithms(True)  # imports sympy, which adds a filter of warnings
    torch.use_deterministic_algorithms(False)
    before = settings()
    run = api.train(*SHORT, "trainer.deterministic=true", "trainer.threads=1", "run.dir=quiet")
    sweep = api.sweep(*SHORT, "seed=1,2", "run.dir=quiet-sweep")
    run.model().predict([[0.5, 0.5]])
    sweep.model(ensemble=True).predict([[0.5, 0.5]])
    api.load("table").predict(ROWS)
    api.runs(".")
    with pytest.raises(api.MlpkitError):
        api.train("optimizer.lr=-1")
    after = settings()
    assert after == before
    assert tuple(capsys.readouterr()) == ("", "")


def test_progress_is_shown_on_request(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.train(*SHORT, "run.dir=shown", progress=True)
    printed, said = capsys.readouterr()
    assert printed.splitlines()[-1] == "run folder: shown" and said == ""


def frames() -> dict[str, Any]:
    """Return ROWS as each kind of table."""
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    found: dict[str, Any] = {"dicts": ROWS, "columns": columns, "arrow": pa.table(columns)}
    found["an array of objects"] = np.array([list(row.values()) for row in ROWS], dtype=object)
    holes = [{name: math.nan if v is None else v for name, v in row.items()} for row in ROWS]  # as in pandas
    found |= {"dicts with NaN": holes, "lists with NaN": [list(row.values()) for row in holes]}
    found["columns with NaN"] = {name: [row[name] for row in holes] for name in ROWS[0]}
    found["an array with NaN"] = np.array([list(row.values()) for row in holes], dtype=object)
    found["more columns, in another order"] = {"x": [[1], [2], [3]], **dict(reversed(columns.items()))}
    found["pandas"] = pd.DataFrame(columns)
    found["pandas' categories"] = found["pandas"].astype({"city": "category"})
    found["pandas' index"] = found["pandas"].set_index(pd.Index([7, 8, 9], name="id"))
    return found


@pytest.mark.long
@pytest.mark.parametrize("kind", frames())
def test_predictions_of_each_kind_of_table_are_those_of_the_command(inside: Path, kind: str) -> None:
    with Path("rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    command("predict", "table", "--input", "rows.csv", "--output", "predicted.npz", cwd=inside)
    model = api.load("table")
    assert model.predict(frames()[kind]).tolist() == np.load("predicted.npz")["spent"].tolist()
    assert model.messages == (
        "data: column age: 1 missing",
        "data: column city: 1 not seen in training, such as 'Atlantis'",
        "data: column since: 1 missing",
        "data: column member: 1 missing",
    )


def test_models_are_pickled(inside: Path) -> None:
    """So that other processes get them."""
    model = api.load("table")
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(ROWS), model.predict(ROWS))
    task = replace(BINARY.at_threshold(0.3), monitor="loss", higher_is_better=False)
    again, outputs = pickle.loads(pickle.dumps(task)), torch.linspace(-3, 3, 50)[:, None]
    assert torch.equal(again.decode(outputs), task.decode(outputs))
    assert (again.monitor, again.higher_is_better) == ("loss", False)


def test_arrays_are_read_in_the_order_of_the_columns(inside: Path) -> None:
    rows = [[0.25, 0.5], [-1.0, 0.75]]
    model = api.train(*SHORT, "run.dir=moons").model()
    kinds = [rows, np.array(rows), np.array(rows, np.float32), torch.tensor(rows)]
    kinds += [
        pd.DataFrame(rows, columns=list(model.columns)),
        pa.table(dict(zip(model.columns, np.array(rows).T, strict=True))),
    ]
    found = [model.predict_proba(kind) for kind in kinds]
    assert all(np.array_equal(found[0], each) for each in found) and found[0].shape == (2, 2)
    network = model.to_torch()
    one = torch.sigmoid(network(torch.from_numpy(model.features(rows)))).detach().numpy()
    assert np.allclose(one[:, 0], found[0][:, 1], atol=1e-7)
    assert model.predict(rows).tolist() == [model.classes[int(p > 0.5)] for p in found[0][:, 1]]
    for parameter in network.parameters():
        parameter.data.zero_()  # a copy: the model's own stay as they are
    assert np.array_equal(model.predict_proba(rows), found[0])


def test_pictures_may_be_bytes_or_numbers_from_0_to_1(inside: Path) -> None:
    few = ("dataset=digits", "model.hidden=[4]", "trainer.epochs=1", "run.plots=false", "run.dir=digits")
    model = api.train(*few).model()
    pixels = np.random.default_rng(0).integers(0, 255, (3, 8, 8), np.uint8)
    expected = model.predict_proba(pixels)
    for same in (pixels.reshape(3, 64), pixels.astype(np.float32) / 255, pixels.astype(np.float64) / 255):
        assert np.allclose(model.predict_proba(same), expected, atol=1e-6)
    assert np.array_equal(model.predict_proba(pixels[0]), expected[:1])


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ([], "data: no rows; give at least one"),
        (np.zeros((0, 4)), "data: no rows; give at least one"),
        ({"age": [1]}, "data: columns missing: city, since, member; it has age; add them"),
        ([{**ROWS[0], "age": "old"}], "data: row 1: column age: 'old' is not a plain number"),
        (np.zeros((2, 3)), "data: has shape (2, 3), the model reads 4 columns: age, city, since, member; "),
        ([[1, 2], [3]], "data: not readable as rows (setting an array element with a sequence); give a "),
        ([{**ROWS[0], "age": 10**400}], "data: not readable as rows ("),
        (pa.table([[1], [2]], names=["age", "age"]), "data: column age is there 2 times; keep one of them"),
        ({"age": [1, 2], "city": ["a"]}, "data: not readable as rows ("),
        ("rows.csv", "data: is str, not rows; read the file first"),
        (7, "data: has shape (), the model reads 4 columns: age, city, since, member; "),
    ],
)
def test_what_is_no_table_is_one_line(data: Any, line: str, inside: Path) -> None:
    with pytest.raises(api.MlpkitError) as caught:
        api.load("table").predict(data)
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_a_sweep_stands_for_its_best_run_or_for_all(inside: Path) -> None:
    sweep = api.sweep(*SHORT, "optimizer.lr=0.001,0.1", "seed=range(5)", "run.dir=sweep")
    assert len(sweep.runs) == 10
    table = sweep.compare("optimizer.lr")
    assert [row["rank"] for row in table] == [1, 2] and table[0]["runs"] == 5
    assert sweep.best.config["optimizer"]["lr"] == table[0]["optimizer.lr"]
    rows = [[0.25, 0.5], [-1.0, 0.75]]
    alone = [run.model().predict_proba(rows) for run in sweep.runs]
    of_best = [p for p, run in zip(alone, sweep.runs, strict=True)
               if run.config["optimizer"]["lr"] == table[0]["optimizer.lr"]]  # fmt: skip
    assert np.allclose(sweep.model(ensemble=True).predict_proba(rows), np.mean(of_best, 0), atol=1e-6)
    assert np.array_equal(sweep.model().predict_proba(rows), sweep.best.model().predict_proba(rows))
    frame = pd.DataFrame(api.runs("sweep"))
    assert len(frame) == 10 and {"run", "status", "optimizer.lr", "seed", "test.accuracy"} <= set(
        frame.columns
    )


@pytest.mark.long
def test_notebooks_show_tables_and_pictures(inside: Path) -> None:
    run = api.train(*MOONS, "trainer.epochs=3", "run.dir=drawn")
    shown = run._repr_html_()
    assert shown.count("<img") == len(run.pictures) > 0 and "<th>accuracy</th>" in shown
    table = api.Table([{"<b>": "<script>", "x": None}, {"x": 0.123456}])
    assert table._repr_html_() == (
        "<table><thead><tr><th>&lt;b&gt;</th><th>x</th></tr></thead><tbody><tr><td>&lt;script&gt;</td><td></td></tr>"
        "<tr><td></td><td>0.1235</td></tr></tbody></table>"
    )


def interrupted(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let a signal arrive at the fifth step."""
    check, calls = StopRequest.check, iter(range(1, 10**9))

    def counted(request: StopRequest) -> None:
        if next(calls) == 5:
            signal.raise_signal(number)
        check(request)

    monkeypatch.setattr(StopRequest, "check", counted)


def test_ctrl_c_saves_the_run_and_raises_keyboard_interrupt(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="saved; to go on: mlpkit resume stopped"):
        api.train(*MOONS, "trainer.epochs=50", "run.plots=false", "run.dir=stopped")
    assert api.Run("stopped").summary["status"] == "interrupted"


def test_another_signal_does_what_the_caller_wants_after_the_run_is_saved(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        interrupted(monkeypatch, signal.SIGTERM)
        with pytest.raises(api.MlpkitError, match="interrupted"):
            api.train(*MOONS, "trainer.epochs=50", "run.plots=false", "run.dir=ended")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM] and api.Run("ended").summary["status"] == "interrupted"


def test_a_thread_may_train(inside: Path) -> None:
    found: list[api.Run] = []
    thread = threading.Thread(target=lambda: found.append(api.train(*SHORT, "run.dir=threaded")))
    thread.start()
    thread.join()
    assert found[0].summary["status"] == "done"
