"""Runs in MLflow, read back by its own client from a SQLite store."""

import io
import json
import shutil
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import Refused
from running import QUIET, mlpkit

from mlpkit.cli.main import run as command
from mlpkit.folders.tracked_run import is_kept
from mlpkit.loggers import mlflow as tracker
from mlpkit.loggers.mlflow_store import MLflowRun, MLflowStore

pytestmark = pytest.mark.skipif(  # mlflow takes seconds to import, so only the tests themselves do
    find_spec("mlflow") is None, reason="mlflow is not installed: pip install 'mlpkit[mlflow]'"
)

SMALL = ("dataset=moons", "model=mlp", "model.hidden=[4]", *QUIET)
LIVE = ("run.loggers=[mlflow]", "run.plots=false")
DEAD = "http://name:secret@127.0.0.1:9"  # nothing listens there
LATER = "training goes on without it; later: mlpkit send RUN --to mlflow"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a store with one run, `runs/first`."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        assert command(["train", *SMALL, "run.dir=runs/first", "trainer.epochs=3", "run.loggers=[]"]) == 0
        said = io.StringIO()
        with redirect_stdout(said):
            assert command(["send", "runs/first"]) == 0
        assert said.getvalue() == f"sqlite:///{folder}/mlflow.db, experiment moons-mlp: 1 run (1 new)\n"
        yield MLflowStore(None).client


@pytest.fixture(autouse=True)
def _forget(store: Any) -> Iterator[None]:
    """Forget which servers were down."""
    yield
    tracker._failed.clear()


def found(store: Any, folder: str | Path) -> Any:
    """Return the one MLflow run of a run folder."""
    identity = json.loads(Path(folder, "tracking.json").read_text())["id"]
    every = [experiment.experiment_id for experiment in store.search_experiments()]
    (run,) = store.search_runs(every, f"tags.`mlpkit.id` = '{identity}'")
    return run


def content(store: Any, run: Any) -> dict[str, Any]:
    """Return what an MLflow run holds, but for what tells one copy of a run from another."""
    own = ("mlpkit.id", "mlpkit.folder", "mlpkit.files", "mlflow.runName")
    files: dict[str, bytes] = {}
    below = [""]
    while below:
        for entry in store.list_artifacts(run.info.run_id, below.pop()):
            if entry.is_dir:
                below.append(entry.path)
            elif entry.path != "tracking.json":
                root = Path(run.info.artifact_uri.removeprefix("file://"))
                files[entry.path] = (root / entry.path).read_bytes()
    return {
        "params": run.data.params,
        "tags": {name: value for name, value in run.data.tags.items() if name not in own},
        "curves": {name: curve(store, run, name) for name in run.data.metrics},
        "status": run.info.status,
        "files": files,
    }


def curve(store: Any, run: Any, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.get_metric_history(run.info.run_id, name)]


def dump() -> list[str]:
    """Return the whole database, and when each file beside it was written."""
    with closing(sqlite3.connect("mlflow.db")) as connection:
        rows = list(connection.iterdump())
    return rows + [f"{path} {path.stat().st_mtime_ns}" for path in sorted(Path("mlruns").rglob("*"))]


@pytest.mark.long
def test_a_run_is_there_with_all_that_it_has(store: Any) -> None:
    run = found(store, "runs/first")
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert store.get_experiment(run.info.experiment_id).name == "moons-mlp"
    summary = json.loads(Path("runs/first/summary.json").read_text())
    params = run.data.params
    assert (params["optimizer.lr"], params["model.hidden"], params["loss.name"]) == ("0.001", "[4]", "auto")
    assert not [name for name in params if name.startswith(("run.", "format"))]
    for split, names in {"train": ("loss", "accuracy"), "val": ("loss",), "test": ("accuracy",)}.items():
        for name in names:
            lines = map(json.loads, Path("runs/first/metrics.jsonl").read_text().splitlines())
            logged = [(line["step"], line[name]) for line in lines if line["split"] == split]
            assert curve(store, run, f"{split}_{name}") == logged
            best = [(summary["best"]["step"], summary["best"][split][name])]
            assert curve(store, run, f"best_{split}_{name}") == best
    assert [step for step, _ in curve(store, run, "lr")] == [1, 2, 3]
    files = content(store, run)["files"]
    assert {"config.yaml", "plots/curves.png", "checkpoints/best.safetensors"} <= set(files)
    assert all(Path("runs/first", name).read_bytes() == held for name, held in files.items())


@pytest.mark.long
def test_no_warning_of_mlflow_is_seen(store: Any) -> None:
    """In a process of its own, which makes its own store."""
    own = f"sqlite:///{Path('own.db').absolute()}"
    sent = mlpkit("send", "runs/first", cwd=Path(), MLFLOW_TRACKING_URI=own, PYTHONWARNINGS="default")
    assert (sent.stdout, sent.stderr) == (f"{own}, experiment moons-mlp: 1 run (1 new)\n", "")


def test_the_files_make_a_run_folder(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    artifacts = found(store, "runs/first").info.artifact_uri.removeprefix("file://")
    assert command(["inspect", artifacts]) == 0
    assert "binary: " in capsys.readouterr().out


@pytest.mark.long
def test_sending_twice_changes_nothing(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = dump()
    assert command(["send", "runs/first", "--to", "mlflow"]) == 0
    assert capsys.readouterr().out.endswith(": 1 run (1 unchanged)\n")
    assert dump() == before


@pytest.mark.long
def test_labels_go_along(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("runs/first", "runs/labelled", ignore=shutil.ignore_patterns("tracking.json"))
    for labels in (["tag", "runs/labelled", "paper", "best"], ["note", "runs/labelled", "figure 2"]):
        assert command(labels) == 0
    assert command(["send", "runs/labelled"]) == 0
    tags = found(store, "runs/labelled").data.tags
    assert (tags["mlpkit.tags"], tags["mlflow.note.content"]) == ("paper best", "figure 2")
    assert command(["tag", "--remove", "runs/labelled"]) == 0
    assert command(["send", "runs/labelled"]) == 0
    assert capsys.readouterr().out.endswith(": 1 run (1 changed)\n")
    assert found(store, "runs/labelled").data.tags["mlpkit.tags"] == ""
    store.set_tag(found(store, "runs/labelled").info.run_id, "mlflow.note.content", "typed in MLflow")
    assert command(["send", "runs/labelled"]) == 0
    assert found(store, "runs/labelled").data.tags["mlflow.note.content"] == "typed in MLflow"
    assert command(["note", "--remove", "runs/labelled"]) == 0
    assert command(["send", "runs/labelled"]) == 0
    assert found(store, "runs/labelled").data.tags["mlflow.note.content"] == ""


def test_the_logger_writes_what_send_would(
    store: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a run that is resumed: it goes on in the same MLflow run."""
    monkeypatch.setattr(tracker, "SECONDS", -1.0)  # send the scores of each flush
    monkeypatch.setattr("mlpkit.training.run_log.WRITE_SECONDS", -1.0)
    assert command(["train", *SMALL, "run.dir=runs/live", "trainer.epochs=3", *LIVE]) == 0
    first = found(store, "runs/live")
    assert [step for step, _ in curve(store, first, "val_loss")] == [1, 2, 3]
    assert command(["resume", "runs/live", "trainer.epochs=5"]) == 0
    resumed = found(store, "runs/live")
    assert resumed.info.run_id == first.info.run_id
    assert [step for step, _ in curve(store, resumed, "val_loss")] == [1, 2, 3, 4, 5]
    # MLflow cannot change a parameter.
    assert (resumed.data.params["trainer.epochs"], resumed.data.tags["trainer.epochs"]) == ("3", "5")
    before = dump()
    capsys.readouterr()
    assert command(["send", "runs/live"]) == 0
    assert capsys.readouterr().out.endswith(": 1 run (1 unchanged)\n")
    assert dump() == before

    shutil.copytree("runs/live", "runs/sent", ignore=shutil.ignore_patterns("tracking.json"))
    assert command(["send", "runs/sent"]) == 0
    live, sent = content(store, resumed), content(store, found(store, "runs/sent"))
    assert live["params"].pop("trainer.epochs") == "3"
    assert live["tags"].pop("trainer.epochs") == sent["params"].pop("trainer.epochs") == "5"
    # The scores at the last step of the first part are of test rows as well.
    for name in ("test_loss", "test_accuracy"):
        assert live["curves"].pop(name)[-1:] == sent["curves"].pop(name)
    best = [name for name in live["curves"] if name.startswith("best_")]
    assert [live["curves"].pop(name)[-1:] == sent["curves"].pop(name) for name in best] == [True] * len(best)
    assert live == sent


@pytest.mark.long
def test_runs_of_a_sweep_are_named_by_what_varies(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    swept = ("optimizer.lr=0.01,0.1", "seed=range(2)", "run.dir=runs/sweep", "trainer.epochs=2")
    assert command(["train", "-m", *SMALL, *swept, "run.loggers=[mlflow]"]) == 0
    (experiment,) = store.search_experiments(filter_string="name = 'runs/sweep'")
    names = {run.info.run_name for run in store.search_runs([experiment.experiment_id])}
    assert names == {f"lr={lr} seed={seed}" for lr in ("0.01", "0.1") for seed in (0, 1)}
    capsys.readouterr()
    assert command(["send", "runs/sweep"]) == 0
    assert capsys.readouterr().out.endswith(", experiment runs/sweep: 4 runs (4 unchanged)\n")
    one = next(Path("runs/sweep").glob("0000-*"))
    for labels in (
        ["tag", "runs/sweep", "paper"],
        ["note", "runs/sweep", "table 1"],
        ["tag", str(one), "best"],
    ):
        assert command(labels) == 0
    capsys.readouterr()
    assert command(["send", "runs/sweep"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(": 4 runs (1 changed, 3 unchanged)")
    assert said[1] == "the sweep's tags or note have changed"
    tags = store.get_experiment(experiment.experiment_id).tags
    assert (tags["mlpkit.tags"], tags["mlflow.note.content"]) == ("paper", "table 1")
    assert found(store, one).data.tags["mlpkit.tags"] == "best"
    before = dump()
    for again in ("runs/sweep", str(one)):
        assert command(["send", again]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 1
    assert dump() == before
    assert command(["tag", "--remove", "runs/sweep"]) == 0
    assert command(["send", str(one)]) == 0
    assert store.get_experiment(experiment.experiment_id).tags["mlpkit.tags"] == ""
    capsys.readouterr()
    damaged = next(Path("runs/sweep").glob("0002-*"))
    (damaged / "summary.json").write_text("{")
    assert command(["send", "runs/sweep"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith(": 3 runs (3 unchanged)\n")
    assert err == f"left out: {damaged}/summary.json: not a JSON object; mend or remove the file\n"


@pytest.mark.long
@pytest.mark.parametrize("status", ["failed", "interrupted", None])
def test_how_a_run_ended(status: str | None, store: Any) -> None:
    path = Path(f"runs/{status}")
    shutil.copytree("runs/first", path, ignore=shutil.ignore_patterns("tracking.json", "summary.json"))
    if status:
        (path / "summary.json").write_text(json.dumps({"status": status, "error": "no luck"}))
    assert command(["send", str(path)]) == 0
    run = found(store, path)
    assert run.info.status == ("FAILED" if status == "failed" else "KILLED")
    assert run.data.tags["mlpkit.status"] == (status or "unfinished")


def test_a_link_is_not_followed(store: Any) -> None:
    shutil.copytree("runs/first", "runs/linked", ignore=shutil.ignore_patterns("tracking.json"))
    Path("secret").write_text("secret")
    Path("runs/linked/plots/secret.png").symlink_to(Path("secret").absolute())
    assert command(["send", "runs/linked"]) == 0
    assert "plots/secret.png" not in content(store, found(store, "runs/linked"))["files"]


def test_a_server_that_is_down_ends_no_training(
    store: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is one warning, in a sweep as well, and the runs can be sent later."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DEAD)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    warning = f"warning: MLflow at http://127.0.0.1:9: Connection refused; {LATER}"
    assert command(["train", *SMALL, "run.dir=runs/down", "trainer.epochs=2", *LIVE]) == 0
    assert capsys.readouterr().err == f"{warning}\n"
    assert Path("runs/down/train.log").read_text().splitlines()[0] == warning
    swept = ("seed=range(3)", "run.dir=runs/down-sweep", "trainer.epochs=2", "run.loggers=[mlflow]")
    assert command(["train", "-m", *SMALL, *swept]) == 0
    out, err = capsys.readouterr()
    assert (out.count(warning), err) == (1, "")
    assert command(["send", "runs/down"]) == 74
    assert capsys.readouterr().err == (
        "mlpkit: MLflow at http://127.0.0.1:9: Connection refused; "
        "start the server, or name another with --uri\n"
    )
    assert command(["send", "runs/down", "--uri", f"sqlite:///{Path.cwd()}/mlflow.db"]) == 0
    assert found(store, "runs/down").info.status == "FINISHED"


def test_a_server_that_goes_down_meanwhile(
    store: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is deleted while it is being trained."""
    update, updates = MLflowRun.update, list[str]()

    def delete_first(self: MLflowRun, run: Any) -> None:
        if updates:
            store.delete_run(self._id)
        updates.append(run.status)
        update(self, run)

    monkeypatch.setattr(MLflowRun, "update", delete_first)
    assert command(["train", *SMALL, "run.dir=runs/gone", "trainer.epochs=2", *LIVE]) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: MLflow at sqlite:///") and said.endswith(f"{LATER}\n")
    assert (updates, said.count("\n")) == (["running", "done"], 1)
    assert Path("runs/gone/summary.json").is_file()


def test_without_mlflow(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    needs = "needs mlflow; pip install 'mlpkit[mlflow]'"
    for sweep in ((), ("-m", "seed=0,1")):
        assert refused("train", *sweep, *SMALL, *LIVE, code=2) == f"run.loggers=mlflow: {needs}"
    assert refused("send", code=2) == f"--to=mlflow: {needs}"


def test_mlflow_is_loaded_where_it_is_chosen_alone() -> None:
    script = "import sys; from mlpkit.config import registry; registry.choices('logger'); "
    script += "import mlpkit.cli.send; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_is_refused(refused: Refused, tmp_path: Path) -> None:
    assert refused("send", "--to", "wandb", code=2) == "--to=wandb: must be mlflow"
    assert refused("send", code=65).startswith("no trained run under outputs/")
    assert refused("send", "nothing", code=65).startswith("nothing: no such run folder")


def test_long_curves_are_thinned() -> None:
    kept = [epoch for epoch in range(1, 100_001) if is_kept(epoch)]
    assert kept[:999] == list(range(1, 1000))
    assert kept[999:1002] == [1000, 1010, 1020]
    assert len(kept) == 999 + 2 * 900 + 1
