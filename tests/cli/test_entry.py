# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How processes get into a container, and what they find there: the properties S01 to S28 and S43, from both sides."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._engine.isolation import MASKED_PATHS, READ_ONLY_PATHS

from tests.cli.conftest import Hull, wait_until
from tests.support.images import File, busybox_image, symlink
from tests.support.registry import RunningRegistry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
BOTH = pytest.mark.parametrize("userns", [(), ("--userns", "auto")], ids=["host", "auto"])
QUIET = ("--network", "none")


@contextmanager
def running(hull: Hull, *words: str, command: tuple[str, ...] = ("sleep", "1000")) -> Iterator[int]:
    """A container called `entry`; the pid of its init."""
    hull("run", "-d", "--name", "entry", *QUIET, *words, "busybox", *command)
    try:
        yield int(hull("inspect", "-f", "{{.State.Pid}}", "entry"))
    finally:
        hull("rm", "-f", "entry")


def interpreter_files() -> dict[str, str]:
    """The host's interpreter and a part of its library, by digest."""
    paths = [os.path.realpath(sys.executable), os.path.realpath("/usr/bin/python3"), os.__file__]
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths if os.path.exists(path)}


@BOTH
def test_s01_no_interpreter_can_be_opened_for_writing(shared: Hull, userns: tuple[str, ...]) -> None:
    before = interpreter_files()
    script = "cd /proc; while :; do for p in [0-9]*; do (: >> $p/exe) 2>/dev/null && echo opened >> /seen; done; done"
    with running(shared, *userns, command=("sh", "-c", script)):
        for _ in range(25):
            shared("exec", "entry", "true")
        assert shared("exec", "entry", "sh", "-c", "cat /seen 2>/dev/null; true") == ""
    assert interpreter_files() == before


def test_s01_an_entrypoint_that_leads_to_the_runtime_changes_nothing(shared: Hull, registry: RunningRegistry) -> None:
    before = interpreter_files()
    entries: dict[str, File | bytes] = {
        "script": File(b"#!/proc/self/exe\nopen('/proc/self/exe', 'r+b')\nprint('opened')\n", 0o755),
        "link": symlink("/proc/self/exe"),
    }
    registry.push("entrypoints", "latest", busybox_image(entries))
    for name in ("/script", "/link", "/proc/self/exe"):
        done = shared.run(
            "run", "--rm", *QUIET, "entrypoints", name, "-c", "open('/proc/self/exe', 'r+b'); print('opened')"
        )
        assert b"opened\n" not in done.stdout
    assert interpreter_files() == before


@BOTH
def test_s02_processes_have_their_streams_and_nothing_else(shared: Hull, userns: tuple[str, ...]) -> None:
    with running(shared, *userns) as init:
        shared("exec", "-d", "entry", "sleep", "999")
        (other,) = [pid for pid in children_of_container(init) if pid != init]
        for pid in (init, other):
            assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
            inside, cwd = os.stat(f"/proc/{pid}/root"), os.stat(f"/proc/{pid}/cwd")
            assert (cwd.st_dev, cwd.st_ino) == (inside.st_dev, inside.st_ino)
        for number in range(3, 10):
            words = ("exec", "-w", f"/proc/self/fd/{number}", "entry", "sh", "-c", "pwd; ls /proc/self/cwd/../..")
            done = shared.run(*words)
            assert done.returncode != 0 and done.stdout == b""


def children_of_container(init: int) -> list[int]:
    """The processes in the pid namespace of an init."""
    space = os.readlink(f"/proc/{init}/ns/pid")
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.readlink(f"/proc/{name}/ns/pid") == space:
                found.append(int(name))
        except OSError:
            pass
    return found


@BOTH
def test_s03_a_joining_process_shows_nothing_of_the_host(shared: Hull, userns: tuple[str, ...]) -> None:
    script = (
        "cd /proc; while :; do for p in [0-9]*; do "
        "[ $p = 1 ] || { readlink $p/fd/* $p/cwd; tr '\\0' '\\n' < $p/environ; }; done >> /seen 2>/dev/null; done"
    )
    with running(shared, *userns, command=("sh", "-c", script)):
        for _ in range(25):
            done = shared.run("exec", "entry", "true", env={"SECRET_CANARY": "canary-5731"})
            assert done.returncode == 0
        seen = set(shared("exec", "entry", "cat", "/seen").splitlines())
    strange = [
        line
        for line in seen
        if not line.startswith(
            ("pipe:", "/dev/null", "/proc", "/seen", "PATH=", "HOME=", "HOSTNAME=", "PWD=", "SHLVL=")
        )
        and line not in ("/", "")
    ]
    assert strange == []


def test_s03_a_joining_process_holds_nothing_of_the_engines_where_a_debugger_may_look(shared: Hull) -> None:
    script = "cd /proc; while :; do for p in [0-9]*; do [ $p = 1 ] || readlink $p/fd/*; done >> /seen 2>/dev/null; done"
    with running(shared, "--cap-add", "SYS_PTRACE", command=("sh", "-c", script)) as init:
        for _ in range(25):
            shared("exec", "entry", "true")
        seen = set(shared("exec", "entry", "cat", "/seen").splitlines())
        (spawner,) = [name for name in os.listdir("/proc") if name.isdigit() and is_spawner(name, shared.paths.run)]
        held = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{spawner}/fd")}
        assert Path(f"/proc/{init}/comm").read_text() == "sh\n"
    pipes = {line for line in held if line.startswith(("pipe:", "socket:"))}
    assert pipes and not seen & pipes
    assert "anon_inode:[pidfd]" not in seen


def test_s03_a_joining_process_has_no_more_capabilities_than_its_container(shared: Hull) -> None:
    script = "while :; do cat /proc/[0-9]*/status 2>/dev/null | grep -h CapEff >> /seen; done"
    with running(shared, "--cap-add", "SYS_PTRACE", command=("sh", "-c", script)) as init:
        status = Path(f"/proc/{init}/status").read_text()
        own = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16)
        for _ in range(25):
            shared("exec", "entry", "true")
        seen = {int(line.split()[1], 16) for line in shared("exec", "entry", "cat", "/seen").splitlines() if line}
    assert seen and not [f"{mask:x}" for mask in seen if mask & ~own]


def test_s03_a_container_that_may_trace_lends_nobody_its_processes_namespace(shared: Hull) -> None:
    with running(shared, "--cap-add", "SYS_PTRACE"):
        message = shared.fails(125, "run", "--rm", "--network", "none", "--pid", "container:entry", "busybox", "true")
    assert "CAP_SYS_PTRACE" in message


@BOTH
@pytest.mark.parametrize("user", ["0", "1000"])
@pytest.mark.parametrize(
    "more", [(), ("--cap-add", "NET_ADMIN"), ("--privileged",), ("--security-opt", "no-new-privileges:false")]
)
def test_s04_s05_no_capability_is_inherited_and_users_have_none(
    shared: Hull, userns: tuple[str, ...], user: str, more: tuple[str, ...]
) -> None:
    if userns and more == ("--privileged",):
        pytest.skip("refused")
    with running(shared, *userns, *more, "-u", user) as init:
        texts = [
            Path(f"/proc/{init}/status").read_text(),
            shared("exec", "entry", "cat", "/proc/self/status"),
            shared("exec", "-u", user, "--privileged", "entry", "cat", "/proc/self/status"),
        ]
    for text in texts:
        sets = {line[:6]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")}
        assert sets["CapInh"] == sets["CapAmb"] == 0
        assert sets["CapBnd"] != 0
        assert sets["CapEff"] == sets["CapPrm"] == (sets["CapBnd"] if user == "0" else 0)


def test_s09_s12_what_enters_a_container_is_in_its_cgroup_and_touches_nothing_there(
    shared: Hull, tmp_path: Path
) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    shared("run", "--rm", *QUIET, "busybox", "true")  # the spawner runs
    (spawner,) = [int(name) for name in os.listdir("/proc") if name.isdigit() and is_spawner(name, shared.paths.run)]
    log = tmp_path / "trace"
    calls = "trace=execve,openat,open,openat2,setns,pivot_root,write,clone3,fork,clone,dup2,connect"
    tracer = subprocess.Popen(
        [strace, "-f", "-ttt", "-s", "80", "-y", "-e", calls, "-o", str(log), "-p", str(spawner)],
        stderr=subprocess.PIPE,
    )
    try:
        assert tracer.stderr is not None and b"attached" in tracer.stderr.readline()
        with running(shared):
            shared("exec", "entry", "true")
    finally:
        tracer.terminate()
        tracer.wait()
    by_process: dict[str, list[str]] = {}
    for line in log.read_text(errors="replace").splitlines():
        pid, _, rest = line.partition(" ")
        by_process.setdefault(pid, []).append(rest.strip().partition(" ")[2])
    executed = {pid: lines for pid, lines in by_process.items() if any(line.startswith("execve(") for line in lines)}
    pivoted = [pid for pid, lines in by_process.items() if any(line.startswith("pivot_root(") for line in lines)]
    joined = [pid for pid, lines in by_process.items() if any(line.startswith("setns(") for line in lines)]
    assert len(pivoted) == 1 and len(joined) >= 1
    for pid in (*pivoted, *joined):
        lines = by_process[pid]
        entered = next(i for i, line in enumerate(lines) if line.startswith(("pivot_root(", "setns(")))
        assert any("/tasks>" in line or "/cgroup.procs>" in line for line in lines[:entered]), (
            "it is in the cgroup before it enters"
        )
    for pid, lines in executed.items():
        first = next(i for i, line in enumerate(lines) if line.startswith("execve("))
        start = next(
            (i for i, line in enumerate(lines) if line.startswith("pivot_root(")), 0 if pid not in pivoted else -1
        )
        if not any(word in lines[first] for word in ('"/bin/sleep"', '"/bin/true"', "/sleep", "/true")):
            continue
        opened = [line for line in lines[start:first] if line.startswith(("openat(", "open(", "openat2("))]
        allowed = ("/etc/passwd", "/etc/group", "/dev/null", "/proc/self/oom_score_adj", "ptmx", "/dev/console")
        assert [line for line in opened if not any(name in line for name in allowed)] == []


def is_spawner(pid: str, run: str) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/comm").read_text() == "hull-spawner\n"
            and run in Path(f"/proc/{pid}/cmdline").read_text()
        )
    except OSError:
        return False


def abstract_sockets() -> set[str]:
    lines = Path("/proc/net/unix").read_text().splitlines()
    return {line.split()[-1] for line in lines if len(line.split()) > 7 and line.split()[-1].startswith("@")}


def test_s10_no_socket_can_be_reached_by_its_name_alone(shared: Hull) -> None:
    before = abstract_sockets()
    with running(shared):
        shared("exec", "-d", "entry", "sleep", "999")
        assert abstract_sockets() <= before


@BOTH
def test_s11_a_terminal_is_of_the_containers_own_devpts(shared: Hull, userns: tuple[str, ...]) -> None:
    script = "tty; stat -c %d /dev/pts; readlink /proc/self/fd/0"
    outside = os.stat("/dev/pts").st_dev
    with running(shared, "-t", *userns) as init:
        assert os.readlink(f"/proc/{init}/fd/0").startswith("/dev/pts/")
        assert os.getsid(init) == init and os.stat(f"/proc/{init}/root/dev/pts").st_dev != outside
        words = shared("exec", "-t", "entry", "sh", "-c", script).split()
        assert words[0].startswith("/dev/pts/") and int(words[1]) != outside


def test_s16_masks_are_the_hosts_null_whatever_dev_is(shared: Hull) -> None:
    shared("volume", "create", "devices")
    swap = "cd /v; while :; do ln -sf /proc/sysrq-trigger null; rm -f null; ln -s ../proc/kcore null; done"
    check = "for f in /proc/interrupts /proc/timer_list /proc/keys; do cat $f | wc -c; done"
    with running(shared, "-v", "devices:/v", command=("sh", "-c", swap)):
        for _ in range(12):
            done = shared.run("run", "--rm", *QUIET, "-v", "devices:/dev", "busybox", "sh", "-c", check)
            assert done.returncode == 125 or set(done.stdout.split()) == {b"0"}, done
    shared("volume", "rm", "devices")


@pytest.mark.parametrize("more", [(), ("-u", "1000")])
def test_s17_the_callers_own_files_are_never_changed(shared: Hull, tmp_path: Path, more: tuple[str, ...]) -> None:
    output = tmp_path / "output"
    output.touch(0o640)
    before = os.stat(output)
    with open(output, "wb") as file:
        words = [*shared.command, "run", "--rm", *QUIET, *more, "busybox", "sh", "-c", "echo x; chmod 777 /dev/stdout"]
        subprocess.run(
            words, env=shared.env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False, timeout=60
        )
    after = os.stat(output)
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert output.read_bytes().startswith(b"x\n")


@BOTH
def test_s23_cgroups_can_not_be_written_or_mounted(shared: Hull, userns: tuple[str, ...]) -> None:
    script = """
        mkdir /sys/fs/cgroup/x && echo made
        for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
            mkdir $d/x && echo made; (echo 0 > $d/cgroup.procs) && echo wrote
        done
        for f in $(busybox find /sys/fs/cgroup -name release_agent -o -name devices.allow); do
            (echo a > $f) && echo wrote $f
        done
        mkdir /m; mount -t cgroup -o memory none /m && echo mounted; mount -t cgroup2 none /m && echo mounted
        busybox unshare -C true && echo unshared; true
    """
    assert shared("run", "--rm", *QUIET, *userns, "busybox", "sh", "-c", script) == ""


NODES = {
    "mem": (1, 1), "null": (1, 3), "port": (1, 4), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
    "kmsg": (1, 11), "tty0": (4, 0), "console": (5, 1), "ptmx": (5, 2), "misc": (10, 1), "tun": (10, 200),
    "fuse": (10, 229), "kvm": (10, 232), "loop-control": (10, 237), "watchdog": (10, 130), "snd": (116, 1),
}  # fmt: skip


def test_s24_only_the_listed_devices_can_be_opened(shared: Hull) -> None:
    lines = [
        f"mknod /dev/x-{name} c {major} {minor}; (: < /dev/x-{name}) && echo {name}"
        for name, (major, minor) in NODES.items()
    ]
    lines += [f"mknod /dev/b-{major} b {major} 0; (: < /dev/b-{major}) && echo b{major}" for major in (7, 8, 253, 254)]
    words = ("run", "--rm", *QUIET, "--cap-add", "MKNOD", "busybox", "sh", "-c", "\n".join([*lines, "true"]))
    assert set(shared(*words).split()) <= {"null", "zero", "full", "random", "urandom", "ptmx", "console"}
    assert shared("run", "--rm", *QUIET, "busybox", "sh", "-c", "mknod /dev/x c 1 3 || echo no").strip() == "no"


@BOTH
def test_s25_what_tells_about_the_hosts_kernel_reads_empty(shared: Hull, userns: tuple[str, ...]) -> None:
    plain = [path for path in MASKED_PATHS if "*" not in path]
    hide = f"for p in {' '.join(plain)}; do [ -d $p ] && ls -A $p; [ -f $p ] || [ -c $p ] && cat $p | head -c 99; done"
    assert shared("run", "--rm", *QUIET, *userns, "busybox", "sh", "-c", f"{hide} 2>/dev/null; true") == ""
    write = "; ".join(f"touch {path}/x && echo {path}" for path in READ_ONLY_PATHS)
    write += "; echo h > /proc/sysrq-trigger && echo sysrq; echo 1 > /proc/sys/kernel/core_pattern && echo core"
    write += (
        "; echo 1 > /sys/kernel/uevent_helper && echo helper; echo 0 > /proc/sys/vm/overcommit_memory && echo vm; true"
    )
    assert shared("run", "--rm", *QUIET, *userns, "busybox", "sh", "-c", write) == ""


def test_s26_nothing_is_mounted_on_the_host_and_nothing_is_shared(shared: Hull, tmp_path: Path) -> None:
    place = os.path.dirname(shared.paths.root)

    def host() -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if place in line or str(tmp_path) in line]

    assert host() == []
    words = (*QUIET, "-v", "propagated:/v", "-v", f"{tmp_path}:/b", "--tmpfs", "/t", "busybox")
    for _ in range(8):
        text = shared("run", "--rm", *words, "cat", "/proc/self/mountinfo")
        assert not [line for line in text.splitlines() if "shared:" in line or "master:" in line]
    with running(shared, "-v", "propagated:/v"):
        assert host() == []
    assert host() == []
    shared("volume", "rm", "propagated")


@BOTH
def test_s28_no_user_namespace_is_made_inside(shared: Hull, userns: tuple[str, ...]) -> None:
    for user in ("0", "1000"):
        script = "for w in U Ur m n i u p C; do busybox unshare -$w true && echo made $w; done; true"
        assert shared("run", "--rm", *QUIET, *userns, "-u", user, "busybox", "sh", "-c", script) == ""


def test_s43_nobody_else_can_look_into_the_engines_directories(shared: Hull) -> None:
    with running(shared, "-v", "private:/v"):
        for top in (shared.paths.root, shared.paths.run):
            assert os.stat(top).st_mode & 0o7777 == 0o700
            found = subprocess.run(
                ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "find", top, "-mindepth", "1"],
                capture_output=True,
                check=False,
            )
            assert found.stdout == b"" and found.returncode != 0
    shared("volume", "rm", "private")


def test_limits_that_are_set_without_being_asked_for(shared: Hull) -> None:
    with running(shared) as init:
        limits = Path(f"/proc/{init}/limits").read_text()
        assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]
        status = dict(
            line.split(":\t") for line in Path(f"/proc/{init}/status").read_text().splitlines() if ":\t" in line
        )
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
        mounts = Path(f"/proc/{init}/mountinfo").read_text().splitlines()
        assert all("nosuid" in line.split()[5] for line in mounts)
        assert "nodev" in next(line.split()[5] for line in mounts if line.split()[4] == "/")
        wait_until(lambda: shared.status("entry") == "running", "the container")
