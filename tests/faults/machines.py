"""Two machines and their network, in one: Linux namespaces with own networks, host names and processes."""

import shutil
import subprocess
import time
from pathlib import Path

from faults.processes import LIMIT, WITH_PARENT

PROGRAMS = ("unshare", "nsenter", "setpriv", "ip")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
NAMESPACES = ("--net", "--uts", "--mount", "--pid")
if not MISSING and subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], capture_output=True).returncode:
    MISSING.append("the right to make namespaces")
# Shared memory and the files that Ray keeps for a machine are not shared either.
BOOT = """
hostname "$1" && ip link set lo up && mount --bind "$2" /etc/hosts && mount -t tmpfs none /dev/shm &&
    mkdir -p /tmp/ray && mount -t tmpfs none /tmp/ray && exec sleep infinity
"""


class Machine:
    """A machine of its own, but for its processors and the rest of its files.

    Attributes:
        name: its host name.
        address: in the network.
        folder: working directory of its processes.
        log: what its processes say.
        enter: the words before a command that run it on this machine.
    """

    def __init__(self, name: str, address: str, folder: Path, hosts: Path) -> None:
        self.name, self.address, self.folder = name, address, folder
        self.log = folder / f"{name}.log"
        self._started: list[subprocess.Popen[bytes]] = []
        self._starter = subprocess.Popen(
            [*WITH_PARENT, "unshare", *NAMESPACES, "--mount-proc", "--kill-child", "sh", "-c", BOOT,
             "sh", name, str(hosts)]
        )  # fmt: skip
        children = Path(f"/proc/{self._starter.pid}/task/{self._starter.pid}/children")
        deadline = time.monotonic() + LIMIT
        while not (found := children.read_text().split()) or _program(found[0]) != "sleep":
            assert self._starter.poll() is None and time.monotonic() < deadline, f"{name} does not start"
        self.number = found[0]
        self.enter = ("nsenter", f"--target={self.number}", *NAMESPACES, "--", "env", f"--chdir={folder}")

    def say(self, *command: str) -> str:
        """Run a command here, and return what it prints."""
        done = self.run(*command)
        assert done.returncode == 0, f"{self.name}: {command}: {done.stderr}"
        return done.stdout

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command here, which may fail."""
        return subprocess.run([*self.enter, *command], capture_output=True, text=True, timeout=LIMIT)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command, which is ended when the machine is lost."""
        with self.log.open("ab") as log:
            self._started.append(subprocess.Popen([*self.enter, *command], stdout=log, stderr=log))
        return self._started[-1]

    def lose(self) -> None:
        """End all its processes at once. Its system closes their connections."""
        self._starter.kill()
        for process in (self._starter, *self._started):
            process.wait()


class Network:
    """A switch, and two machines on it: node1 (10.0.0.1) and node2 (10.0.0.2)."""

    def __init__(self, folder: Path) -> None:
        hosts = folder / "hosts"
        names = {"10.0.0.1": "node1", "10.0.0.2": "node2"}
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{at} {name}\n" for at, name in names.items()))
        self._switch = Machine("switch", "", folder, hosts)
        self.machines = [Machine(name, address, folder, hosts) for address, name in names.items()]
        self._switch.say("ip", "link", "add", "bridge", "type", "bridge")
        self._switch.say("ip", "link", "set", "bridge", "up")
        for machine in self.machines:
            here, there = ("eth0", "netns", machine.number), (machine.name, "netns", self._switch.number)
            cable = ("ip", "link", "add", *here, "type", "veth", "peer", "name", *there)
            subprocess.run(cable, check=True)
            self._switch.say("ip", "link", "set", machine.name, "master", "bridge", "up")
            machine.say("ip", "address", "add", f"{machine.address}/24", "dev", "eth0")
            machine.say("ip", "link", "set", "eth0", "up")

    def lose(self, machine: Machine) -> None:
        """Cut a machine off from the network, and then from its power: its peers hear no word of it."""
        self._switch.say("ip", "link", "set", machine.name, "down")
        machine.lose()

    def end(self) -> None:
        """End all that runs there."""
        for machine in (*self.machines, self._switch):
            machine.lose()


def _program(number: str) -> str:
    return Path(f"/proc/{number}/comm").read_text().strip()
