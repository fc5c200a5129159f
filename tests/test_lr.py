"""lr: the stable range of learning rates and the suggested one."""

import json
from pathlib import Path

import pytest
from conftest import Refused

from mlpkit.analysis.lr_range import judge
from mlpkit.cli.main import run as command
from mlpkit.folders.found_runs import find_runs


def test_the_range_around_the_best_rate_is_stable() -> None:
    losses = {0.1: [0.5, 0.2], 0.01: [0.3, 0.3], 0.001: [0.7, 0.6], 1.0: [0.1, None], 10.0: [0.4, 0.4]}
    found = judge(losses, untrained=0.8)
    assert list(found.losses) == [0.001, 0.01, 0.1, 1.0, 10.0]
    assert (found.stable, found.suggested) == ((0.001, 0.1), 0.01)
    assert judge({0.1: [0.9, 0.5], 0.2: [None, None]}, untrained=0.8).suggested is None


@pytest.mark.long
def test_rates_that_diverge_are_shown_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    setting = ("dataset=line", "model=linear", "optimizer=sgd", "run.dir=outputs/a/rates")
    assert command(["lr", *setting, "--from", "1e-3", "--to", "100"]) == 0
    printed = capsys.readouterr().out.splitlines()
    table = [line.split() for line in printed if line.endswith(" of 3") or len(line.split()) == 4]
    rows = [row for row in table if row[0].replace(".", "").replace("e-", "").isdigit()]
    assert len(rows) == 32
    assert rows[-1][-3:] == ["3", "of", "3"]
    (stable,) = [line for line in printed if line.startswith("stable: 0.001 to ")]
    highest = float(stable.split()[3])
    assert 0.01 < highest < 0.1
    (suggested,) = [line for line in printed if line.startswith("suggested: optimizer.lr=")]
    assert 0.001 < float(suggested.partition("=")[2].split()[0]) <= highest
    sweep = Path("outputs/a/rates")
    assert len(find_runs([sweep], print)) == 96
    assert (sweep / "plots" / "lr.png").stat().st_size > 10_000
    assert json.loads((sweep / "labels.json").read_text())["tags"] == ["lr"]


def test_lr_refuses(refused: Refused) -> None:
    line = ("dataset=line", "model=linear")
    rule = "must be above 0, and the first below the second"
    assert refused("lr", *line, "--from", "1", "--to", "0.1", code=2) == f"--from=1.0 --to=0.1: {rule}"
    assert "given twice" in refused("lr", *line, "optimizer.lr=0.1", code=2)
    assert refused("lr", *line, "optimizer.lrr=0.1", code=2).startswith("optimizer.lrr: unknown key; ")
