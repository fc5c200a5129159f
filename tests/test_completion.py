"""The scripts of `mlpkit completion` in real shells, in which no program can be started."""

import os
import pty
import re
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from mlpkit.cli.main import run as command

# What is typed, with tabs, and the arguments that mlpkit gets.
TYPED = {
    "mlpkit pred\t": "predict",
    "mlpkit train optimizer=sg\t": "train optimizer=sgd",
    "mlpkit train optimizer=mi\t": "train optimizer=mine",  # the user's own
    "mlpkit train trainer.prec\tfloat3\t": "train trainer.precision=float32",  # no space in between
    "mlpkit train dataset=mo\tmodel=ml\t": "train dataset=moons model=mlp",
    "mlpkit train -m optimizer=adam,sg\t": "train -m optimizer=adam,sgd",
    "mlpkit train --launcher ve\t": "train --launcher vectorized",
    "mlpkit train --launcher=ve\t": "train --launcher=vectorized",
    "mlpkit train --config conf\t": "train --config configs",
    "mlpkit list opt\t": "list optimizer",
    "mlpkit resume trainer.ep\t9": "resume trainer.epochs=9",
    "mlpkit resume optimizer.l\t": "resume optimizer.l",  # must stay as it is
    "mlpkit evaluate dataset.noi\t0": "evaluate dataset.noise=0",
    "mlpkit predict conf\t": "predict configs",
    "mlpkit completion fi\t": "completion fish",
}
SHOW = "PS1='> ' PATH=/nowhere\nmlpkit() { printf '<%s>\\n' \"$*\"; }\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an optimizer of the user's own, which is the working directory."""
    mine = tmp_path / "configs" / "optimizer" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("name: sgd\nlr: 0.1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert command(["completion", shell]) == 0
    return capsys.readouterr().out


def arguments(shell: list[str], environment: dict[str, str]) -> list[str]:
    """Type all lines into a shell on a terminal; return what mlpkit is called with."""
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe(shell[0], shell, {**os.environ, "TERM": "dumb", **environment})
    said = b""
    try:
        for number, line in enumerate(TYPED):
            os.write(terminal, f"{line}\n".encode())
            while len(re.findall(rb"<(.*)>\r", said)) <= number:
                assert select.select([terminal], [], [], 60)[0], said
                said += os.read(terminal, 65536)  # an error where the shell has ended
    finally:
        os.close(terminal)
        os.waitpid(process, 0)
    return [found.decode() for found in re.findall(rb"<(.*?)/?>\r", said)]  # zsh takes away a last slash


def test_bash(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "rc").write_text(f"{SHOW}{script('bash', capsys)}")
    assert arguments(["bash", "--noprofile", "--rcfile", "rc", "-i"], {}) == list(TYPED.values())


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = "autoload -Uz compinit\ncompinit -u -D\n"
    (here / ".zshrc").write_text(f"{start}{SHOW}{script('zsh', capsys)}")
    assert arguments(["zsh", "-d", "-i"], {"ZDOTDIR": str(here)}) == list(TYPED.values())


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mlpkit.fish").write_text(script("fish", capsys))
    asked = {line: line.partition("\t")[0] for line in TYPED if line.count("\t") == 1}
    lines = "".join(f"complete -C '{asked[line]}'\necho .\n" for line in asked)
    (here / "lines.fish").write_text(f"source mlpkit.fish\nset PATH /nowhere\n{lines}")
    done = subprocess.run(["fish", "--no-config", "lines.fish"], capture_output=True, text=True)
    assert done.stderr == ""
    for line, found in zip(asked, done.stdout.removesuffix(".\n").split(".\n"), strict=True):
        before, wanted = asked[line].split()[-1], TYPED[line].split()[-1].rstrip("09")
        assert (wanted in found.replace("/", "").split()) == (wanted != before), line


def test_another_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["completion", "tcsh"]) == 2
    assert capsys.readouterr().err == "mlpkit: completion tcsh: must be bash, zsh or fish\n"
