# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The playbooks of the collection, as users run them. hello.yml: see test_playbooks.py."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Playbooks

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = ROOT / "playbooks"
INITTAB = b"::sysinit:/bin/hostname -F /etc/hostname\n::respawn:/bin/httpd -f -h /srv\n"


def _make_template(path: Path, page: bytes) -> None:
    """A root file system whose init starts a web server: busybox in all roles, as OpenVZ has it, with `./`."""
    with tarfile.open(path, "w:gz") as archive:
        for name in ("bin", "sbin", "etc", "proc", "sys", "dev", "srv", "tmp", "root"):
            _add(archive, f"./{name}", kind=tarfile.DIRTYPE, mode=0o755)
        archive.add("/bin/busybox", "./bin/busybox")
        for name in ("bin/sh", "bin/httpd", "bin/hostname", "bin/cat", "sbin/init"):
            _add(archive, f"./{name}", kind=tarfile.SYMTYPE, linkname="/bin/busybox")
        for name, data in (
            ("etc/inittab", INITTAB),
            ("srv/index.html", page),
            ("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
        ):
            _add(archive, f"./{name}", data, mode=0o644)


def _add(
    archive: tarfile.TarFile, name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, **fields: Any
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, len(data)
    for field, value in fields.items():
        setattr(entry, field, value)
    archive.addfile(entry, io.BytesIO(data))


class Engine:
    """The command, for the engine of the playbooks."""

    def __init__(self, playbooks: Playbooks) -> None:
        self.playbooks = playbooks
        paths = playbooks.paths
        self.variables = {
            "host_root": paths.root,
            "host_run": paths.run,
            "host_config": paths.config,
            "template_hosts": "localhost",
            "upgrade_hosts": "localhost",
        }
        self.flags = ["--root", paths.root, "--run", paths.run, "--config", paths.config]

    def hull(self, *words: str, program: str = f"{ROOT}/bin/hull") -> str:
        done = subprocess.run([program, *self.flags, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    def play(self, name: str, variables: dict[str, Any], *arguments: str, **options: Any) -> str:
        """The end of the play's output: what changed."""
        values = json.dumps({**self.variables, **variables})
        output = self.playbooks.run(PLAYBOOKS / name, "-e", values, *arguments, **options)
        return output.rpartition("PLAY RECAP")[2]


@pytest.fixture
def engine(playbooks: Playbooks) -> Engine:
    """An engine of the test's own, removed with `playbooks`."""
    return Engine(playbooks)


def _page(engine: Engine, container: str) -> str:
    """What the container's web server answers."""
    address = engine.hull("inspect", "-f", "{{.NetworkSettings.IPAddress}}", container)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{address}/", timeout=20) as answer:
        return str(answer.read().decode())


def test_a_template_of_the_controller_becomes_a_container_once(engine: Engine, tmp_path: Path) -> None:
    template = tmp_path / "template.tar.gz"
    _make_template(template, b"first\n")
    variables = {"template_name": "vps", "template_file": str(template), "template_hostname": "vps1"}
    assert "changed=1 " in engine.play("import_template.yml", variables, "--check")
    assert not os.path.exists(engine.playbooks.paths.root)
    engine.play("import_template.yml", variables)
    assert _page(engine, "vps") == "first\n"
    assert engine.hull("exec", "vps", "/bin/hostname") == "vps1"
    assert engine.hull("exec", "vps", "/bin/cat", "/proc/1/comm") == "init"
    assert "changed=0 " in engine.play("import_template.yml", variables)
    _make_template(template, b"second\n")
    engine.play("import_template.yml", {**variables, "template_replace": True})
    assert _page(engine, "vps") == "second\n"
    assert not list(Path("/tmp").glob("hull-template.*"))


def test_another_template_leaves_the_container_of_the_first_alone(engine: Engine, tmp_path: Path) -> None:
    """What the container has written would be lost."""
    template = tmp_path / "template.tar.gz"
    _make_template(template, b"first\n")
    variables = {"template_name": "vps", "template_path": str(template), "template_network_mode": "none"}
    assert "changed=2 " in engine.play("import_template.yml", variables)
    pid = engine.hull("inspect", "-f", "{{.State.Pid}}", "vps")
    _make_template(template, b"second\n")
    # On the command line it is a word, not a boolean.
    assert "changed=1 " in engine.play("import_template.yml", variables, "-e", "template_replace=false")
    assert engine.hull("inspect", "-f", "{{.State.Pid}}", "vps") == pid


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"template_name": "vps", "template_path": "/x", "template_url": "http://x"}, "set template_name, and one of"),
        (
            {"template_name": "vps", "template_file": "/etc/passwd", "template_checksum": "sha256:0"},
            "correct template_ch",
        ),
    ],
)
def test_a_wrong_template_is_refused_before_anything_is_made(
    engine: Engine, variables: dict[str, str], message: str
) -> None:
    output = engine.playbooks.run(
        PLAYBOOKS / "import_template.yml", "-e", json.dumps({**engine.variables, **variables}), fails=True
    )
    assert message in " ".join(output.split())
    assert not os.path.exists(engine.playbooks.paths.root)


def _start_time(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]


def _parent(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1]


def test_a_newer_engine_comes_under_running_containers(engine: Engine, tmp_path: Path) -> None:
    newer = tmp_path / "newer/ansible_collections/hull/engine"
    newer.mkdir(parents=True)
    for name in ("plugins", "roles", "playbooks", "meta"):
        shutil.copytree(ROOT / name, newer / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "galaxy.yml", newer)
    version = newer / "plugins/module_utils/_base/version.py"
    version.write_text(version.read_text().replace('VERSION = "', 'VERSION = "99.'))
    with (newer / "plugins/module_utils/_runtime/monitor.py").open("a") as monitor:
        monitor.write("# newer\n")

    engine.hull("load", "-i", engine.playbooks.variables["image_docker_archive"])  # type: ignore[arg-type]
    for name in ("web", "worker"):
        engine.hull("run", "-d", "--name", name, "--network", "none", "small:1", "/bin/sleep", "10000")
    engine.hull("create", "--name", "idle", "--network", "none", "small:1")
    pids = [engine.hull("inspect", "-f", "{{.State.Pid}}", name) for name in ("web", "worker")]
    processes = [*pids, *map(_parent, pids)]
    before = [(pid, _start_time(pid)) for pid in processes]

    command = tmp_path / "bin/hull"
    command.parent.mkdir(mode=0o755)
    variables = {"host_command": str(command), "host_completion": False, "host_manual": False}
    options = {"collections": tmp_path / "newer"}
    assert "changed=1 " in engine.play("upgrade_engine.yml", variables, **options)
    assert [(pid, _start_time(pid)) for pid in processes] == before
    assert engine.hull("--version", program=str(command)).startswith("hull version 99.")
    assert "changed=0 " in engine.play("upgrade_engine.yml", variables, **options)

    # The newer engine commands the older monitors, and starts what it starts by itself.
    engine.hull("pause", "web", program=str(command))
    engine.hull("unpause", "web", program=str(command))
    assert engine.hull("exec", "worker", "/bin/echo", "hello", program=str(command)) == "hello"
    engine.hull("restart", "-t", "0", "web", program=str(command))
    engine.hull("start", "idle", program=str(command))
    assert len(list(Path(engine.playbooks.paths.run).glob("spawner.*.sock"))) == 2
    idle = engine.hull("inspect", "-f", "{{.State.Pid}}", "idle")
    assert _parent(_parent(idle)) not in map(_parent, map(_parent, pids[1:]))


@pytest.mark.parametrize("name", ["site.yml", "import_template.yml", "upgrade_engine.yml"])
def test_hosts_of_other_groups_are_left_alone(playbooks: Playbooks, tmp_path: Path, name: str) -> None:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("[container_hosts]\none.test\n[database_hosts]\ntwo.test\n")
    words = playbooks.run(PLAYBOOKS / name, "-i", str(inventory), "--list-hosts").split()
    assert "one.test" in words
    assert "two.test" not in words and "localhost" not in words


def test_a_teardown_demands_hosts_and_of_all_data_a_confirmation(engine: Engine, tmp_path: Path) -> None:
    paths = engine.playbooks.paths
    engine.hull("load", "-i", engine.playbooks.variables["image_docker_archive"])  # type: ignore[arg-type]
    output = engine.playbooks.run(PLAYBOOKS / "teardown.yml", fails=True)
    assert "set teardown_hosts to the hosts" in " ".join(output.split())

    variables = {
        **engine.variables,
        "teardown_hosts": "localhost",
        "teardown_state": "purged",
        "host_command": str(tmp_path / "hull"),
        # What the role has on the machine that runs the tests is not to be changed.
        **{name: str(tmp_path / name) for name in ("host_units", "host_venv", "host_sysctl_file", "host_modules_file")},
    }
    output = engine.playbooks.run(PLAYBOOKS / "teardown.yml", "-e", json.dumps(variables), fails=True)
    assert "add -e teardown_confirm=yes" in " ".join(output.split())
    assert "changed=0 " in output and "ok=0 " in output
    assert engine.hull("images", "-q")

    engine.play("teardown.yml", variables, "-e", "teardown_confirm=yes")
    assert not os.path.exists(paths.root) and not os.path.exists(paths.config)
