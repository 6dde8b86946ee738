# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The role `host` with all that it does to a machine: Debian with systemd, bare, in a container of the engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.teardown import tear_down

from tests.integration.conftest import Playbooks

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.path.exists("/usr/sbin/debootstrap"), reason="needs debootstrap"),
    pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh"),
]

ROOT = Path(__file__).resolve().parents[2]
PLAYS = Path(__file__).with_name("playbooks") / "host"
SSH = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlMaster=auto -o ControlPersist=60s"
# As in extensions/molecule/containers/create.yml, and loop devices.
INIT = """
    set -e
    mount --bind /proc/sys /proc/sys
    mount --bind /proc/sys/net /proc/sys/net
    mount -o remount,bind,ro /proc/sys
    mount -o remount,bind,ro /sys
    mknod /dev/loop-control c 10 237
    for number in $(seq 0 63); do mknod /dev/loop$number b 7 $number; done
    exec /sbin/init SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
"""
BUSYBOX = """
    mkdir -p /run/tree/bin && cp /bin/busybox /run/tree/bin && ln -s busybox /run/tree/bin/sleep
    tar -C /run/tree -c . | hull import - small:1
"""


class Machine:
    """The machine, and the role on it."""

    def __init__(self, directory: Path, packed_modules: Path) -> None:
        self.directory = directory
        self.playbooks = Playbooks(directory, packed_modules, {})
        paths = self.playbooks.paths
        self._hull = [f"{ROOT}/bin/hull", "--root", paths.root, "--run", paths.run, "--config", paths.config]

    def boot(self) -> None:
        tree = [sys.executable, f"{ROOT}/tests/machines/machine.py", "tree", "12"]
        archive = subprocess.run(tree, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
        self.hull("import", "-c", "ENV container=hull", "-c", "STOPSIGNAL SIGRTMIN+3", archive, "debian:12")
        key = self.directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        # No layer of an overlay can be written to where a file system is one itself: that is so for all but /var/lib.
        volumes = ("-v", "lib:/var/lib", "-v", f"{key}.pub:/root/.ssh/authorized_keys:ro")
        limits = ("--memory", "2g", "--pids-limit", "4096")
        self.hull("run", "-d", "--name", "machine", "--privileged", *volumes, *limits, "debian:12", "sh", "-c", INIT)
        deadline = time.monotonic() + 120
        while self.run("systemctl is-system-running", check=False) not in ("running", "degraded"):
            assert time.monotonic() < deadline, self.run("systemctl list-jobs --no-pager", check=False)
            time.sleep(0.2)
        address = self.hull("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "machine")
        (self.directory / "inventory").write_text(
            f"machine ansible_host={address} ansible_user=root ansible_ssh_private_key_file={key}"
            f" ansible_ssh_common_args='{SSH}' ansible_python_interpreter=/usr/bin/python3\n"
        )

    def hull(self, *words: str, check: bool = True) -> str:
        done = subprocess.run([*self._hull, *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 or not check, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def run(self, script: str, *, check: bool = True) -> str:
        """The output of a script in it."""
        return self.hull("exec", "machine", "sh", "-ec", script, check=check)

    def play(self, name: str = "role.yml", *arguments: str, **variables: Any) -> int:
        """How many tasks changed something."""
        inventory = ("-i", str(self.directory / "inventory"))
        output = self.playbooks.run(PLAYS / name, *inventory, "-e", json.dumps(variables), *arguments)
        found = re.search(r"^machine .* changed=(\d+) ", output, re.MULTILINE)
        assert found, output
        return int(found[1])

    def files(self) -> str:
        """What lies where the role writes, with the times of changes."""
        places = "/etc /opt /srv /usr/local /var/lib/hull* /run/hull*"
        return self.run(f"find {places} -xdev -printf '%p %T@ %s\\n' 2>/dev/null | sort")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, packed_modules: Path) -> Iterator[Machine]:
    """One machine for all, which every test leaves bare again."""
    made = Machine(tmp_path_factory.mktemp("machine"), packed_modules)
    try:
        made.boot()
        yield made
    finally:
        with Engine(made.playbooks.paths) as engine:
            tear_down(engine, force=True)


def test_check_mode_is_clean_on_a_bare_machine(machine: Machine) -> None:
    before = machine.files()
    variables = {"host_root_filesystem": {"image": "/srv/hull.img", "size": "64M"}, "host_pyroute2": "venv"}
    assert machine.play("role.yml", "--check", "--diff", **variables) > 10
    assert machine.files() == before


def test_what_cannot_work_is_refused_first_with_the_reason_and_the_cure(machine: Machine) -> None:
    machine.run(
        "nft add table inet own && nft 'add chain inet own f { type filter hook forward priority 0; policy drop; }'"
    )
    # Nothing but the signature and one entry of a table of partitions, as sfdisk would write it.
    entry = "\\000\\000\\002\\000\\203\\003\\040\\014\\000\\010\\000\\000\\000\\140\\000\\000"
    machine.run(
        f"truncate -s 16M /srv/partitioned && printf '{entry}' | dd of=/srv/partitioned bs=1 seek=446 conv=notrunc"
        " && printf '\\125\\252' | dd of=/srv/partitioned bs=1 seek=510 conv=notrunc"
    )
    device = machine.run("losetup --find --show /srv/partitioned")
    try:
        before = machine.files()
        assert machine.play("refusals.yml", partitioned=device) == 0
        assert machine.files() == before
        packed = list(machine.playbooks.packed_modules.glob("*engine_info-*[!k]"))
        assert packed and all(file.stat().st_size < 500_000 for file in packed), (
            "it brings nothing that starts containers"
        )
    finally:
        machine.run(f"losetup --detach {device}; rm /srv/partitioned; nft delete table inet own")
