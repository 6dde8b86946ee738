# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`hull doctor` on a real engine that is damaged in every way: it says so, mends it, and lets everything else alone.

Each damage is done, and its end witnessed, without the engine: with mkdir, ip, nft, sqlite3, mount, kill.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict
from ansible_collections.hull.engine.plugins.module_utils._engine import containers
from ansible_collections.hull.engine.plugins.module_utils._engine.doctor import examine
from ansible_collections.hull.engine.plugins.module_utils._engine.doctor_view import stopped
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import detect
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup
from ansible_collections.hull.engine.plugins.module_utils._store.locks import is_locked

from tests.cli.conftest import Hull, engine_in, wait_until
from tests.support.registry import RunningRegistry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

UNKNOWN = "0123456789abcdef" * 4
FOREIGN_PARENT = "hull-doctor-test"
SLICE = "hulldoctor.slice"
ADDRESS = "127.0.0.1"


def sh(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def attempt(*words: str) -> str:
    """What a command prints that need not succeed."""
    return subprocess.run(words, check=False, capture_output=True, text=True).stdout


def sql(hull: Hull, statement: str, *values: object) -> list[Any]:
    """A statement on the records, without the rules that hold between them."""
    connection = sqlite3.connect(hull.paths.database, timeout=30)
    try:
        with connection:
            return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def cgroup_roots() -> list[str]:
    with open("/proc/mounts", encoding="utf-8") as file:
        lines = [line.split() for line in file]
    return [words[1] for words in lines if words[2] in ("cgroup", "cgroup2") and "ro" not in words[3].split(",")]


def id_of(hull: Hull, name: str) -> str:
    return hull("inspect", "-f", "{{.Id}}", name).strip()


def state_of(hull: Hull, name: str) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(Path(hull.paths.container_run(id_of(hull, name)), "state.json").read_text())
    return state


def findings(hull: Hull, *flags: str) -> list[dict[str, Any]]:
    done = hull.run("doctor", *flags, "--format", "json")
    assert done.returncode in (0, 1) and not done.stderr, (done.stdout, done.stderr)
    document = json.loads(done.stdout)
    assert (done.returncode == 0) == (document["left"] == 0)
    found: list[dict[str, Any]] = document["findings"]
    return found


def port_of(hull: Hull) -> int:
    return int(hull("port", "web", "80").rpartition(":")[2])


def answers(port: int) -> bool:
    try:
        with socket.create_connection((ADDRESS, port), timeout=2) as connection:
            return connection.recv(16) == b"hello\n"
    except OSError:
        return False


def link_of(hull: Hull, name: str) -> str:
    return f"hv{id_of(hull, name)[:10]}"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, registry: RunningRegistry) -> Iterator[Hull]:
    """An engine with a container that serves, one that has ended, one that was never started, and a volume."""
    for hull in engine_in(tmp_path_factory.mktemp("engine"), registry):
        hull("pull", "-q", "busybox")
        serve = "while :; do echo hello | nc -l -p 80; done"
        hull("run", "-d", "--name", "web", "-p", f"{ADDRESS}::80", "-v", "data:/data", "busybox", "sh", "-c", serve)
        hull("run", "--name", "off", "busybox", "sh", "-c", "echo kept > /kept")
        hull("create", "--name", "apart", "--network", "none", "-v", "spare:/spare", "busybox", "true")
        assert findings(hull) == []
        yield hull


# One function per damage: it does the damage and gives what is to be found, and what shows that it was mended.
Witness = Callable[[], object]
Damage = Callable[[Hull], "tuple[str, str, Witness]"]


def leaked_cgroup(hull: Hull) -> tuple[str, str, Witness]:
    places = [f"{root}/{hull.paths.cgroup}/{UNKNOWN}" for root in cgroup_roots()]
    for place in places:
        os.makedirs(place)
    return "cgroup", UNKNOWN, lambda: not any(map(os.path.exists, places))


def leaked_cgroup_below_another_parent(hull: Hull) -> tuple[str, str, Witness]:
    places = [f"{root}/{FOREIGN_PARENT}/{id_of(hull, 'off')}" for root in cgroup_roots()]
    for place in places:
        os.makedirs(place)
    return "cgroup", FOREIGN_PARENT, lambda: not any(map(os.path.exists, places))


def leaked_cgroup_in_a_slice(hull: Hull) -> tuple[str, str, Witness]:
    places = [f"{root}/{SLICE}/{hull.paths.cgroup}/{UNKNOWN}" for root in cgroup_roots()]
    for place in places:
        os.makedirs(place)
    return "cgroup", SLICE, lambda: not any(map(os.path.exists, places))


def cgroup_of_a_container_that_has_ended(hull: Hull) -> tuple[str, str, Witness]:
    places = [f"{root}/{hull.paths.cgroup}/{id_of(hull, 'off')}" for root in cgroup_roots()]
    for place in places:
        os.mkdir(place)
    return "cgroup", id_of(hull, "off"), lambda: not any(map(os.path.exists, places))


def mount_in_a_container(hull: Hull) -> tuple[str, str, Witness]:
    place = f"{hull.paths.container(id_of(hull, 'off'))}/upper"
    for _ in range(2):
        sh("mount", "-t", "tmpfs", "leaked", place)
    return "mount", place, lambda: place not in Path("/proc/self/mountinfo").read_text()


def link_of_a_container_that_has_ended(hull: Hull) -> tuple[str, str, Witness]:
    name, far = link_of(hull, "off"), f"hx{UNKNOWN[:8]}"
    sh("ip", "link", "add", name, "type", "veth", "peer", "name", far)
    sh("ip", "link", "set", name, "alias", f"hull:{id_of(hull, 'off')}")
    return "link", name, lambda: not os.path.exists(f"/sys/class/net/{far}")


def bridge_without_network(hull: Hull) -> tuple[str, str, Witness]:
    name = f"hull-x{UNKNOWN[:6]}"
    sh("ip", "link", "add", name, "type", "bridge")
    sh("ip", "link", "set", name, "alias", f"hull {hull.paths.root}")
    return "bridge", name, lambda: not os.path.exists(f"/sys/class/net/{name}")


def table_of(hull: Hull) -> str:
    return f"hull-{hull.paths.instance}"


def port_that_leads_nowhere(hull: Hull) -> tuple[str, str, Witness]:
    element = "{ tcp . 65001 : 10.1.2.3 . 80 }"
    sh("nft", "add", "element", "ip", table_of(hull), "published_any", element)
    return "port", "0.0.0.0:65001/tcp", lambda: "10.1.2.3" not in sh("nft", "list", "table", "ip", table_of(hull))


def port_that_was_lost(hull: Hull) -> tuple[str, str, Witness]:
    port = port_of(hull)
    sh("nft", "flush", "map", "ip", table_of(hull), "published")
    assert not answers(port)
    return "port", f"{ADDRESS}:{port}/tcp", lambda: answers(port)


def lease_that_was_lost(hull: Hull) -> tuple[str, str, Witness]:
    (row,) = sql(hull, "SELECT network, address, container_id FROM leases WHERE container_id = ?", id_of(hull, "off"))
    sql(hull, "DELETE FROM leases WHERE container_id = ?", row[2])
    return "lease", row[1], lambda: sql(hull, "SELECT * FROM leases WHERE address = ?", row[1]) == [row]


def lease_of_a_container_without_network(hull: Hull) -> tuple[str, str, Witness]:
    sql(hull, "INSERT INTO leases VALUES ('bridge', '10.99.99.99', ?)", id_of(hull, "apart"))
    return "lease", "10.99.99.99", lambda: not sql(hull, "SELECT 1 FROM leases WHERE address = '10.99.99.99'")


def lease_of_nobody(hull: Hull) -> tuple[str, str, Witness]:
    sql(hull, "INSERT INTO leases VALUES ('bridge', '10.99.99.98', ?)", UNKNOWN)
    return (
        "database",
        hull.paths.database,
        lambda: not sql(hull, "SELECT 1 FROM leases WHERE container_id = ?", UNKNOWN),
    )


def files_without_container(hull: Hull) -> tuple[str, str, Witness]:
    directory = Path(hull.paths.container(UNKNOWN))
    (directory / "upper").mkdir(parents=True)
    return "files", str(directory), lambda: not directory.exists() and not list(lost(hull).glob("0123*"))


def written_files_without_container(hull: Hull) -> tuple[str, str, Witness]:
    name = UNKNOWN[::-1]
    directory = Path(hull.paths.container(name))
    (directory / "upper").mkdir(parents=True)
    (directory / "upper" / "precious").write_text("data")

    def is_kept() -> bool:
        (kept,) = lost(hull).glob(f"{name}-*/upper/precious")
        return not directory.exists() and kept.read_text() == "data"

    return "files", str(directory), is_kept


def lost(hull: Hull) -> Path:
    return Path(hull.paths.root) / "lost"


def container_without_files(hull: Hull) -> tuple[str, str, Witness]:
    directory = hull.paths.container(id_of(hull, "apart"))
    shutil.rmtree(directory)
    return (
        "container",
        "apart",
        lambda: os.path.isdir(f"{directory}/upper") and hull.run("start", "apart").returncode == 0,
    )


def end_that_cannot_be_read(hull: Hull) -> tuple[str, str, Witness]:
    path = Path(hull.paths.container(id_of(hull, "off")), "exit.json")
    path.write_text("{")
    return "container", "off", lambda: json.loads(path.read_text())["exit_code"] == 255


def volume_without_directory(hull: Hull) -> tuple[str, str, Witness]:
    place = hull.paths.volume("spare")
    shutil.rmtree(os.path.dirname(place))
    return "volume", place, lambda: os.path.isdir(place)


def volume_without_record(hull: Hull) -> tuple[str, str, Witness]:
    place = Path(hull.paths.volume("found"))
    place.mkdir(parents=True)
    (place / "file").write_text("content")

    def is_a_volume() -> bool:
        return "found" in hull("volume", "ls", "-q").split() and (place / "file").read_text() == "content"

    return "volume", "found", is_a_volume


def layer_without_image(hull: Hull) -> tuple[str, str, Witness]:
    directory = Path(hull.paths.layers, UNKNOWN)
    (directory / "fs").mkdir(parents=True)
    return "layer", str(directory), lambda: not directory.exists()


def settled_layer_without_image(hull: Hull) -> tuple[str, str, Witness]:
    directory = Path(hull.paths.settled, UNKNOWN)
    (directory / "fs").mkdir(parents=True)
    return "layer", str(directory), lambda: not directory.exists()


def blob_without_image(hull: Hull) -> tuple[str, str, Witness]:
    path = Path(hull.paths.blobs, "sha256", UNKNOWN)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"blob")
    return "blob", str(path), lambda: not path.exists()


def layer_without_record(hull: Hull) -> tuple[str, str, Witness]:
    ((diff_id,),) = sql(hull, "SELECT diff_id FROM layers LIMIT 1")
    sql(hull, "DELETE FROM layers WHERE diff_id = ?", diff_id)
    return "layer", diff_id, lambda: sql(hull, "SELECT 1 FROM layers WHERE diff_id = ?", diff_id)


def run_directory_of_nobody(hull: Hull) -> tuple[str, str, Witness]:
    directory = Path(hull.paths.container_run(UNKNOWN))
    directory.mkdir()
    (directory / "state.json").write_text('{"pid": 1, "start_time": 1}')
    return "run-time", str(directory), lambda: not directory.exists()


def run_directory_of_a_container_that_has_ended(hull: Hull) -> tuple[str, str, Witness]:
    directory = Path(hull.paths.container_run(id_of(hull, "off")))
    directory.mkdir()
    return "run-time", str(directory), lambda: not directory.exists()


def socket_of_nobody(hull: Hull) -> tuple[str, str, Witness]:
    place = f"{hull.paths.run}/spawner.{UNKNOWN[:16]}.sock"
    fd = os.open(hull.paths.run, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{fd}/{os.path.basename(place)}")
    os.close(fd)
    return "run-time", place, lambda: not os.path.exists(place)


def code_of_nobody(hull: Hull) -> tuple[str, str, Witness]:
    place = Path(hull.paths.launch, UNKNOWN[:16])
    (place / "hull_launch").mkdir(parents=True)
    return "run-time", str(place), lambda: not place.exists()


def half_written_code(hull: Hull) -> tuple[str, str, Witness]:
    place = Path(hull.paths.launch, ".new-4194304-00000000")
    place.mkdir()
    return "run-time", str(place), lambda: not place.exists()


def temporary_directory(hull: Hull) -> tuple[str, str, Witness]:
    place = Path(hull.paths.temporary, "owned-layer-0000")
    (place / "fs").mkdir(parents=True)
    return "temporary", str(place), lambda: not place.exists()


def mark_of_a_killed_creation(hull: Hull) -> tuple[str, str, Witness]:
    name = "f" * 64
    mark, directory = Path(hull.paths.temporary, f"{name}.creating"), Path(hull.paths.container(name))
    mark.touch()
    directory.mkdir()
    return "temporary", str(mark), lambda: not mark.exists() and not directory.exists()


def trash(hull: Hull) -> tuple[str, str, Witness]:
    place = Path(hull.paths.trash, "grave-0000")
    place.mkdir(parents=True)
    (place / "file").write_text("x")
    return "trash", str(place), lambda: not place.exists()


def open_directory(hull: Hull) -> tuple[str, str, Witness]:
    os.chmod(hull.paths.root, 0o755)
    return "directory", hull.paths.root, lambda: os.stat(hull.paths.root).st_mode & 0o777 == 0o700


def stopped_monitor(hull: Hull) -> tuple[str, str, Witness]:
    pid = state_of(hull, "web")["monitor_pid"]
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: process_state(pid) == "T", "a stopped monitor")
    return "monitor", "web", lambda: process_state(pid) != "T"


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def unplugged_link(hull: Hull) -> tuple[str, str, Witness]:
    name, port = link_of(hull, "web"), port_of(hull)
    sh("ip", "link", "set", name, "nomaster")
    return "link", name, lambda: answers(port)


def bridge_that_is_down(hull: Hull) -> tuple[str, str, Witness]:
    name, port = f"hull-{hull.paths.instance}", port_of(hull)
    sh("ip", "link", "set", name, "down")
    return "bridge", name, lambda: answers(port)


def bridge_that_is_gone(hull: Hull) -> tuple[str, str, Witness]:
    name, port = f"hull-{hull.paths.instance}", port_of(hull)
    sh("ip", "link", "delete", name)
    return "bridge", name, lambda: answers(port)


def rules_that_are_gone(hull: Hull) -> tuple[str, str, Witness]:
    port = port_of(hull)
    sh("nft", "delete", "table", "ip", table_of(hull))
    assert not answers(port)
    return "rules", f"nftables table ip {table_of(hull)}", lambda: answers(port)


TOGETHER: tuple[Damage, ...] = (
    leaked_cgroup,
    leaked_cgroup_below_another_parent,
    leaked_cgroup_in_a_slice,
    cgroup_of_a_container_that_has_ended,
    mount_in_a_container,
    link_of_a_container_that_has_ended,
    bridge_without_network,
    port_that_leads_nowhere,
    port_that_was_lost,
    lease_that_was_lost,
    lease_of_a_container_without_network,
    files_without_container,
    written_files_without_container,
    container_without_files,
    end_that_cannot_be_read,
    volume_without_directory,
    volume_without_record,
    layer_without_image,
    settled_layer_without_image,
    blob_without_image,
    layer_without_record,
    run_directory_of_nobody,
    run_directory_of_a_container_that_has_ended,
    socket_of_nobody,
    code_of_nobody,
    half_written_code,
    temporary_directory,
    mark_of_a_killed_creation,
    trash,
    open_directory,
    stopped_monitor,
    unplugged_link,
)
ALONE: tuple[Damage, ...] = (bridge_that_is_down, bridge_that_is_gone, rules_that_are_gone, lease_of_nobody)


def remove_cgroup(directory: str) -> None:
    if os.path.isdir(directory):
        os.rmdir(directory)


@pytest.fixture
def clean_kernel(engine: Hull) -> Iterator[None]:
    """Whatever the doctor fails to mend is taken away, so that one failure is not the next test's."""
    ended = id_of(engine, "off")
    yield
    own = engine.paths.cgroup
    for root in cgroup_roots():
        for parent in (own, FOREIGN_PARENT, f"{SLICE}/{own}"):
            for name in (UNKNOWN, ended):
                remove_cgroup(f"{root}/{parent}/{name}")
        for name in (FOREIGN_PARENT, f"{SLICE}/{own}", SLICE):
            remove_cgroup(f"{root}/{name}")
    for name in (f"hv{ended[:10]}", f"hull-x{UNKNOWN[:6]}"):
        attempt("ip", "link", "delete", name)
    place = f"{engine.paths.container(ended)}/upper"
    while os.path.ismount(place):
        sh("umount", place)


def assert_mended(hull: Hull, damages: tuple[Damage, ...]) -> None:
    """Do the damages; each is found, nothing else is, looking changes nothing, and mending mends."""
    pid = state_of(hull, "web")["pid"]
    wanted = [(damage.__name__, *damage(hull)) for damage in damages]
    found = findings(hull)
    assert found == findings(hull)
    for name, kind, where, _witness in wanted:
        of_this = [item for item in found if item["kind"] == kind and where in item["where"]]
        assert of_this and all(item["fixable"] and not item["fixed"] for item in of_this), (name, found)
        assert all(item["what"] and item["cure"] for item in of_this)
    assert len(found) == len(wanted), found
    fixed = findings(hull, "--fix")
    assert [item for item in fixed if not item["fixed"]] == []
    for name, _kind, _where, witness in wanted:
        assert witness(), name
    assert findings(hull) == [] and findings(hull, "--fix") == []
    assert state_of(hull, "web")["pid"] == pid and process_state(pid) in "SR"


def test_every_damage_is_found_and_mended_and_what_runs_runs_on(engine: Hull, clean_kernel: None) -> None:
    assert_mended(engine, TOGETHER)
    assert engine("exec", "web", "echo", "here") == "here\n"


@pytest.mark.parametrize("damage", ALONE, ids=lambda damage: damage.__name__)
def test_a_damage_that_covers_others_is_found_and_mended(damage: Damage, engine: Hull, clean_kernel: None) -> None:
    assert_mended(engine, (damage,))


def test_the_text_says_what_where_and_the_cure(engine: Hull) -> None:
    place, _ = Path(engine.paths.trash, "grave"), Path(engine.paths.trash).mkdir(exist_ok=True)
    place.mkdir()
    done = engine.run("doctor")
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == [
        f"trash {place}: it was removed, but is still there",
        "    cure: delete it (--fix does)",
    ]
    assert done.stderr.decode() == "hull doctor: 1 finding, of which --fix mends 1\n"
    assert engine("doctor", "--fix").splitlines()[1] == "    mended: delete it"
    assert not place.exists() and engine("doctor") == "no findings\n"
    assert "use json" in engine.fails(1, "doctor", "--format", "xml")


def test_a_monitor_that_was_killed_with_its_spawner_is_replaced(engine: Hull) -> None:
    before = state_of(engine, "web")
    for pid in map(int, attempt("pgrep", "-f", f"{engine.paths.run}/spawner").split()):
        os.kill(pid, signal.SIGKILL)
    os.kill(before["monitor_pid"], signal.SIGKILL)
    wait_until(lambda: process_is_gone(before["monitor_pid"]), "the end of the monitor")
    kinds = [(item["kind"], item["where"], item["fixable"]) for item in findings(engine)]
    assert ("monitor", "web", True) in kinds, kinds
    assert all(item["fixed"] for item in findings(engine, "--fix"))
    after = state_of(engine, "web")
    assert after["pid"] == before["pid"] and after["monitor_pid"] != before["monitor_pid"]
    assert not process_is_gone(after["monitor_pid"])
    assert engine("exec", "web", "echo", "here") == "here\n"


def test_a_container_with_neither_record_nor_state_keeps_its_files(engine: Hull) -> None:
    pid, name = state_of(engine, "web")["pid"], id_of(engine, "web")
    state = Path(engine.paths.container_run(name), "state.json")
    rows, text = sql(engine, "SELECT * FROM containers WHERE id = ?", name), state.read_text()
    sql(engine, "DELETE FROM containers WHERE id = ?", name)
    state.unlink()
    try:
        found = findings(engine, "--fix")
        assert any(item["kind"] == "cgroup" and str(pid) in item["what"] and not item["fixable"] for item in found)
        assert os.path.isdir(f"{engine.paths.container(name)}/upper") and state.parent.is_dir()
        assert process_state(pid) in "SR"
    finally:
        state.write_text(text)
        sql(engine, f"INSERT INTO containers VALUES ({', '.join('?' * len(rows[0]))})", *rows[0])
    assert [item for item in findings(engine, "--fix") if not item["fixed"]] == []


def mends(hull: Hull, kind: str, where: str) -> list[Callable[[], object]]:
    """What would mend the findings of a kind, after one look."""
    found = [found for found in examine(Engine(hull.paths)) if found.kind == kind and where in found.where]
    return [finding.mend for finding in found if finding.mend is not None]


def refuses(mend: Callable[[], object]) -> None:
    with pytest.raises(Conflict, match="by now"):
        mend()


def test_a_container_that_turns_out_to_live_keeps_its_files(engine: Hull, clean_kernel: None) -> None:
    files, written = files_without_container(engine), written_files_without_container(engine)
    places = [files[1], written[1], run_directory_of_nobody(engine)[1]]
    (bury,), (keep,), (remove,) = (
        mends(engine, *files[:2]),
        mends(engine, *written[:2]),
        mends(engine, "run-time", UNKNOWN),
    )
    for name, doomed in ((UNKNOWN, (bury, remove)), (UNKNOWN[::-1], (keep,))):
        cgroup = Cgroup(detect(), f"{engine.paths.cgroup}/{name}")
        cgroup.create({})
        with subprocess.Popen(["sleep", "300"]) as process:
            try:
                cgroup.attach(process.pid)
                for mend in doomed:
                    refuses(mend)
            finally:
                process.kill()
        cgroup.remove()
    assert all(map(os.path.isdir, places))
    assert [item for item in findings(engine, "--fix") if not item["fixed"]] == []
    assert not any(map(os.path.isdir, places))


def test_a_bridge_that_is_needed_by_now_is_left_alone(engine: Hull, clean_kernel: None) -> None:
    kind, name, is_gone = bridge_without_network(engine)
    (mend,) = mends(engine, kind, name)
    link_of_a_container_that_has_ended(engine)
    sh("ip", "link", "set", link_of(engine, "off"), "master", name)
    refuses(mend)
    sh("ip", "link", "set", link_of(engine, "off"), "nomaster")
    sql(engine, "INSERT INTO networks VALUES ('extra', ?, '10.99.98.0/24', '10.99.98.1')", name)
    refuses(mend)
    sql(engine, "DELETE FROM networks WHERE name = 'extra'")
    mend()
    assert is_gone()


def test_a_link_that_was_made_anew_is_left_alone(engine: Hull, clean_kernel: None) -> None:
    kind, name, _is_gone = link_of_a_container_that_has_ended(engine)
    (mend,) = mends(engine, kind, name)
    sh("ip", "link", "delete", name)
    link_of_a_container_that_has_ended(engine)
    mend()
    assert os.path.exists(f"/sys/class/net/{name}")


def test_a_link_of_a_container_that_runs_by_now_is_left_alone(hull: Hull) -> None:
    hull("create", "--name", "off", "--network", "none", "busybox", "sleep", "1000")
    kind, name, is_gone = link_of_a_container_that_has_ended(hull)
    (mend,) = mends(hull, kind, name)
    hull("start", "off")
    refuses(mend)
    assert not is_gone()
    hull("stop", "-t", "0", "off")
    mend()
    assert is_gone()


def test_a_port_whose_address_a_container_has_by_now_is_left_alone(engine: Hull) -> None:
    kind, where, is_gone = port_that_leads_nowhere(engine)
    (mend,) = mends(engine, kind, where)
    sql(engine, "INSERT INTO leases VALUES ('bridge', '10.1.2.3', ?)", id_of(engine, "apart"))
    refuses(mend)
    assert not is_gone()
    sql(engine, "DELETE FROM leases WHERE address = '10.1.2.3'")
    mend()
    assert is_gone()


def test_rules_of_networks_that_there_are_by_now_are_left_alone(hull: Hull) -> None:
    hull("run", "--name", "off", "-p", f"{ADDRESS}::80", "busybox", "true")
    hull("rm", "off")
    (network,) = sql(hull, "SELECT * FROM networks")
    sql(hull, "DELETE FROM networks")
    (mend,) = mends(hull, "rules", table_of(hull))
    sql(hull, f"INSERT INTO networks VALUES ({', '.join('?' * len(network))})", *network)
    refuses(mend)
    assert "dport map @published" in sh("nft", "list", "table", "ip", table_of(hull))
    assert findings(hull) == []


def test_a_container_that_was_renamed_meanwhile_is_held_by_its_new_name(engine: Hull) -> None:
    record = containers.find(Engine(engine.paths), "off")
    engine("rename", "off", "renamed")
    try:
        with stopped(Engine(engine.paths), record):
            assert is_locked(engine.paths, "container", "renamed")
        assert not is_locked(engine.paths, "container", "renamed")
    finally:
        engine("rename", "renamed", "off")
    with (
        pytest.raises(Conflict, match="runs by now"),
        stopped(Engine(engine.paths), containers.find(Engine(engine.paths), "web")),
    ):
        pass
    assert not is_locked(engine.paths, "container", "web")


def test_who_only_calls_itself_a_spawner_hides_nothing(hull: Hull) -> None:
    hull("run", "--network", "none", "busybox", "true")
    (pid,) = map(int, attempt("pgrep", "-f", f"{hull.paths.run}/spawner").split())
    (place,) = Path(hull.paths.run).glob("spawner.*.sock")
    (code,) = Path(hull.paths.launch).glob("*")
    old = code.rename(code.with_name(UNKNOWN[:16]))
    os.kill(pid, signal.SIGKILL)
    pretend = ["/bin/sh", "-c", "printf hull-spawner > /proc/$$/comm; echo; read end", place, old, hull.paths.cgroup]
    with subprocess.Popen(pretend, stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=65534) as pretender:
        assert pretender.stdout is not None and pretender.stdout.readline() == b"\n"
        found = {(item["kind"], item["where"]) for item in findings(hull)}
        assert found == {("run-time", str(place)), ("run-time", str(old)), ("cgroup", hull.paths.cgroup)}
        assert all(item["fixed"] for item in findings(hull, "--fix")) and pretender.poll() is None
        pretender.kill()
    assert findings(hull) == []


def process_is_gone(pid: int) -> bool:
    try:
        return process_state(pid) in "ZX"
    except OSError:
        return True


def test_a_container_without_record_that_runs_is_told_and_left_alone(engine: Hull) -> None:
    pid, name = state_of(engine, "web")["pid"], id_of(engine, "web")
    row = sql(engine, "SELECT * FROM containers WHERE id = ?", name)[0]
    sql(engine, "DELETE FROM containers WHERE id = ?", name)
    try:
        for flags in ((), ("--fix",)):
            found = findings(engine, *flags)
            assert [(item["where"], item["fixable"]) for item in found if item["kind"] == "container"] == [
                (name, False)
            ]
        assert process_state(pid) in "SR" and os.path.isdir(engine.paths.container(name))
        assert os.path.exists(f"/sys/class/net/hv{name[:10]}")
    finally:
        sql(engine, f"INSERT INTO containers VALUES ({', '.join('?' * len(row))})", *row)
    assert [item for item in findings(engine, "--fix") if not item["fixed"]] == []
    assert answers(port_of(engine)) and process_state(pid) in "SR"


def test_processes_of_a_container_whose_state_is_gone_are_told_and_left_alone(engine: Hull) -> None:
    pid, path = state_of(engine, "web")["pid"], Path(engine.paths.container_run(id_of(engine, "web")), "state.json")
    text = path.read_text()
    path.unlink()
    try:
        found = findings(engine, "--fix")
        assert any(item["where"] == "web" and str(pid) in item["what"] and not item["fixable"] for item in found), found
        assert process_state(pid) in "SR"
    finally:
        path.write_text(text)
    assert all(item["fixed"] for item in findings(engine, "--fix")) and answers(port_of(engine))


@pytest.mark.parametrize("launch", ["{", "[]", '{"plan": {}, "mounts": []}'])
def test_a_record_that_cannot_be_read_is_forgotten_and_its_files_are_set_aside(launch: str, engine: Hull) -> None:
    engine("run", "--name", "broken", "--network", "none", "busybox", "sh", "-c", "echo data > /precious")
    name = id_of(engine, "broken")
    sql(engine, "UPDATE containers SET launch = ? WHERE id = ?", launch, name)
    assert engine("run", "--rm", "-p", "127.0.0.1::80", "busybox", "echo", "others") == "others\n", "it harms no other"
    (found,) = findings(engine)
    assert found["where"] == "broken" and found["fixable"]
    assert [item["fixed"] for item in findings(engine, "--fix")] == [True]
    (kept,) = lost(engine).glob(f"{name}-*/upper/precious")
    assert kept.read_text() == "data\n" and "broken" not in engine("ps", "-a")


def test_a_layer_that_is_missing_or_damaged_is_brought_again(engine: Hull) -> None:
    (program,) = [path for path in Path(engine.paths.layers).glob("*/fs/bin/busybox") if not path.is_symlink()]
    content, layer = program.read_bytes(), program.parents[2]
    shutil.rmtree(layer)
    (found,) = findings(engine)
    assert found["kind"] == "layer" and layer.name in found["where"] and "missing" in found["what"]
    assert [item["fixed"] for item in findings(engine, "--fix")] == [True]
    assert program.read_bytes() == content
    program.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert findings(engine) == []
    (found,) = findings(engine, "--layers")
    assert found["kind"] == "layer" and "bin/busybox" in found["what"] and found["fixable"]
    assert [item["fixed"] for item in findings(engine, "--layers", "--fix")] == [True]
    assert program.read_bytes() == content and findings(engine, "--layers") == []


def test_another_engine_is_let_alone(engine: Hull, tmp_path: Path, registry: RunningRegistry) -> None:
    for other in engine_in(tmp_path, registry):
        other("run", "-d", "--name", "web", "-p", f"{ADDRESS}::80", "busybox", "sleep", "1000")
        trace = leaked_cgroup(other)[2]
        try:
            pid = state_of(other, "web")["pid"]
            port_that_leads_nowhere(other)
            Path(other.paths.temporary, "owned-layer-0000").mkdir(parents=True)
            before = other.run("doctor").stdout
            assert findings(engine, "--fix") == []
            assert other.run("doctor").stdout == before and before.count(b"(--fix does)") == 3
            assert process_state(pid) in "SR"
        finally:
            other("doctor", "--fix")
        assert trace()


def test_what_is_on_its_way_is_no_fault(engine: Hull) -> None:
    script = "for i in 1 2 3 4 5 6; do hull run --rm -p 127.0.0.1::80 -v /anonymous busybox true; done"
    working = [subprocess.Popen(["sh", "-c", script], env=engine.env, stdout=subprocess.DEVNULL) for _ in range(2)]
    pulling = engine.start("pull", "-q", "ubuntu:14.04", stdout=subprocess.DEVNULL)
    looked = 0
    while any(process.poll() is None for process in (*working, pulling)):
        assert findings(engine, "--fix") == []
        looked += 1
    assert looked and [process.returncode for process in (*working, pulling)] == [0, 0, 0]
    engine("rmi", "ubuntu:14.04")
    wait_until(lambda: findings(engine) == [], "an engine in order")


def test_a_damaged_index_is_rebuilt(hull: Hull) -> None:
    hull("create", "--name", "one", "--network", "none", "busybox", "true")
    sql(hull, "CREATE INDEX extra ON containers (image_id)")
    connection = sqlite3.connect(hull.paths.database, isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")
    # an index over another column than it was filled from
    connection.execute("UPDATE sqlite_schema SET sql = 'CREATE INDEX extra ON containers (name)' WHERE name = 'extra'")
    connection.close()
    found = [item for item in findings(hull) if item["kind"] == "database"]
    assert found and "index" in found[0]["what"] and found[0]["fixable"]
    hull.run("doctor", "--fix")
    assert [row for row in sql(hull, "PRAGMA integrity_check") if "index extra" in row[0]] == []


def test_a_database_that_cannot_be_read_is_told_and_nothing_is_taken_for_unneeded(hull: Hull) -> None:
    hull("run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000")
    pid = state_of(hull, "one")["pid"]
    saved = {path: path.read_bytes() for path in Path(hull.paths.root).glob("hull.db*")}
    tree = sorted(os.listdir(hull.paths.layers))
    for path in saved:
        path.unlink()
    Path(hull.paths.database).write_bytes(b"not a database" * 1000)
    (found,) = findings(hull, "--fix")
    assert found["kind"] == "database" and "backup" in found["cure"] and not found["fixable"]
    os.unlink(hull.paths.database)
    kinds = {(item["kind"], item["fixable"]) for item in findings(hull, "--fix")}
    assert ("database", False) in kinds and ("container", False) in kinds
    assert sorted(os.listdir(hull.paths.layers)) == tree and process_state(pid) in "SR"
    for path, data in saved.items():
        path.write_bytes(data)
    assert findings(hull) == [] and hull.status("one") == "running"


def test_what_runs_goes_on_where_all_directories_were_deleted(hull: Hull) -> None:
    hull("run", "-d", "--name", "one", "-p", f"{ADDRESS}::80", "busybox", "sleep", "1000")
    pid, link = state_of(hull, "one")["pid"], link_of(hull, "one")
    shutil.rmtree(hull.paths.root)
    shutil.rmtree(hull.paths.run)
    found = findings(hull, "--fix")
    assert found and not any(item["fixable"] for item in found), found
    assert any(item["kind"] == "cgroup" and str(pid) in item["what"] for item in found)
    assert process_state(pid) in "SR" and os.path.exists(f"/sys/class/net/{link}")
    assert "dport map @published" in sh("nft", "list", "table", "ip", table_of(hull))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: hull.run("doctor", "--fix").returncode == 0, "an engine that can be cleaned up")
    assert not os.path.exists(f"/sys/class/net/hull-{hull.paths.instance}")
    assert table_of(hull) not in sh("nft", "list", "tables")
