"""A disk that fills up at any place ends a run in one line, and costs nothing that had been saved."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from running import content, train

from faults.counts import count
from faults.small_disks import FileSizeLimit, Tmpfs, Unmountable
from mlpkit.cli.main import run as command
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder

SETTINGS = (
    "dataset=moons",
    "dataset.n=60",
    "model=mlp",
    "model.hidden=[16]",
    "optimizer.lr=0.3",
    "trainer.batch_size=12",
    "trainer.epochs=7",
    "trainer.checkpoint_every=2",
)
PICTURES = ("boundary.png", "confusion.png", "curves.png")

# What a line says after the path.
REASONS = re.compile(
    r"cannot (write \d+ bytes|be opened for writing|be written) \(.+\); "
    r"(free some space|raise the largest size of a file \(ulimit -f\)|choose a place that can be written to)"
    r"|cannot make the run folder \(.+\); choose another run\.root"
)

Captured = pytest.CaptureFixture[str]


@dataclass
class Place:
    """A small disk, and what an uninterrupted run leaves on it.

    Attributes:
        disk: on which the room can be set.
        folder: of the run, which is not there yet.
        wanted: the run's checkpoints by name.
        metrics: its lines, without their times.
        sizes: the room that it needs without pictures, and with them.
    """

    disk: Tmpfs | FileSizeLimit
    folder: RunFolder
    wanted: dict[str, bytes] = field(default_factory=dict)
    metrics: list[dict[str, object]] = field(default_factory=list)
    sizes: tuple[int, int] = (0, 0)

    def train(self, *settings: str) -> int:
        root = self.folder.path.parent
        where = (f"run.root={root}", f"run.dir={self.folder.path}", "run.resume=auto", "run.progress=none")
        return command(["train", *SETTINGS, *where, *settings])


@pytest.fixture(scope="module", params=["tmpfs", pytest.param("file size limit", marks=pytest.mark.long)])
def module_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    path = tmp_path_factory.mktemp("disk") / "disk"
    try:
        disk = Tmpfs(path) if request.param == "tmpfs" else FileSizeLimit(path)
    except Unmountable as error:
        pytest.skip(str(error))
    try:
        place = Place(disk, RunFolder(path / "runs" / "run"))
        assert place.train() == 0
        total = disk.needed_by(place.folder.path)
        shutil.rmtree(path / "runs")
        assert place.train("run.plots=false") == 0
        place.sizes = (disk.needed_by(place.folder.path), total)
        place.wanted = checkpoints(place.folder)
        place.metrics = metrics(place.folder)
        yield place
    finally:
        disk.close()


@pytest.fixture
def place(module_place: Place) -> Iterator[Place]:
    """An empty disk."""
    module_place.disk.relax()
    shutil.rmtree(module_place.folder.path.parent, ignore_errors=True)
    yield module_place
    module_place.disk.relax()


def checkpoints(folder: RunFolder) -> dict[str, object]:
    return {path.name: content(path) for path in sorted(folder.last.parent.iterdir())}


def metrics(folder: RunFolder) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def check_refusal(place: Place, code: int, captured: Captured) -> None:
    """One line; what is left is whole."""
    said = captured.readouterr().err
    assert code == 74, said
    found = re.fullmatch(rf"mlpkit: ({re.escape(str(place.disk.path))}[^:\n]*): (.*)\n", said)
    assert found and REASONS.fullmatch(found[2]), said
    check_what_is_left(place)


def check_what_is_left(place: Place) -> None:
    left = [
        path for path in place.disk.path.rglob(".*") if path.name.endswith(".tmp") or path.name == ".lock"
    ]
    assert not left
    folder = place.folder
    for path in (folder.last, folder.best, *folder.older()):
        if path.exists():
            checkpoint.load(path, checkpoint.KINDS)


def is_described(folder: RunFolder) -> bool:
    """Whether the run got as far as its config; before that, `train run.resume=auto` begins it."""
    return folder.config.exists() and folder.config.stat().st_size > 0


def check_the_way_on(place: Place, captured: Captured, *settings: str) -> None:
    """With room again, the run ends as if nothing had happened."""
    place.disk.relax()
    folder = place.folder
    code = command(["resume", str(folder.path)]) if is_described(folder) else place.train(*settings)
    said = captured.readouterr().err
    assert code == 0, said
    assert all("what machine the run has had is not known" in line for line in said.splitlines()), said
    assert checkpoints(folder).keys() == place.wanted.keys()
    if "run.plots=false" in settings:
        assert checkpoints(folder) == place.wanted
    assert metrics(folder) == place.metrics
    assert json.loads(folder.summary.read_text())["status"] == "done"


WITHOUT = count(4, 40)
WITH = 10


@pytest.mark.sampled(4)
@pytest.mark.parametrize("case", range(WITHOUT))
def test_no_room_for_what_is_recorded(place: Place, case: int, capsys: Captured) -> None:
    size = place.sizes[0] * case // WITHOUT
    place.disk.leave(size)
    check_refusal(place, place.train("run.plots=false"), capsys)
    if is_described(place.folder):  # again, with a little more room
        place.disk.leave(place.sizes[0] // 5 if isinstance(place.disk, Tmpfs) else size + 500)
        code = command(["resume", str(place.folder.path)])
        if code:
            check_refusal(place, code, capsys)
        capsys.readouterr()
    check_the_way_on(place, capsys, "run.plots=false")


@pytest.mark.long
@pytest.mark.parametrize("case", range(WITH))
def test_no_room_for_the_pictures(place: Place, case: int, capsys: Captured) -> None:
    low, high = place.sizes
    place.disk.leave(low + (high - low) * (2 * case + 1) // (2 * WITH))
    check_refusal(place, place.train(), capsys)
    summary = json.loads(place.folder.summary.read_text())
    assert summary["status"] == "done"  # what stops the pictures does not take the scores away
    check_the_way_on(place, capsys)
    assert command(["plot", str(place.folder.path)]) == 0  # for resume, the run has been done
    for name in PICTURES:
        assert (place.folder.plots / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("number", range(count(3, 14)))
def test_no_room_for_names(place: Place, number: int, capsys: Captured) -> None:
    if not isinstance(place.disk, Tmpfs):
        pytest.skip("needs a file system of its own")
    number = number * 14 // count(3, 14)
    place.disk.leave_names(number)
    code = place.train("run.plots=false")
    if code:
        check_refusal(place, code, capsys)
    else:
        assert number > 10
    check_the_way_on(place, capsys, "run.plots=false")


def test_no_room_to_draw_again(place: Place, capsys: Captured) -> None:
    assert place.train("run.plots=false") == 0
    before = checkpoints(place.folder)
    place.disk.leave(4096)
    check_refusal(place, command(["plot", str(place.folder.path)]), capsys)
    assert checkpoints(place.folder) == before


def test_a_read_only_disk(tmp_path: Path, capsys: Captured) -> None:
    try:
        disk = Tmpfs(tmp_path / "disk")
    except Unmountable as error:
        pytest.skip(str(error))
    try:
        folder = train(disk.path / "runs", *SETTINGS, "run.plots=false")
        place, run = Place(disk, RunFolder(disk.path / "runs" / "run")), str(folder.path)
        files = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
        capsys.readouterr()
        disk.make_read_only()
        check_refusal(place, place.train("run.plots=false"), capsys)
        for arguments in (["resume", run, "trainer.epochs=9"], ["resume", run], ["plot", run]):
            check_refusal(place, command(arguments), capsys)
        for arguments in (["predict", run, "--values", "0.3,0.5"], ["evaluate", run], ["inspect", run]):
            assert command(arguments) == 0
            assert capsys.readouterr().err == ""
        assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == files
    finally:
        disk.close()
