# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The role `host` with all that it does to a machine: Debian with systemd, bare, in a container of the engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
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
from tests.support.authority import Authority

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
    mkdir -p /run/tree/bin && cd /run/tree/bin && cp /bin/busybox . && ln -s busybox httpd && ln -s busybox nc
    tar -C .. -c . | hull import - small:1
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
        self.address, self.gateway = self.hull(
            "inspect", "-f", "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}}", "machine"
        ).split()
        (self.directory / "inventory").write_text(
            f"machine ansible_host={self.address} ansible_user=root ansible_ssh_private_key_file={key}"
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
        """How many tasks changed something; which ones is shown where a test fails."""
        inventory = ("-i", str(self.directory / "inventory"))
        output = self.playbooks.run(PLAYS / name, *inventory, "-e", json.dumps(variables), *arguments)
        print(output)
        found = re.search(r"^machine .* changed=(\d+) ", output, re.MULTILINE)
        assert found, output
        return int(found[1])

    def units(self) -> list[str]:
        return self.run("cd /etc/systemd/system && ls -d *hull*", check=False).split()

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
    machine.run("printf '[Slice]\\n' > /etc/systemd/system/others.slice")
    try:
        before = machine.files()
        assert machine.play("refusals.yml", partitioned=device) == 0
        assert machine.files() == before
        packed = list(machine.playbooks.packed_modules.glob("*engine_info-*[!k]"))
        assert packed and all(file.stat().st_size < 500_000 for file in packed), (
            "it brings nothing that starts containers"
        )
    finally:
        machine.run(f"losetup --detach {device}; rm /srv/partitioned /etc/systemd/system/others.slice")
        machine.run("nft delete table inet own")


IMAGE = f"/srv/hull-{os.getpid()}.img"  # loop devices are those of the host, with the names of others' images too
ALL = {
    "host_pyroute2": "venv",
    "host_root_filesystem": {"image": IMAGE, "size": "2G"},
    "host_slice_properties": {"MemoryMax": "512M", "TasksMax": 100},
    "host_policy": {"default": "accept"},
    "host_sysctls": {"net.ipv4.tcp_fin_timeout": 61},
    "host_registries": [
        {"name": "registry.example.org"},
        {"name": "registry.example.org/team"},
        {"name": "registry.example.org.uk/team"},
    ],
    "host_stall_timeout": 90,
    "host_foreign_layers": True,
}
LESS = {
    "host_pyroute2": "none",
    "host_packages": False,
    "host_boot": False,
    "host_prune": {"schedule": ""},
    "host_slice": "",
    "host_forwarding": False,
    "host_kernel_modules": [],
}
UNITS = [
    *("hull-boot.service", "hull-firewall.service", "hull-prune.service", "hull-prune.timer"),
    *("hull.slice", "var-lib-hull.mount"),
]


def _is_let_through(machine: Machine) -> bool:
    """Whether the container is reached at its published port, and reaches what is outside of the machine."""
    with socket.create_server((machine.gateway, 0)) as outside:
        outside.settimeout(5)
        machine.run(f"hull exec -d web nc -w 5 {machine.gateway} {outside.getsockname()[1]}")
        try:
            outside.accept()[0].close()
            socket.create_connection((machine.address, 8080), timeout=3).close()
        except OSError:
            return False
    return True


def test_all_comes_goes_and_comes_again(machine: Machine, tmp_path: Path) -> None:
    certificates = [Authority(tmp_path, name).certificate.read_text() for name in ("one", "two", "three")]
    registries = [{**registry, "ca_certificate": text} for registry, text in zip(ALL["host_registries"], certificates)]
    everything = {**ALL, "host_registries": registries}
    # Both do not run yet, nor may they both; they are told all the same.
    machine.run("printf 'exit 101' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d")
    machine.run("apt-get install --yes --no-install-recommends firewalld ufw && systemctl reload dbus")
    bare = machine.files()
    timeout = machine.run("cat /proc/sys/net/ipv4/tcp_fin_timeout")
    machine.play(**everything)
    assert machine.units() == UNITS
    assert machine.run("findmnt -no FSTYPE /var/lib/hull") == "ext4"
    assert machine.run("/opt/hull/bin/python -c 'import pyroute2.config.version as v; print(v.__version__)'") == "0.9.7"
    assert machine.run("systemctl show --property=TasksMax --value hull.slice") == "100"
    assert machine.run("cat /proc/sys/net/ipv4/tcp_fin_timeout") == "61"
    assert machine.run("hull info | grep -c 'below /hull.slice/hull'") == "1"
    written = machine.run("cat /etc/hull/certs.d/registry.example.org/hull.crt")
    assert written == "".join(certificates[:2]).strip()
    settings = json.loads(machine.run("cat /etc/hull/registries.json"))
    assert (settings["stall_timeout"], settings["foreign_layers"]) == (90, True)
    machine.run(BUSYBOX)
    machine.run("hull run -d --name web --restart always -v data:/data -p 8080:80 small:1 httpd -f -p 80 -h /")
    assert _is_let_through(machine)
    for start, stop in (
        ("ufw --force enable && ufw status | grep 'hull+'", "ufw disable"),
        ("systemctl start firewalld && firewall-cmd --info-zone=hull", "systemctl stop firewalld"),
    ):
        machine.run(start)
        assert _is_let_through(machine), start
        machine.run(stop)
    assert machine.play(**everything) == 0, "a second run changes nothing"

    pid = machine.run("pgrep -x httpd")
    machine.play(**LESS)
    assert machine.units() == ["hull-firewall.service", "var-lib-hull.mount"]
    assert machine.run("ls /etc/hull/policy.json* /etc/sysctl.d/90-hull* /etc/modules-load.d/hull*", check=False) == ""
    assert machine.run("find /etc/hull -name hull.crt") == ""
    assert machine.run("pgrep -x httpd") == pid, "the container runs on"
    machine.run('echo \'{"default": "digest"}\' > /etc/hull/policy.json')
    assert machine.play(**LESS) == 0

    machine.play(host_state="absent")
    assert machine.units() == ["var-lib-hull.mount"], "the data stays, and where it lies"
    assert machine.run("pgrep -x httpd", check=False) == ""
    assert machine.run("cat /proc/sys/net/ipv4/tcp_fin_timeout") == timeout
    assert "hull" not in machine.run("ufw show added; find /etc/firewalld")
    assert machine.run("find /etc/hull -type f") == "/etc/hull/policy.json", "somebody else wrote that"

    machine.play(host_packages=False, host_pyroute2="none")
    assert machine.run("hull ps --format '{{.Names}} {{.State}}'") == "web running"

    machine.play(host_state="purged")
    assert machine.units() == [] and IMAGE not in machine.run("losetup --output BACK-FILE")
    left = {line.split()[0] for line in machine.files().splitlines()} - {line.split()[0] for line in bare.splitlines()}
    assert not {path for path in left if "hull" in path}
    assert "hull" not in machine.run("nft list ruleset; ls /sys/class/net /sys/fs/cgroup/* /srv")
    assert machine.play(host_state="purged") == 0
