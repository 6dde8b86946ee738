# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`--userns auto`: a container whose root is nobody on the host, with everything that containers have."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import engine_in, wait_until

AUTO = ("--userns", "auto", "--network", "none")
RUN = ("run", "--rm", *AUTO)
POOL = range(1879048192, 2147352576)
FOREIGN = 12_345_678  # an id of the host's that no container has


@pytest.fixture
def box(shared):
    """Start containers that are removed at the end of the test."""
    made = []

    def start(name, *words):
        made.append(name)
        shared("run", "-d", "--name", name, *words)
        return int(shared("inspect", "-f", "{{.State.Pid}}", name))

    yield start
    shared.run("rm", "-f", *made)


def uid_map(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/uid_map").read_text().split()]


def directory(hull, name: str) -> Path:
    return Path(hull.paths.container(json.loads(hull("inspect", name))[0]["Id"]))


def ranges(hull) -> dict[str, int]:
    with sqlite3.connect(hull.paths.database) as database:
        return dict(database.execute("SELECT container_id, first FROM id_ranges"))


def test_root_is_another_unused_user_of_the_host_in_each_container(shared, box):
    maps = [uid_map(box(name, *AUTO, "busybox", "sleep", "1000")) for name in ("one", "two")]
    for inside, first, count in maps:
        assert (inside, count) == (0, 65536) and first in POOL and first + count - 1 in POOL
    assert abs(maps[0][1] - maps[1][1]) >= 65536
    for name, (_, first, _) in zip(("one", "two"), maps):
        pid = int(shared("inspect", "-f", "{{.State.Pid}}", name))
        assert os.stat(f"/proc/{pid}").st_uid == first
        assert Path(f"/proc/{pid}/gid_map").read_text().split() == ["0", str(first), "65536"]
    assert shared("inspect", "-f", "{{.HostConfig.UsernsMode}}", "one").strip() == "auto"


def test_a_range_is_kept_through_restarts_and_freed_with_the_container(shared, box):
    first = uid_map(box("kept", *AUTO, "busybox", "sleep", "1000"))
    identity = json.loads(shared("inspect", "kept"))[0]["Id"]
    assert ranges(shared)[identity] == first[1]
    shared("restart", "-t", "0", "kept")
    assert uid_map(int(shared("inspect", "-f", "{{.State.Pid}}", "kept"))) == first
    shared("rm", "-f", "kept")
    assert identity not in ranges(shared)


def test_a_container_without_it_takes_no_range(shared, box):
    before = ranges(shared)
    pid = box("plain", "--network", "none", "busybox", "sleep", "1000")
    assert uid_map(pid) == [0, 0, 4294967295] and ranges(shared) == before


def test_files_of_the_image_and_new_ones_belong_to_the_same_ids_inside_and_on_disk(shared, box):
    script = "stat -c %u:%g /bin/busybox /etc/passwd; touch /mine; touch /his && chown 1000:1001 /his; sleep 1000"
    box("files", *AUTO, "busybox", "sh", "-c", script)
    upper = directory(shared, "files") / "upper"
    wait_until(lambda: (upper / "his").exists() and os.stat(upper / "his").st_uid == 1000, "the file")
    assert shared("logs", "files").split() == ["0:0", "0:0"]
    assert (os.stat(upper / "mine").st_uid, os.stat(upper / "his").st_gid) == (0, 1001)


def test_files_and_directories_of_the_image_can_be_removed_replaced_and_renamed(shared):
    script = (
        "cp /bin/busybox /busybox && rm -r /bin && /busybox mkdir /bin && /busybox ls -A /bin"
        " && /busybox mv /etc/passwd /etc/other && /busybox ls /etc/passwd"
    )
    done = shared.run(*RUN, "busybox", "sh", "-c", script)
    assert done.stdout == b"" and done.stderr.endswith(b"/etc/passwd: No such file or directory\n")


def test_a_volume_holds_the_ids_that_are_seen_inside(shared, box, tmp_path):
    script = "touch /data/mine && touch /data/his && chown 1000:1000 /data/his && stat -c %u /data /data/mine /data/his"
    assert shared(*RUN, "-v", "shared-ids:/data", "busybox", "sh", "-c", script).split() == ["0", "0", "1000"]
    place = Path(shared.paths.volume("shared-ids"))
    assert (os.stat(place / "mine").st_uid, os.stat(place / "his").st_uid) == (0, 1000)
    again = shared(*RUN, "-v", "shared-ids:/data", "busybox", "sh", "-c", "echo x >> /data/mine; stat -c %u /data/his")
    assert again.strip() == "1000"
    plain = shared("run", "--rm", "--network", "none", "-v", "shared-ids:/d", "busybox", "cat", "/d/mine")
    assert plain == "x\n"
    shared("volume", "rm", "shared-ids")


def test_a_bind_mount_is_mapped_with_the_mounts_below_it(shared, tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "file").write_text("text")
    (tmp_path / "foreign").write_text("")
    os.chown(tmp_path / "foreign", FOREIGN, FOREIGN)
    subprocess.run(["mount", "--bind", "--make-private", str(tmp_path), str(tmp_path / "below")], check=True)
    try:
        script = "echo more >> /b/file; stat -c %u /b/file /b/below/file /b/foreign; touch /b/below/new"
        shown = shared(*RUN, "-v", f"{tmp_path}:/b", "busybox", "sh", "-c", script)
    finally:
        subprocess.run(["umount", str(tmp_path / "below")], check=True)
    assert shown.split() == ["0", "0", "65534"]
    assert (tmp_path / "file").read_text() == "textmore\n" and os.stat(tmp_path / "new").st_uid == 0


def test_a_single_file_can_be_bound_read_only(shared, tmp_path):
    (tmp_path / "file").write_text("text")
    done = shared.run(*RUN, "-v", f"{tmp_path}/file:/f:ro", "busybox", "sh", "-c", "cat /f; echo x > /f")
    assert done.stdout == b"text" and b"Read-only" in done.stderr


def test_a_file_system_that_can_not_be_mapped_is_named_with_the_cure(shared):
    message = shared.fails(125, *RUN, "-v", "/proc:/host", "busybox", "true")
    assert "/proc at /host" in message and "can't be idmapped" in message and "userns_mode: host" in message


def test_hosts_hostname_and_resolv_conf_are_there_and_can_be_written(shared):
    script = "cat /etc/hostname; grep -c localhost /etc/hosts; echo 10.0.0.1 x >> /etc/hosts && stat -c %u /etc/hosts"
    shown = shared(*RUN, "-h", "me", "busybox", "sh", "-c", script).split()
    assert shown[0] == "me" and int(shown[1]) > 0 and shown[2] == "0"


def test_the_engines_own_mounts_and_nodes_work(shared):
    script = (
        "echo x > /dev/null; head -c 3 /dev/zero | wc -c; echo e > /dev/stderr; echo o > /dev/stdout;"
        " stat -c %u /dev /dev/null /dev/shm /proc/1 /tmp/t; touch /dev/shm/a /dev/mqueue/a /tmp/t/a; ls /sys/fs/cgroup"
    )
    done = shared.run(*RUN, "--tmpfs", "/tmp/t:size=1m", "busybox", "sh", "-c", script)
    lines = done.stdout.decode().split()
    assert (done.returncode, done.stderr) == (0, b"e\n")
    assert lines[:7] == ["3", "o", "0", "0", "0", "0", "0"] and len(lines) > 7


def test_a_user_of_the_container_can_open_its_output_and_has_no_capabilities(shared):
    script = "echo out > /dev/stdout; id -u; grep CapEff /proc/self/status"
    assert shared(*RUN, "-u", "1000:1000", "busybox", "sh", "-c", script).split() == [
        "out",
        "1000",
        "CapEff:",
        "0" * 16,
    ]


def test_an_id_beyond_the_range_is_refused(shared, box):
    message = shared.fails(125, *RUN, "-u", "70000", "busybox", "true")
    assert "user: 70000 is beyond the container's largest id 65535" in message
    box("small", *AUTO, "busybox", "sleep", "1000")
    assert "70000 is beyond" in shared.run("exec", "-u", "0:70000", "small", "true").stderr.decode()


def test_all_capabilities_hold_in_its_own_namespaces_only(shared):
    script = "mkdir /m; mount -t tmpfs x /m; echo $?; mknod /sda b 254 0; echo 1 > /proc/sys/kernel/panic; dmesg -n 1"
    done = shared.run(*RUN, "--cap-add", "ALL", "--security-opt", "seccomp=unconfined", "busybox", "sh", "-c", script)
    assert done.stdout.split()[0] == b"0", done
    for refused in (b"mknod: /sda: Operation not permitted", b"/proc/sys/kernel/panic: ", b"dmesg: "):
        assert refused in done.stderr


def test_exec_joins_the_user_namespace(shared, box):
    pid = box("joined", *AUTO, "busybox", "sleep", "1000")
    script = "cat /proc/self/uid_map; id -u; touch /x; stat -c %u /x; echo o > /dev/stdout; readlink /proc/self/ns/user"
    shown = shared("exec", "joined", "sh", "-c", script).split()
    assert shown == [*map(str, uid_map(pid)), "0", "0", "o", os.readlink(f"/proc/{pid}/ns/user")]
    assert shared("exec", "-u", "1000", "joined", "sh", "-c", "id -u; echo o > /dev/stdout").split() == ["1000", "o"]
    assert shared("exec", "-i", "joined", "cat", stdin=b"in") == "in"


def test_terminals_work_for_run_and_exec(shared, box):
    script = "tty; test -c /dev/console && stat -c %u /dev/console; echo hi > /dev/tty"
    with shared.terminal(*RUN, "-it", "busybox", "sh", "-c", script) as terminal:
        terminal.wait_for(b"/dev/pts/0\r\n0\r\nhi")
    box("term", *AUTO, "busybox", "sleep", "1000")
    with shared.terminal("exec", "-it", "-u", "1000", "term", "sh", "-c", "tty; echo hi > /dev/tty") as terminal:
        terminal.wait_for(b"/dev/pts/0\r\nhi")


def test_health_checks_run_inside(shared, box):
    box(
        "well",
        *AUTO,
        "--health-cmd",
        "test $(id -u) = 0 && touch /checked",
        "--health-interval",
        "100ms",
        "busybox",
        "sleep",
        "1000",
    )
    wait_until(lambda: shared("inspect", "-f", "{{.State.Health.Status}}", "well").strip() == "healthy", "health")
    assert os.stat(directory(shared, "well") / "upper" / "checked").st_uid == 0


def test_it_stops_pauses_and_is_killed(shared, box):
    script = "trap 'exit 3' TERM; while true; do sleep 0.05; done"
    box("obedient", *AUTO, "busybox", "sh", "-c", script)
    shared("pause", "obedient")
    assert shared.status("obedient") == "paused"
    shared("unpause", "obedient")
    shared("stop", "obedient")
    assert shared("inspect", "-f", "{{.State.ExitCode}}", "obedient").strip() == "3"
    shared("start", "obedient")
    shared("kill", "obedient")
    wait_until(lambda: shared.status("obedient") == "exited", "the end")


def test_init_and_restart_policies_work(shared, box):
    box("again", *AUTO, "--init", "--restart", "on-failure:2", "busybox", "sh", "-c", "cat /proc/self/uid_map; exit 5")
    wait_until(lambda: shared.status("again") == "exited", "the last exit")
    shown = shared("logs", "again").split()
    assert len(shown) == 9 and len(set(shown)) == 3


def test_sysctls_of_its_namespaces_are_set(shared):
    script = "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/net/ipv4/ping_group_range /proc/sys/kernel/shmmni"
    words = ("--sysctl", "net.ipv4.ip_default_ttl=77", "--sysctl", "kernel.shmmni=99")
    assert shared(*RUN, *words, "busybox", "sh", "-c", script).split() == ["77", "0", "65535", "99"]


def test_ping_sockets_need_no_capability(shared, box):
    pid = box("ping", *AUTO, "busybox", "sleep", "1000")
    code = "from socket import *; socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)"
    inside = ["nsenter", "-t", str(pid), "-U", "-n", "--setuid", "1000", "--setgid", "1000"]
    subprocess.run([*inside, "python3", "-c", code], check=True)


def test_ulimits_of_the_task_are_those_inside(shared):
    shown = shared(*RUN, "--ulimit", "nofile=100:200", "busybox", "sh", "-c", "ulimit -Sn; ulimit -Hn").split()
    assert shown == ["100", "200"]


def test_a_published_port_leads_into_it(shared, box):
    script = "mkdir /www; echo served > /www/index.html; exec httpd -f -p 80 -h /www"
    box("web", "--userns", "auto", "-p", "127.0.0.1::80", "busybox", "sh", "-c", script)
    port = re.search(r":(\d+)\s*$", shared("port", "web", "80"))[1]

    def fetched():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).read()
        except OSError:
            return b""

    wait_until(lambda: fetched() == b"served\n", "the page")


def test_capabilities_of_a_file_count_inside(shared):
    words = (*AUTO, "-u", "1000", "--security-opt", "no-new-privileges:false", "--name", "capable", "busybox")
    shared("create", *words, "/busybox", "grep", "CapEff", "/proc/self/status")
    program = directory(shared, "capable") / "upper" / "busybox"
    shutil.copy("/bin/busybox", program)
    subprocess.run(["setcap", "cap_chown+ep", str(program)], check=True)
    assert shared("start", "-a", "capable").split() == ["CapEff:", "0000000000000001"]
    shared("rm", "capable")


def test_devices_can_be_opened(shared):
    shown = shared(*RUN, "--device", "/dev/full:/dev/some/where", "busybox", "stat", "-c", "%u %F", "/dev/some/where")
    assert shown == "0 character special file\n"


@pytest.mark.parametrize(
    "words",
    [
        ("--privileged",),
        ("--network", "host"),
        ("--network", "container:x"),
        ("--pid", "host"),
        ("--ipc", "host"),
        ("-v", "/tmp:/t:rshared"),
    ],
)
def test_the_hosts_own_namespaces_are_refused_before_anything_is_made(shared, words):
    before = shared("ps", "-aq")
    message = shared.fails(125, "run", "--userns", "auto", *words, "busybox", "true")
    assert "--userns: auto does not go with" in message and "use host" in message
    assert shared("ps", "-aq") == before


def test_a_host_without_user_namespaces_is_told_so_before_anything_is_made(shared, tmp_path):
    """Below chroot(2) the kernel makes none."""
    before = shared("ps", "-aq"), shared("volume", "ls", "-q")
    command = f"mount --rbind / {tmp_path} && exec chroot {tmp_path} {' '.join(shared.command)}"
    script = f"{command} create --userns auto -v never-made:/v busybox"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], env=shared.env, capture_output=True, check=False)
    assert done.returncode == 1 and b"--userns: auto: this host makes no user namespaces" in done.stderr, done
    assert (shared("ps", "-aq"), shared("volume", "ls", "-q")) == before


def test_a_state_directory_that_can_not_be_mapped_is_named_before_anything_is_made(registry, tmp_path):
    place = tmp_path / "place"
    for directory in ("upper", "work", "place"):
        (tmp_path / directory).mkdir()
    options = f"lowerdir={place},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "none", "-o", options, str(place)], check=True)
    try:
        for hull in engine_in(place, registry):
            hull("pull", "-q", "busybox")
            message = hull.fails(1, "create", "--userns", "auto", "-v", "never-made:/v", "busybox")
            assert f"the file system of {hull.paths.root} can't be idmapped" in message
            assert (hull("ps", "-aq"), hull("volume", "ls", "-q")) == ("", "")
    finally:
        subprocess.run(["umount", str(place)], check=True)
