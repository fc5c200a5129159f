"""A real Slurm, whose daemons run for the tests alone."""

import getpass
import importlib.util
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.processes import WITH_PARENT

PROGRAMS = ("munged", "slurmctld", "slurmd")
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
MISSING = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
if importlib.util.find_spec("submitit") is None:
    MISSING.append("submitit")
NEEDS_SLURM = pytest.mark.skipif(
    bool(MISSING), reason=f"needs {' and '.join(MISSING)} (Debian: slurm-wlm, munge; PyPI: submitit)"
)

# KillWait: how long a cancelled job has to save its runs. SlurmdTimeout: when a silent node counts as down.
CONFIG = """\
ClusterName=test
SlurmctldHost={nodes[0].name}({nodes[0].address})
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
KillWait=10
SlurmdTimeout=10
PartitionName=all Nodes=ALL Default=YES
"""


@dataclass(frozen=True)
class Node:
    """Where daemons run.

    Attributes:
        name: its host name.
        address: of its network interface.
        cores: that Slurm has there.
        enter: the words before a command that run it there.
    """

    name: str
    address: str
    cores: int
    enter: tuple[str, ...] = ()


def start_slurm(folder: Path, nodes: Sequence[Node], stack: ExitStack) -> Path:
    """Start a cluster, whose first node is its head too; return its slurm.conf.

    Args:
        folder: of its files, which all nodes see.
        nodes: at least one.
        stack: ends the daemons.
    """
    (folder / "state").mkdir()
    with socket.create_server(("", 0)) as first, socket.create_server(("", 0)) as second:
        ports = [each.getsockname()[1] for each in (first, second)]
    config = folder / "slurm.conf"
    text = CONFIG.format(nodes=nodes, ports=ports, user=getpass.getuser(), folder=folder)
    of_nodes = (f"NodeName={of.name} NodeAddr={of.address} CPUs={of.cores}\n" for of in nodes)
    config.write_text(text + "".join(of_nodes))
    key, place = folder / "munge.key", folder / "munge.socket"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    own = (f"--{kind}-file={folder}/munge.{kind}" for kind in ("pid", "log", "seed"))
    munged = _start(stack, config, "munged", "-F", "-f", f"--key-file={key}", f"--socket={place}", *own)
    while not place.exists():
        assert munged.poll() is None, (folder / "daemons.log").read_text()
    _start(stack, config, *nodes[0].enter, "slurmctld", "-D")
    for node in nodes:
        (folder / f"spool-{node.name}").mkdir()
        _start(stack, config, *node.enter, "slurmd", "-D")
    return config


def _start(stack: ExitStack, config: Path, *command: str) -> subprocess.Popen[bytes]:
    log = stack.enter_context((config.parent / "daemons.log").open("ab"))
    environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(config)}
    daemon = subprocess.Popen([*WITH_PARENT, *command], stdout=log, stderr=log, env=environment)
    stack.callback(_end, daemon)
    return daemon


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
