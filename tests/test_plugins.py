"""Plug-ins: choices of the user's own, from a file, a module or an installed package."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Refused
from running import config, content, mlpkit

from mlpkit.cli.main import run as command
from mlpkit.config import plugins
from mlpkit.config.config import parse, to_dict
from mlpkit.config.problems import PLUGIN_HINT
from mlpkit.errors import ConfigError
from mlpkit.folders.environment import name_plugins
from mlpkit.folders.origin import resume_command
from mlpkit.folders.run_folder import RunFolder

SIGNUM = Path(__file__).with_name("extending") / "signum.py"
SMALL = ("dataset=moons", "dataset.n=60", "model.hidden=[4]", "run.plots=false", "run.tensorboard=false")
QUIET = (*SMALL, "optimizer=signum", "trainer.epochs=2", "run.progress=none")
UNKNOWN = "optimizer.name='signum': must be one of adam, adamw, lbfgs, lion, muon, nadam, rmsprop, sgd"


pytestmark = pytest.mark.usefixtures("own")


def optimizer(name: str = "still", *lines: str) -> str:
    """Return the text of a plug-in, an optimizer that hardly changes the weights."""
    head = "from typing import Literal\nfrom mlpkit.config.optimizer import OptimizerConfig\n"
    of_class = (
        f'class Still(OptimizerConfig):\n    """Hardly changes weights."""\n\n    name: Literal["{name}"]\n'
    )
    body = "    def update(self, values, gradients, slots, lr):\n        values.sub_(1e-3 * lr * gradients)\n"
    rest = "".join(f"{line}\n" for line in lines)
    return f'{head}from mlpkit.config.registry import choice\n{rest}@choice("optimizer")\n{of_class}{body}'


def test_a_choice_without_a_yaml_takes_its_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = (f"--plugin={SIGNUM}", "optimizer=signum")
    assert command(["config", *given, "-p", "optimizer"]) == 0
    assert capsys.readouterr().out == (
        "# @package optimizer\nname: signum\nlr: 0.001\nmomentum: 0.9\nweight_decay: 0.0\n"
    )
    assert command(["config", *given, "--explain"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("optimizer.name"))
    assert line.split() == ["optimizer.name", '"signum"', str(SIGNUM)]
    assert command(["list", "--plugin", str(SIGNUM), "optimizer"]) == 0
    said = capsys.readouterr().out
    assert f"  signum   Steps of one size, along the sign of an averaged gradient ({SIGNUM})\n" in said


def test_files_may_name_a_choice_of_a_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment does in its defaults list, and a file of the choice's own goes before the schema."""
    monkeypatch.chdir(tmp_path)
    Path("configs/experiment").mkdir(parents=True)
    Path("configs/experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /optimizer: signum\noptimizer:\n  lr: 0.5\n"
    )
    assert command(["config", "--plugin", str(SIGNUM), "experiment=mine"]) == 0
    Path("configs/optimizer").mkdir()
    Path("configs/optimizer/signum.yaml").write_text("name: signum\nlr: 0.25\n")
    assert command(["train", "--plugin", str(SIGNUM), *QUIET, "run.dir=it"]) == 0
    assert "lr: 0.25" in RunFolder(Path("it")).config.read_text()


def test_a_run_of_a_plug_in_needs_it_again(
    refused: Refused, own: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    given = f"--plugin={SIGNUM}"
    assert command(["train", given, *QUIET, "run.dir=outputs/it"]) == 0
    capsys.readouterr()
    own()
    best, used = RunFolder(Path("outputs/it")).best, f"this run used {SIGNUM}: add --plugin {SIGNUM}"
    for name, arguments in {
        "resume": ("trainer.epochs=4",),
        "predict": ("--values", "0,0"),
        "inspect": (),
        "evaluate": (),
    }.items():
        said = refused(name, "outputs/it", *arguments, code=2 if name == "resume" else 65)
        path = "" if name == "resume" else f"{best}: its config is not valid: "
        assert said == f"{path}{UNKNOWN}; {used}"
    left_out = f"left out: outputs/it/config.yaml: {UNKNOWN}; {used}"
    assert command(["compare", "outputs/it"]) == 65
    assert capsys.readouterr().err.splitlines() == [
        left_out,
        "mlpkit: compare: every run is left out; give --plugin FILE again",
    ]
    shutil.copytree("outputs/it", "outputs/again")
    assert command(["compare", "outputs"]) == 65
    assert capsys.readouterr().err.splitlines()[0] == left_out.replace("outputs/it/", "2 runs: ")
    shutil.rmtree("outputs/again")
    for name in ("inspect", "evaluate", "compare", "plot"):
        own()
        assert command([name, "outputs/it", given]) == 0
    assert command(["predict", "outputs/it", "--values", "0,0"]) == 0
    assert command(["resume", "outputs/it", "trainer.epochs=4"]) == 0


def test_a_missing_plug_in_is_the_only_way_out(tmp_path: Path) -> None:
    """The name is right, so a similar one is not proposed."""
    (tmp_path / "environment.json").write_text('{"plugins": [{"path": "adan.py"}]}')
    problem = f"optimizer.name='adan': must be one of adam, sgd{PLUGIN_HINT}"
    said = "optimizer.name='adan': must be one of adam, sgd; this run used adan.py: add --plugin adan.py"
    assert name_plugins(f"{problem}; did you mean adam?", tmp_path) == said
    assert name_plugins(problem, tmp_path) == said


def test_a_choice_without_a_docstring_is_listed_without_a_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of its base class says nothing about it."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(LOGGER)
    assert command(["list", "logger", "--plugin=mine.py"]) == 0
    assert "  lines        (mine.py)\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "line"),
    {
        "a syntax error": ("x = (\n", "line 1: '(' was never closed"),
        "an error": (
            "\nimport no_where\n",
            "line 2: ModuleNotFoundError: No module named 'no_where'",
        ),
        "an error of many lines": ("raise ValueError('a\\nb')\n", "line 1: ValueError: a"),
        "an exit": ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
        "no choice": ("x = 1\n", 'registers nothing; put @choice("optimizer") or the like above a class'),
        "a name that is taken": (
            optimizer("adam"),
            "Still: optimizer=adam is taken by mlpkit.optimizers.adam; choose another name",
        ),
        "the group of another base class": (
            optimizer("mine").replace('@choice("optimizer")', '@choice("logger")'),
            'Still: choice("logger") is for subclasses of those in mlpkit.config.logger; write the group of '
            "its base class",
        ),
        "a null byte": ("x = 1\0\n", "source code string cannot contain null bytes"),
    }.values(),
)
def test_a_file_that_is_no_plug_in(text: str, line: str, refused: Refused, tmp_path: Path) -> None:
    Path("my.py").write_bytes(text.encode(errors="surrogateescape"))
    for arguments in (("train",), ("list",), ("predict", "nowhere")):
        assert refused(*arguments, "--plugin", "my.py", code=2) == f"--plugin=my.py: {line}"
    assert plugins.loaded() == ()


def test_what_cannot_be_imported(refused: Refused, own: Callable[[], None]) -> None:
    """A module is not looked for in the working directory."""
    Path("my_own.py").write_text(optimizer())
    Path("folder").mkdir()
    Path("folder/my_own.py").write_text(optimizer("other"))
    no_module = "no such module; a file is named by its path, such as my_plugin.py"
    for given, line in {
        "nowhere.py": "no such file",
        "folder/nowhere": "no such file",
        "./folder": "not a regular file",
        "my_own": no_module,
        "folder.my_own": no_module,
        "": no_module,
        "..": no_module,
        "json": 'registers nothing; put @choice("optimizer") or the like above a class',
    }.items():
        assert refused("list", f"--plugin={given}", code=2) == f"--plugin={given}: {line}"
    assert refused("list", "--plugin=~no_such_user/my.py", code=2).startswith(
        "~no_such_user/my.py: not a valid path ("
    )
    both = ("--plugin=my_own.py", "--plugin=folder/my_own.py")
    said = refused("list", *both, code=2)
    assert said == f"{both[1]}: {Path('my_own.py').absolute()} has the same name; rename one of them"


def test_a_file_is_imported_once(refused: Refused) -> None:
    Path("my.py").write_text(optimizer("still", "print('imported')"))
    assert command(["list", "--plugin=my.py", "--plugin", "./my.py", "init"]) == 0
    assert not Path("__pycache__").exists()


def test_resume_knows_the_file_that_was_used(
    refused: Refused, own: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path("mine.py")
    mine.write_text(optimizer())
    given = ("--plugin=mine.py",)
    assert command(["train", *given, *SMALL, "optimizer=still", "trainer.epochs=2", "run.dir=it"]) == 0
    stored = json.loads(RunFolder(Path("it")).environment.read_text())["plugins"]
    (used,) = plugins.loaded()
    assert stored == [{"path": str(mine.absolute()), "sha256": used.sha256}]
    mine.write_text(optimizer("still", "# another one"))
    old = str(used.sha256)[:12]
    own()
    capsys.readouterr()
    said = refused("resume", "it", *given, "--strict", "trainer.epochs=3", code=2)
    new = str(plugins.loaded()[0].sha256)[:12]
    line = f"plug-in mine.py '{new}' (was '{old}'): the numbers may differ from those of an uninterrupted run"
    assert said == f"--strict: {line}; go on without it, or where the run began"
    capsys.readouterr()
    assert command(["resume", "it", *given, "trainer.epochs=3"]) == 0
    assert capsys.readouterr().err == f"warning: {line}\n"
    assert command(["resume", "it", *given, "trainer.epochs=4", "--strict"]) == 0


def test_an_interrupted_run_names_the_plug_in_in_its_command(own: Callable[[], None]) -> None:
    plugins.load([str(SIGNUM)])
    assert resume_command(Path("my runs/it")) == f"mlpkit resume --plugin={SIGNUM} 'my runs/it'"


def test_a_process_refuses_a_file_that_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: Callable[[], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(optimizer())
    plugins.load(["mine.py"])
    parcel = plugins.Parcel(config("dataset=moons", "optimizer=still"))
    own()
    assert parcel.open().optimizer.name == "still"
    own()
    Path("mine.py").write_text(optimizer("still", "# another one"))
    with pytest.raises(ConfigError) as caught:
        parcel.open()
    (line,) = caught.value.args
    assert line == f"--plugin={Path('mine.py').absolute()}: the file has changed since the sweep was started"


@pytest.mark.parametrize(
    "launcher",
    [("processes",), ("slurm", "--slurm", "cluster=local")],
)
@pytest.mark.long
def test_processes_of_a_sweep_import_the_plug_ins(launcher: tuple[str, ...], tmp_path: Path) -> None:
    """They would find neither the class of the config nor the file, whose path is relative."""
    (tmp_path / "my_signum.py").write_text(SIGNUM.read_text())
    swept = ("-m", "seed=1,2", "--plugin", "my_signum.py", *QUIET, "run.dir=sweep")
    mlpkit("train", *swept, "--launcher", *launcher, cwd=tmp_path)
    plugins.load([str(tmp_path / "my_signum.py")])
    jobs = [content(path) for path in (tmp_path / "sweep").glob("*/checkpoints/last.safetensors")]
    assert [job["about"][0]["optimizer"]["name"] for job in jobs] == ["signum", "signum"]
    assert all("optimizer/layers.0.weight/exp_avg" in job["tensors"] for job in jobs)


@pytest.mark.long
def test_an_installed_package_has_plug_ins(tmp_path: Path) -> None:
    """Also of a process that has not --plugin; the file in the working directory is not imported."""
    info = tmp_path / "site" / "my_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mlpkit.plugins]\nstill = my_package.optimizers\n")
    package = tmp_path / "site" / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "optimizers.py").write_text(optimizer())
    (tmp_path / "my_package.py").write_text("raise SystemExit('imported from the working directory')\n")
    site = {"PYTHONPATH": str(tmp_path / "site")}
    assert "  still    Hardly changes weights (" in mlpkit("list", "optimizer", cwd=tmp_path, **site).stdout
    (package / "optimizers.py").write_text("import no_where\n")
    done = mlpkit("list", cwd=tmp_path, check=False, **site)
    assert (done.returncode, done.stderr) == (
        2,
        "mlpkit: plug-in still of the package my-package: ModuleNotFoundError: No module named 'no_where'\n",
    )


LOGGER = """from typing import Literal
from mlpkit.config.logger import Logger, LoggerConfig
from mlpkit.config.registry import choice

class Lines(Logger):
    def __init__(self, path, resumed_at):
        self.file = path.open("a")
        self.write("open", resumed_at)
    def write(self, *what):
        print(*what, file=self.file)
    def scores(self, record):
        self.write("scores", record.epoch, *record.scores)
    def picture(self, step, path):
        self.write("picture", step, path.name)
    def hparams(self, settings):
        self.write("hparams", settings["optimizer.lr"])
    def close(self):
        self.write("close")
        self.file.close()

@choice("logger")
class LinesFile(LoggerConfig):
    name: Literal["lines"]
    def open(self, folder, resumed_at):
        return Lines(folder / "lines.txt", resumed_at)
"""


DATASET = """
from typing import Literal
import numpy as np
from mlpkit.config.registry import choice
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.synthetic import Synthetic

@choice("dataset")
class Squares(Synthetic):
    name: Literal["squares"]
    def input_schema(self):
        return InputSchema(task="regression", features=("x",), targets=("y",), SHAPE)
    def draw(self):
        x = np.linspace(0, 1, self.n, dtype=np.float32)[:, None]
        return x, x**2
"""


def test_a_dataset_may_draw_numpy_arrays_and_its_errors_are_one_line(
    refused: Refused, own: Callable[[], None]
) -> None:
    train = ("train", "--plugin=mine.py", "dataset=squares", "model=linear", "trainer.epochs=1")
    Path("mine.py").write_text(DATASET.replace("SHAPE", ""))
    said = refused(*train, code=2)
    assert (
        said
        == "dataset=squares (mine.py): line 12: ValidationError: InputSchema: input_shape: Field required"
    )
    own()
    Path("mine.py").write_text(DATASET.replace("SHAPE", "input_shape=(1,)"))
    assert command([*train, "run.plots=false", "run.progress=none"]) == 0


def test_a_logger_of_a_plug_in_is_told_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(LOGGER)
    small = (*SMALL, "trainer.epochs=2", "run.progress=none", "run.dir=it")
    assert command(["train", "--plugin=mine.py", *small, "run.loggers=[tensorboard,lines]"]) == 0
    assert command(["resume", "it", "--plugin=mine.py", "trainer.epochs=3"]) == 0
    told = Path("it/lines.txt").read_text().splitlines()
    assert told == [
        *("open None", "scores 1 train val", "scores 2 train val", "hparams 0.001", "scores 2 test", "close"),
        *("open 2", "scores 2 train val", "scores 3 train val", "hparams 0.001", "scores 3 test", "close"),
    ]
    assert len(Path("it/metrics.jsonl").read_text().splitlines()) == 7
    assert not RunFolder(Path("it")).tensorboard.exists()


def test_a_logger_that_cannot_be_opened_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for body, why in {
        "pass": "open returns None; return a Logger",
        "return Logger()": "Logger: define scores; see Logger",
        "1 / 0": "open: line 25: ZeroDivisionError: division by zero",
    }.items():
        text = LOGGER.replace('return Lines(folder / "lines.txt", resumed_at)', body)
        Path("mine.py").write_text(text)
        assert command(["train", "--plugin=mine.py", *SMALL, "run.loggers=[lines]", "run.progress=none"]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"mlpkit: run.loggers=lines (mine.py): {why}")


def test_loggers_are_chosen_by_name(refused: Refused, capsys: pytest.CaptureFixture[str]) -> None:
    """`run.tensorboard`, of older configs and commands, takes TensorBoard away or adds it."""
    assert command(["list", "logger"]) == 0
    assert (
        "  tensorboard  TensorBoard's event files, with scores, pictures and settings\n"
        in capsys.readouterr().out
    )
    for given, loggers in {
        (): ("tensorboard",),
        ("run.tensorboard=false",): (),
        ("run.tensorboard=true",): ("tensorboard",),
        ("run.loggers=[]",): (),
        ("run.loggers=[]", "run.tensorboard=true"): ("tensorboard",),
    }.items():
        assert config(*given).run.loggers == loggers
    whole = to_dict(config())
    old = {**whole["run"], "tensorboard": False}
    del old["loggers"]
    assert parse({**whole, "run": old}).run.loggers == ()
    small = (*SMALL, "trainer.epochs=1", "run.dir=it")
    assert command(["train", *small[:-3], "run.loggers=[tensorboard]", *small[-2:]]) == 0
    assert command(["resume", "it", "trainer.epochs=2", "run.tensorboard=false"]) == 0
    assert "loggers: []" in RunFolder(Path("it")).config.read_text()
    capsys.readouterr()
    assert refused("train", "run.loggers=[tensorbord]", code=2) == (
        "run.loggers: 'tensorbord': must be one of mlflow, tensorboard (a plug-in's needs --plugin FILE); "
        "did you mean tensorboard?"
    )
    said = refused("train", "run.loggers=[tensorboard,tensorboard]", code=2)
    assert said == "run.loggers: 'tensorboard': stands there twice"
