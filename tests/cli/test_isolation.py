# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How a container is confined and what opens it, by the command: namespaces, masks, capabilities, seccomp, scores."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel.privileges import host_capabilities

from tests.cli.conftest import Hull, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
BOTH = pytest.mark.parametrize("userns", [(), ("--userns", "auto")], ids=["host", "auto"])


@contextmanager
def running(hull: Hull, name: str, *words: str) -> Iterator[str]:
    """A container that sleeps; its name."""
    hull("run", "-d", "--name", name, *words, "busybox", "sleep", "1000")
    try:
        yield name
    finally:
        hull("rm", "-f", name)


def pid_of(hull: Hull, name: str) -> int:
    return int(hull("inspect", "-f", "{{.State.Pid}}", name))


def namespaces_of(hull: Hull, name: str) -> dict[str, str]:
    """The namespaces of a container's init, as the host sees them."""
    pid = pid_of(hull, name)
    return {
        kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("pid", "ipc", "uts", "cgroup", "time", "net", "mnt")
    }


HOST = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "ipc", "uts", "cgroup", "time", "net", "mnt")}


def shared_with_host(hull: Hull, name: str) -> set[str]:
    return {kind for kind, link in namespaces_of(hull, name).items() if HOST[kind] == link}


# --- namespaces


@pytest.mark.parametrize(
    ("words", "shared_kinds"),
    [
        ((), set()),
        (("--network", "host"), {"net"}),
        (("--pid", "host"), {"pid"}),
        (("--ipc", "host"), {"ipc"}),
        (("--ipc", "shareable"), set()),
        (("--ipc", "none"), set()),
        (("--uts", "host"), {"uts"}),
        (("--cgroupns", "host"), {"cgroup"}),
        (("--privileged",), set()),
        (("--userns", "auto", "--ipc", "none"), set()),
    ],
)
def test_only_the_namespaces_that_were_asked_for_are_the_hosts(
    shared: Hull, words: tuple[str, ...], shared_kinds: set[str]
) -> None:
    network = () if "--network" in words else ("--network", "none")
    with running(shared, "spaces", *network, *words) as name:
        assert shared_with_host(shared, name) == shared_kinds
        inside = shared(
            "exec", name, "sh", "-c", "for n in pid ipc uts cgroup time net mnt; do readlink /proc/self/ns/$n; done"
        )
        assert set(inside.split()) == set(namespaces_of(shared, name).values())


def test_uts_of_the_host_shows_its_name(shared: Hull) -> None:
    assert (
        shared("run", "--rm", "--network", "none", "--uts", "host", "busybox", "hostname").strip()
        == os.uname().nodename
    )
    assert shared("run", "--rm", "--network", "host", "busybox", "hostname").strip() == os.uname().nodename
    named = shared("run", "--rm", "--network", "host", "--hostname", "web", "busybox", "hostname")
    assert named.strip() == "web" and os.uname().nodename != "web"


def test_processes_of_another_container_are_seen_and_counted(shared: Hull) -> None:
    with running(shared, "provider", "--network", "none") as provider:
        words = ("--name", "guest", "--network", "none", "--pid", f"container:{provider}")
        shared("run", "-d", *words, "busybox", "sleep", "99")
        assert namespaces_of(shared, "guest")["pid"] == namespaces_of(shared, provider)["pid"]
        assert shared("exec", "guest", "ps", "-o", "pid,args").count("sleep ") == 2
        assert shared("exec", "guest", "cat", "/proc/1/comm") == "sleep\n"
        shared("restart", "-t", "0", provider)
        wait_until(lambda: shared.status("guest") == "exited", "the end of the guest with its namespace")
        shared("start", "guest")
        assert namespaces_of(shared, "guest")["pid"] == namespaces_of(shared, provider)["pid"]
        shared("rm", "-f", "guest")


def test_memory_and_queues_of_another_container_are_shared(shared: Hull) -> None:
    with running(shared, "provider", "--network", "none", "--ipc", "shareable") as provider:
        shared("exec", provider, "sh", "-c", "echo shared > /dev/shm/x; : > /dev/mqueue/q")
        words = ("run", "--rm", "--network", "none", "--ipc", f"container:{provider}", "busybox")
        script = "cat /dev/shm/x; ls /dev/mqueue; grep -c ' /dev/shm .*nosuid,nodev,noexec' /proc/self/mountinfo"
        assert shared(*words, "sh", "-c", script).split() == ["shared", "q", "1"]
        # what root in the provider makes of the place does not lead to a place of the host's
        shared("exec", "--privileged", provider, "sh", "-c", "umount /dev/shm; rmdir /dev/shm; ln -s /etc /dev/shm")
        assert "/dev/shm" in shared.fails(125, *words, "true")


def test_the_beginning_of_an_id_is_typed_and_the_id_is_kept(shared: Hull) -> None:
    with running(shared, "provider", "--network", "none", "-v", "given:/given") as provider:
        whole = shared("inspect", "-f", "{{.Id}}", provider).strip()
        words = (
            "--network",
            f"container:{whole[:8]}",
            "--pid",
            f"container:{provider}",
            "--volumes-from",
            whole[:8] + ":ro",
        )
        shared("run", "-d", "--name", "guest", *words, "busybox", "sleep", "99")
        form = "{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.VolumesFrom}}"
        assert shared("inspect", "-f", form, "guest").split() == [
            f"container:{whole}",
            f"container:{provider}",
            f"[{whole}:ro]",
        ]
        assert namespaces_of(shared, "guest")["net"] == namespaces_of(shared, provider)["net"]
        shared("rm", "-f", "guest")


def test_ipc_none_has_no_shared_memory(shared: Hull) -> None:
    for more in ((), ("--userns", "auto")):
        words = ("run", "--rm", "--network", "none", "--ipc", "none", *more, "busybox")
        assert shared(*words, "sh", "-c", "grep -c /dev/shm /proc/self/mountinfo; ls /dev/mqueue | wc -l").split() == [
            "0",
            "0",
        ]


def test_ipc_of_the_host_needs_no_queues_there(shared: Hull) -> None:
    script = "grep -c ' /dev/mqueue ' /proc/self/mountinfo"
    assert shared("run", "--rm", "--network", "none", "--ipc", "host", "busybox", "sh", "-c", script).strip() == "1"


@pytest.mark.parametrize("option", ["--pid", "--ipc", "--network"])
def test_a_container_whose_namespace_is_shared_has_to_run(shared: Hull, option: str) -> None:
    network = () if option == "--network" else ("--network", "none")
    shared("create", "--name", "stopped", "--network", "none", "busybox", "true")
    try:
        message = shared.fails(
            125, "run", "--rm", "--name", "guest", *network, option, "container:stopped", "busybox", "true"
        )
        assert "stopped" in message and "not running" in message
    finally:
        shared("rm", "-f", "stopped")


@BOTH
def test_a_clock_namespace_of_its_own_shows_the_hosts_time(shared: Hull, userns: tuple[str, ...]) -> None:
    with running(shared, "clock", "--network", "none", *userns) as name:
        inside = float(shared("exec", name, "cat", "/proc/uptime").split()[0])
        host = float(Path("/proc/uptime").read_text().split()[0])
        assert abs(host - inside) < 5
        assert "sleep 1000" in shared("top", name)


# --- what is asked for and the host does not have


def test_missing_capabilities_are_told(shared: Hull) -> None:
    from ansible_collections.hull.engine.plugins.module_utils._kernel.capabilities import ALL_CAPABILITIES

    missing = set(ALL_CAPABILITIES) - set(host_capabilities())
    for words in (("--privileged",), ("--cap-add", "ALL"), *(("--cap-add", name) for name in sorted(missing)[:1])):
        done = shared.run("run", "--rm", "--network", "none", *words, "busybox", "grep", "CapEff", "/proc/self/status")
        assert done.returncode == 0
        named = {word.strip(",;") for word in done.stderr.decode().split() if word.startswith("CAP_")}
        assert named == (missing if "--cap-add" not in words or "ALL" in words else {words[1]})
    assert shared.run("run", "--rm", "--network", "none", "busybox", "true").stderr == b""


@pytest.mark.skipif(os.path.exists("/sys/module/apparmor"), reason="this host has AppArmor")
def test_profiles_and_labels_that_the_host_does_not_know_are_told(shared: Hull) -> None:
    words = ("--security-opt", "apparmor=web", "--security-opt", "label=type:web_t", "--security-opt", "label=disable")
    done = shared.run("run", "--rm", "--network", "none", *words, "busybox", "echo", "ran")
    assert done.stdout == b"ran\n"
    assert b"apparmor=web" in done.stderr and b"label=type:web_t" in done.stderr and b"disable" not in done.stderr


@BOTH
def test_the_oom_score_holds_for_run_and_exec(shared: Hull, userns: tuple[str, ...]) -> None:
    with running(shared, "score", "--network", "none", "--oom-score-adj", "321", *userns) as name:
        assert Path(f"/proc/{pid_of(shared, name)}/oom_score_adj").read_text() == "321\n"
        assert shared("exec", name, "cat", "/proc/self/oom_score_adj") == "321\n"


def test_an_oom_score_that_can_not_be_lowered_is_told(shared: Hull) -> None:
    if "CAP_SYS_RESOURCE" in host_capabilities():
        pytest.skip("this host may lower it")
    done = shared.run("run", "--rm", "--network", "none", "--oom-score-adj", "-10", "busybox", "echo", "ran")
    assert done.stdout == b"ran\n" and b"oom_score_adj: -10" in done.stderr


# --- masks


def test_masks_are_lifted_and_added(shared: Hull) -> None:
    script = "grep -c . /proc/interrupts; grep -c . /proc/version; grep -c . /proc/stat"

    def lines(*words: str) -> list[bool]:
        output = shared.run("run", "--rm", "--network", "none", *words, "busybox", "sh", "-c", script).stdout.decode()
        return [line != "0" for line in output.split()]

    assert lines() == [False, True, True]
    assert lines("--security-opt", "unmask=/proc/interrupts") == [True, True, True]
    assert lines("--security-opt", "unmask=ALL", "--security-opt", "mask=/proc/version:/proc/stat") == [
        True,
        False,
        False,
    ]
    assert lines("--security-opt", "systempaths=unconfined") == [True, True, True]
    assert lines("--privileged") == [True, True, True]


def test_a_cgroup_is_below_the_parent_that_was_asked_for(shared: Hull) -> None:
    with running(shared, "below", "--network", "none", "--cgroup-parent", "/hull-test-parent/inner") as name:
        text = Path(f"/proc/{pid_of(shared, name)}/cgroup").read_text()
        assert all("/hull-test-parent/inner/" in line for line in text.splitlines())
    for root in os.listdir("/sys/fs/cgroup"):
        for path in ("hull-test-parent/inner", "hull-test-parent"):  # the task's, not the engine's
            if os.path.isdir(f"/sys/fs/cgroup/{root}/{path}"):
                os.rmdir(f"/sys/fs/cgroup/{root}/{path}")


# --- seccomp: programs that enter the kernel otherwise

AF_ALG = 38


def elf_of(code: bytes, *, wide: bool) -> bytes:
    """A static program of this code: ELF64, or ELF32 for i386. It is loaded whole, the code behind the headers."""
    base = 0x400000
    if wide:
        start = 64 + 56
        ident = b"\x7fELF\x02\x01\x01" + bytes(9)
        header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, start + len(code), start + len(code), 0x1000)
    else:
        start = 52 + 32
        ident = b"\x7fELF\x01\x01\x01" + bytes(9)
        header = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + start, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        segment = struct.pack("<IIIIIIII", 1, 0, base, base, start + len(code), start + len(code), 5, 0x1000)
    return ident + header + segment + code


def i386_program(*calls: tuple[int, ...]) -> bytes:
    """Makes the calls (number, ebx, ecx, edx) by int 0x80 and exits with the errno of the last one."""
    code = b""
    for number, *arguments in calls:
        padded = [*arguments, 0, 0, 0][:3]
        registers = zip((0xB8, 0xBB, 0xB9, 0xBA), (number, *padded))
        code += b"".join(struct.pack("<BI", opcode, value) for opcode, value in registers) + b"\xcd\x80"
    code += b"\xf7\xd8\x89\xc3"  # neg eax; mov ebx, eax
    return elf_of(code + b"\xb8\x01\x00\x00\x00\xcd\x80", wide=False)


def x32_program(number: int) -> bytes:
    """Makes one call with the bit of x32 and exits with its errno."""
    code = b"\x31\xff\x31\xf6\x31\xd2" + struct.pack("<BI", 0xB8, 0x40000000 | number) + b"\x0f\x05"
    return elf_of(code + b"\xf7\xd8\x89\xc7\xb8\x3c\x00\x00\x00\x0f\x05", wide=True)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="programs of x86")
@BOTH
def test_s27_32_bit_programs_run_only_where_they_are_asked_for(
    shared: Hull, tmp_path: Path, userns: tuple[str, ...]
) -> None:
    programs = {
        "getpid": i386_program((20,), (6, 99)),  # close(99): EBADF
        "socket": i386_program((359, AF_ALG, 5, 0)),
        "mount": i386_program((21, 0, 0, 0)),
        "x32": x32_program(3),
    }
    for name, content in programs.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o755)
    outside = {name: subprocess.run([str(tmp_path / name)], check=False).returncode for name in programs}
    assert outside["getpid"] == errno.EBADF, "this kernel runs 32-bit programs, so what closes them is the filter"

    def statuses(*words: str) -> dict[str, int]:
        place = ("-v", f"{tmp_path}:/p:ro")
        script = "for p in getpid socket mount x32; do /p/$p 2>/dev/null; echo $p $?; done"
        done = shared.run("run", "--rm", "--network", "none", *place, *userns, *words, "busybox", "sh", "-c", script)
        return {name: int(code) for name, code in (line.split() for line in done.stdout.decode().splitlines())}

    closed = statuses()
    assert all(closed[name] >= 128 for name in ("getpid", "socket", "mount"))  # its exit is refused too, so it crashes
    assert closed["x32"] == errno.ENOSYS
    opened = statuses("--security-opt", "seccomp-compat")
    expected = {"getpid": errno.EBADF, "socket": errno.EAFNOSUPPORT, "mount": errno.EPERM, "x32": outside["x32"]}
    assert opened == expected
    unconfined = statuses("--security-opt", "seccomp=unconfined")
    assert unconfined["getpid"] == errno.EBADF and unconfined["socket"] == outside["socket"]
    profile = tmp_path / "profile.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]}')
    by_profile = statuses("--security-opt", f"seccomp={profile}")
    assert by_profile["getpid"] == errno.EBADF and by_profile["x32"] == errno.ENOSYS


def test_a_restart_policy_finds_the_provider_as_it_is_now(shared: Hull) -> None:
    with running(shared, "provider", "--network", "none") as provider:
        words = ("--restart", "always", "--network", "none", "--pid", f"container:{provider}")
        shared("run", "-d", "--name", "guest", *words, "busybox", "sleep", "99")
        try:
            before = pid_of(shared, "guest")
            shared("restart", "-t", "0", provider)

            def followed() -> bool:
                pid = pid_of(shared, "guest")
                spaces = [f"/proc/{other}/ns/pid" for other in (pid, pid_of(shared, provider))]
                return pid not in (0, before) and len({os.readlink(path) for path in spaces}) == 1

            wait_until(followed, "the guest in the provider's new namespace", 60)
        finally:
            shared("rm", "-f", "guest")


def test_s18_nothing_is_mounted_over_what_a_profile_is_written_to(shared: Hull) -> None:
    """CVE-2019-16884: what confines a process must not be written to a file that only looks like one of proc."""
    for target in ("/proc/self", "/proc/self/attr", "/proc/thread-self"):
        words = ("run", "--rm", "--network", "none", "--tmpfs", target, "busybox", "true")
        assert "/proc" in shared.fails(125, *words)
