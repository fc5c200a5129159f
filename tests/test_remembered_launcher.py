"""launcher.json: a sweep's launcher is taken from its folder only if it is the user's own."""

from pathlib import Path

import pytest

from mlpkit.errors import ConfigError
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.sweeps.launchers import LauncherOptions
from mlpkit.sweeps.remembered import recall, remember
from mlpkit.system.plain_json import write_json

AWAY = {"name": "dask", "runs_per_job": 3, "address": "tcp://203.0.113.1:8786", "workers": None}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return SweepFolder(tmp_path)


def test_what_was_typed_before_is_remembered(folder: SweepFolder) -> None:
    assert recall(folder) is None
    for options in (
        LauncherOptions("dask", runs_per_job="3", address="tcp://203.0.113.1:8786"),
        LauncherOptions("slurm", slurm=("partition=gpu", "timeout_min=30")),
        LauncherOptions("processes", workers=2),
    ):
        remember(folder, options.config())
        assert recall(folder) == options.config()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            AWAY,
            "names --launcher=dask with settings that you have not used before; "
            "give --launcher and them again, or --launcher=vectorized",
        ),
        ({**AWAY, "address": 1}, "not the settings of --launcher=dask; give them again"),
        ({**AWAY, "name": "own"}, "name=own: no such launcher; give the --plugin that has it, or --launcher"),
        ({"name": ["dask"]}, "name=['dask']: no such launcher; give the --plugin that has it, or --launcher"),
    ],
)
def test_what_the_folder_alone_says_is_refused(
    content: dict[str, object], said: str, folder: SweepFolder
) -> None:
    write_json(folder.launcher, content)
    with pytest.raises(ConfigError) as refused:
        recall(folder)
    assert str(refused.value) == f"{folder.launcher}: {said}"


def test_the_same_launcher_with_other_settings_was_not_typed(folder: SweepFolder) -> None:
    remember(folder, LauncherOptions("dask", runs_per_job="3", address="tcp://203.0.113.2:8786").config())
    write_json(folder.launcher, AWAY)
    with pytest.raises(ConfigError, match="have not used before"):
        recall(folder)
