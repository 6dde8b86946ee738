# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Virtual machines for tests: made of Debian's packages, started under QEMU, reached by ssh on a loopback port.

    machine.py build 12 13 --variant plain     make disks side by side; `start` makes what is missing, too
    machine.py tree 12                         an archive of a root directory of Debian with systemd
    machine.py start NAME --release 12         from a fresh copy of the disk, or from its own if it has one
    machine.py ssh NAME COMMAND...             run a command in it
    machine.py copy NAME                       put this checkout into it, as /srv/hull.engine
    machine.py reboot|kill|stop|remove NAME    kill is a power cut; only remove takes its disk away
    machine.py info NAME                       JSON: how it is reached

A machine's directory is `CACHE/running/NAME`. It sees nothing of the network but what is connected to its port.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import disks

START_S = 900.0
STOP_S = 180.0
USER = "root"
HOST = "127.0.0.1"
IN_MACHINE = "/srv/hull.engine"


class Refused(Exception):
    """What was asked for is not possible; says why."""


class Machine:
    """One virtual machine, by its name. Its directory has `machine.json`, the disk, and `console.log`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = disks.cache() / "running" / name

    def exists(self) -> bool:
        """Whether it was started and not removed."""
        return (self.directory / "machine.json").exists()

    def facts(self) -> dict[str, object]:
        """How it was made and how it is reached."""
        if not self.exists():
            raise Refused(f"machine {self.name}: there is none; `machine.py start {self.name}` makes it")
        return {**json.loads((self.directory / "machine.json").read_text()), "running": bool(self.pid())}

    def pid(self) -> int:
        """Of the virtual machine's process; 0 if it does not run."""
        try:
            pid = int((self.directory / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return 0
        return pid if os.fsencode(self.directory) in command else 0

    def start(self, release: str, variant: str, memory: int, cpus: int, append: str) -> None:
        """Boot it and wait until it lets someone in; a machine that runs is left as it is."""
        if not self.exists():
            self._create(release, variant, memory, cpus, append)
        if not self.pid():
            self._boot()
        self.wait()

    def _create(self, release: str, variant: str, memory: int, cpus: int, append: str) -> None:
        disk = disks.disk(release, variant)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        overlay = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(disk / "disk.img")]
        subprocess.run([*overlay, str(self.directory / "disk.qcow2")], check=True)
        facts = {
            "name": self.name,
            "release": release,
            "variant": variant,
            "host": HOST,
            "port": _free_port(),
            "user": USER,
            "key": str(disk / "key"),
            "kernel": str(disk / "vmlinuz"),
            "append": append,
            "memory": memory,
            "cpus": cpus,
        }
        (self.directory / "machine.json").write_text(json.dumps(facts, indent=2) + "\n")

    def _boot(self) -> None:
        facts = self.facts()
        # Code that QEMU has translated serves again only at the same address: without random ones a new process takes
        # a quarter of the time.
        arguments = (
            "root=/dev/nvme0n1 rw console=ttyS0 quiet norandmaps systemd.getty_auto=no"
            f" systemd.hostname={self.name} {facts['append']}"
        )
        subprocess.run(
            [
                *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-display", "none", "-daemonize"),
                *("-m", str(facts["memory"]), "-smp", str(facts["cpus"]), "-pidfile", str(self.directory / "pid")),
                *("-kernel", str(facts["kernel"]), "-append", arguments),
                *("-drive", f"file={self.directory}/disk.qcow2,if=none,id=disk", "-device", "nvme,drive=disk,serial=0"),
                *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{HOST}:{facts['port']}-:22"),
                *("-device", "virtio-net-pci,netdev=net,romfile="),
                *("-device", "virtio-rng-pci", "-serial", f"file:{self.directory}/console.log"),
            ],
            stdin=subprocess.DEVNULL,
            check=True,
        )

    def wait(self, unlike: str = "") -> None:
        """Until it lets someone in, after another boot than the one that is named."""

        def is_up() -> bool:
            if not self.pid():
                raise Refused(f"machine {self.name}: it ended while it started{self._console()}")
            return self.boot_id() not in ("", unlike)

        if not _becomes_true(is_up, START_S):
            raise Refused(f"machine {self.name}: no answer within {START_S:.0f} s{self._console()}")

    def boot_id(self) -> str:
        """Which boot this is; empty if nobody answers."""
        command = self.ssh_command("cat", "/proc/sys/kernel/random/boot_id")
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        return done.stdout.strip()

    def ssh_command(self, *command: str) -> list[str]:
        """The command that runs one in the machine."""
        facts = self.facts()
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=20")
        ssh = ["ssh", "-F", "none", "-i", str(facts["key"]), "-p", str(facts["port"])]
        return [*ssh, *(word for option in options for word in ("-o", option)), f"{USER}@{HOST}", *command]

    def run(self, script: str, **how: object) -> subprocess.CompletedProcess[bytes]:
        """Run a line of shell in the machine."""
        return subprocess.run(self.ssh_command(script), **how)  # type: ignore[call-overload,no-any-return]

    def copy(self) -> None:
        """Put the files of this checkout into it, also those that are not committed."""
        listing = ["git", "-C", str(disks.CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, stdout=subprocess.PIPE, check=True).stdout.split(b"\0")
        there = b"\0".join(
            name for name in names if name and os.path.lexists(os.path.join(os.fsencode(disks.CHECKOUT), name))
        )
        pack = ["tar", "-C", str(disks.CHECKOUT), "--null", "--no-recursion", "-T", "-", "-cf", "-"]
        archive = subprocess.run(pack, input=there, stdout=subprocess.PIPE, check=True).stdout
        unpack = f"rm -rf {IN_MACHINE} && mkdir -p {IN_MACHINE} && tar -C {IN_MACHINE} --no-same-owner -xf -"
        self.run(unpack, input=archive, check=True)

    def reboot(self) -> None:
        """As its administrator would, and wait until it is back."""
        before = self.boot_id()
        self.run("systemctl reboot", stdin=subprocess.DEVNULL)
        self.wait(unlike=before)

    def kill(self) -> None:
        """Cut its power: what it had not yet written to its disk is lost, and what the disk had not been told to keep.

        QEMU's NVMe disk says that it can write through its cache (FUA) and does not. The last block that `sync` writes
        is the commit of the journal: as the first one of a cluster of the overlay it is lost, with what it commits.
        Another `sync` has it kept, since its flush comes after that write.
        """
        if pid := self.pid():
            os.kill(pid, signal.SIGKILL)
            if not _becomes_true(lambda: not self.pid(), STOP_S):
                raise Refused(f"machine {self.name}: process {pid} survives SIGKILL")

    def stop(self) -> None:
        """Shut it down; cut its power if that takes too long."""
        if self.pid():
            self.run("systemctl poweroff", stdin=subprocess.DEVNULL)
        if not _becomes_true(lambda: not self.pid(), STOP_S):
            self.kill()
            raise Refused(f"machine {self.name}: it did not shut down within {STOP_S:.0f} s{self._console()}")

    def remove(self) -> None:
        """Cut its power and take its disk away; nothing happens if there is none."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _console(self) -> str:
        try:
            lines = (self.directory / "console.log").read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(["; its console:", *lines[-30:]])


def _becomes_true(condition: Callable[[], bool], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _build(releases: list[str], variant: str) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for directory in pool.map(lambda release: disks.disk(release, variant), releases):
            print(directory)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    build = verbs.add_parser("build", help="make disks")
    build.add_argument("releases", nargs="+", choices=disks.RELEASES, metavar="RELEASE")
    tree = verbs.add_parser("tree", help="make an archive of a root directory")
    tree.add_argument("release", choices=disks.RELEASES, metavar="RELEASE")
    start = verbs.add_parser("start", help="boot a machine and wait until it is reached")
    start.add_argument("name")
    start.add_argument("--release", choices=disks.RELEASES, default="12")
    start.add_argument("--memory", type=int, default=2048, metavar="MIB")
    start.add_argument("--cpus", type=int, default=2)
    start.add_argument("--append", default="", help="more for the kernel's command line")
    for verb in (build, start):
        verb.add_argument("--variant", choices=disks.VARIANTS, default="plain")
    ssh = verbs.add_parser("ssh", help="run a command in a machine, or a shell")
    ssh.add_argument("name")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    for name, about in (
        ("copy", "put this checkout into a machine"),
        ("wait", "wait until a machine is reached"),
        ("reboot", "reboot a machine and wait until it is back"),
        ("kill", "cut a machine's power"),
        ("stop", "shut a machine down"),
        ("remove", "cut a machine's power and take its disk away"),
        ("info", "tell how a machine is reached"),
    ):
        verbs.add_parser(name, help=about).add_argument("name")
    return parser.parse_args()


def _perform(given: argparse.Namespace) -> None:
    if given.verb == "build":
        return _build(given.releases, given.variant)
    if given.verb == "tree":
        return print(disks.tree(given.release))
    machine = Machine(given.name)
    if given.verb == "start":
        machine.start(given.release, given.variant, given.memory, given.cpus, given.append)
    if given.verb == "ssh":
        command = machine.ssh_command(*([shlex.join(given.command)] if len(given.command) > 1 else given.command))
        os.execvp(command[0], command)
    if given.verb in ("start", "info"):
        print(json.dumps(machine.facts(), indent=2))
        return None
    verbs = {
        "copy": machine.copy,
        "wait": machine.wait,
        "reboot": machine.reboot,
        "kill": machine.kill,
        "stop": machine.stop,
        "remove": machine.remove,
    }
    return verbs[given.verb]()


def main() -> int:
    """Do what the command line says."""
    try:
        _perform(_arguments())
    except (Refused, disks.Unbuildable) as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} ended with {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
