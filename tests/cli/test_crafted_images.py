# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Hostile images: what they say of users, environment, directories and labels, and links where the engine works.

A directory of the host is the canary: links of the images lead to it, and it has to stay as it was.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Hull
from tests.support.images import File, busybox_image, directory, symlink
from tests.support.registry import RunningRegistry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NUMBERS = itertools.count()
Entries = "dict[str, File | bytes]"


class Canary:
    """A directory of the host that nothing may change."""

    def __init__(self, place: Path) -> None:
        self.place = place / "canary"
        (self.place / "inner").mkdir(parents=True)
        for name in ("file", "inner/hosts", "inner/passwd"):
            (self.place / name).write_text("canary:x:0:0::/:/bin/sh\n")
        self._before = self._snapshot()

    def _snapshot(self) -> list[tuple[Any, ...]]:
        found = []
        for top, directories, files in os.walk(self.place):
            for name in (".", *directories, *files):
                status = os.lstat(f"{top}/{name}")
                found.append(
                    (top, name, status.st_mode, status.st_uid, status.st_ino, status.st_size, status.st_mtime_ns)
                )
        return sorted(found)

    def check(self) -> None:
        assert self._snapshot() == self._before


@pytest.fixture
def canary(tmp_path: Path) -> Any:
    """The canary, looked at again after the test."""
    made = Canary(tmp_path)
    yield made
    made.check()


def crafted(hull: Hull, registry: RunningRegistry, entries: Any = None, **config: Any) -> str:
    """The name of a busybox image with these entries above and this configuration."""
    name = f"crafted-{next(NUMBERS)}"
    registry.push(name, "latest", busybox_image(*([entries] if entries else []), **config))
    return name


def run(hull: Hull, image: str, *words: str, options: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """Status, output and errors of a run that has to end soon; nothing of it may be left."""
    started = time.monotonic()
    done = hull.run("run", "--rm", "--pull", "always", "-q", "--network", "none", *options, image, *words)
    assert time.monotonic() - started < 20
    assert hull("ps", "-aq") == ""
    return done.returncode, done.stdout.decode(), done.stderr.decode()


BAD_USERS = [
    "4294967295",
    "4294967296",
    "1" + "0" * 20,
    "-1",
    "0x0",
    "1_0",
    "\u0661",
    " 0",
    "0 ",
    "+0",
    "0:0:0",
    ":",
    "0:",
]


@pytest.mark.parametrize("user", BAD_USERS)
def test_s07_a_user_of_an_image_that_is_no_number_and_no_name_is_refused(
    shared: Hull, registry: RunningRegistry, user: str
) -> None:
    status, output, errors = run(shared, crafted(shared, registry, User=user), "id", "-u")
    assert (status, output) == (125, "") and "user" in errors


def test_s06_groups_are_the_users_and_never_the_engines(shared: Hull, registry: RunningRegistry) -> None:
    files: dict[str, File | bytes] = {
        "etc/passwd": b"root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/:/bin/sh\n",
        "etc/group": b"root:x:0:\nann:x:1001:\na:x:11:ann\nb:x:12:ann,bob\nc:x:13:bob\n",
    }
    image = crafted(shared, registry, files)
    before = os.getgroups()
    os.setgroups([4, 24, 27])
    try:
        for user, expected in (
            ("ann", {"1001", "11", "12"}),
            ("1000", {"1001", "11", "12"}),
            ("ann:c", {"13"}),
            ("4711", {"0"}),
            ("4711:4712", {"4712"}),
            ("0", {"0"}),
        ):
            script = "grep ^Groups: /proc/self/status; id -g"
            groups, gid = run(shared, image, "sh", "-c", script, options=("-u", user))[1].split("\n")[:2]
            assert set(groups.split()[1:]) == expected and gid in expected
        words = ("--group-add", "c", "--group-add", "77", "-u", "ann")
        groups = run(shared, image, "grep", "^Groups:", "/proc/self/status", options=words)[1]
        assert set(groups.split()[1:]) == {"1001", "11", "12", "13", "77"}
    finally:
        os.setgroups(before)


PASSWDS = {
    "fifo": File(kind=b"6"),
    "directory": directory(),
    "device": File(kind=b"3"),
    "huge": File(b"x:x:1:1::/:/bin/sh\n" * 70_000),
    "loop": symlink("passwd"),
    "descriptor": symlink("/proc/self/fd/0"),
}


@pytest.mark.parametrize("kind", list(PASSWDS))
def test_s08_a_passwd_that_is_no_small_file_ends_the_start_at_once(
    shared: Hull, registry: RunningRegistry, kind: str
) -> None:
    image = crafted(shared, registry, {"etc/passwd": PASSWDS[kind]})
    status, output, errors = run(shared, image, "id", "-u")
    assert (status, output) == (125, "") and "etc/passwd" in errors


@pytest.mark.parametrize(
    "target", ["/proc/kmsg", "/proc/self/environ", "/proc/1/root/etc/passwd", "CANARY/inner/passwd"]
)
def test_s08_a_link_for_passwd_leads_to_nothing_outside(
    shared: Hull, registry: RunningRegistry, canary: Canary, target: str
) -> None:
    link = symlink(target.replace("CANARY", str(canary.place)))
    image = crafted(shared, registry, {"etc/passwd": link}, User="canary")
    status, _, errors = run(shared, image, "id", "-u")
    assert status == 125 and ("no user" in errors or "/etc/passwd" in errors)


def test_s14_odd_entries_of_an_environment_stay_literal(shared: Hull, registry: RunningRegistry) -> None:
    env = ["PATH=/bin", "=x", "NOTHING", "A\nB=1\nC=2", "D=\nPATH=/evil", "E.F-G=3", "H="]
    image = crafted(shared, registry, Env=env)
    output = run(shared, image, "cat", "/proc/self/environ")[1]
    entries = [entry for entry in output.split("\0") if entry and not entry.startswith(("HOSTNAME=", "HOME="))]
    assert sorted(entries) == sorted(["PATH=/bin", "A\nB=1\nC=2", "D=\nPATH=/evil", "E.F-G=3", "H="])


def test_s14_a_nul_in_an_environment_is_refused(shared: Hull, registry: RunningRegistry) -> None:
    status, _, errors = run(shared, crafted(shared, registry, Env=["PATH=/bin", "A=x\0LD_PRELOAD=/x"]), "true")
    assert status == 125 and "env" in errors


def test_s13_nothing_of_the_callers_environment_comes_along(shared: Hull, registry: RunningRegistry) -> None:
    image = crafted(shared, registry)
    shared("pull", "-q", image)
    words = (
        "run",
        "--rm",
        "--init",
        "--network",
        "none",
        image,
        "sh",
        "-c",
        "cat /proc/*/environ /proc/*/cmdline; true",
    )
    done = shared.run(*words, env={"SECRET_CANARY": "canary-5731"})
    assert done.returncode == 0 and b"canary" not in done.stdout.replace(b"canary\0", b"")


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_s18_an_image_whose_proc_or_sys_is_a_link_is_refused(
    shared: Hull, registry: RunningRegistry, canary: Canary, name: str
) -> None:
    image = crafted(shared, registry, {f".wh.{name}": b"", name: symlink(str(canary.place))})
    status, _, errors = run(shared, image, "true")
    assert status == 125 and f"/{name}" in errors


@pytest.mark.parametrize("target", ["/proc", "/proc/self", "/proc/sys", "/sys/../proc"])
def test_s18_nothing_is_mounted_over_proc(shared: Hull, registry: RunningRegistry, canary: Canary, target: str) -> None:
    status, _, errors = run(shared, crafted(shared, registry), "true", options=("-v", f"{canary.place}:{target}"))
    assert status == 125 and "/proc" in errors


@pytest.mark.parametrize(
    "entries",
    [
        {".wh.dev": b"", "dev": symlink("CANARY")},
        {"dev/pts": symlink("CANARY"), "dev/shm": symlink("CANARY"), "dev/null": symlink("CANARY/file")},
        {"dev/fd": symlink("CANARY"), "dev/stdout": symlink("CANARY/file"), "dev/console": symlink("CANARY/file")},
    ],
)
def test_s20_links_for_dev_reach_nothing_of_the_host(
    shared: Hull, registry: RunningRegistry, canary: Canary, entries: dict[str, File]
) -> None:
    moved: dict[str, File | bytes] = {
        name: symlink(entry.target.replace("CANARY", str(canary.place))) if isinstance(entry, File) else entry
        for name, entry in entries.items()
    }
    image = crafted(shared, registry, moved)
    for more in ((), ("-t",)):
        status, _, errors = run(shared, image, "sh", "-c", "echo > /dev/null; ls /dev/pts", options=more)
        assert status in (0, 125), errors


@pytest.mark.parametrize("working_dir", ["/link/new/deep", "/link", "/../../CANARY/new", "/up/new"])
def test_s21_a_working_directory_is_made_inside_only(
    shared: Hull, registry: RunningRegistry, canary: Canary, working_dir: str
) -> None:
    entries: dict[str, File | bytes] = {"link": symlink(str(canary.place)), "up": symlink("../../../../../tmp")}
    image = crafted(shared, registry, entries, WorkingDir=working_dir.replace("CANARY", str(canary.place)))
    status, output, _ = run(shared, image, "sh", "-c", "pwd; touch here")
    assert status == 0 and output.startswith("/")
    assert not os.path.exists("/tmp/new")


@pytest.mark.parametrize("name", ["hosts", "resolv.conf", "hostname", "mtab"])
@pytest.mark.parametrize("target", ["CANARY/inner/hosts", "CANARY/missing", "../../../CANARY/file"])
def test_s22_files_of_etc_are_not_written_through_links(
    shared: Hull, registry: RunningRegistry, canary: Canary, name: str, target: str
) -> None:
    link = symlink(
        target.replace("CANARY", str(canary.place).lstrip("/") if target.startswith("..") else str(canary.place))
    )
    image = crafted(shared, registry, {f"etc/{name}": link})
    status, _, errors = run(shared, image, "sh", "-c", f"echo inside >> /etc/{name}; true")
    assert status in (0, 125), errors
    assert not (canary.place / "missing").exists()


def test_s22_an_etc_that_is_a_link_stays_inside(shared: Hull, registry: RunningRegistry, canary: Canary) -> None:
    image = crafted(shared, registry, {".wh.etc": b"", "etc": symlink(str(canary.place / "inner"))})
    assert run(shared, image, "true")[0] in (0, 125)


def test_s34_labels_and_annotations_of_an_image_mean_nothing(shared: Hull, registry: RunningRegistry) -> None:
    labels = {
        "hull.privileged": "true",
        "io.podman.annotations.privileged": "TRUE",
        "io.podman.annotations.userns": "host",
        "org.systemd.property.DeviceAllow": "x",
        "run.oci.seccomp_bpf_data": "AAAA",
        "run.oci.handler": "krun",
        "io.kubernetes.cri-o.Devices": "/dev/kmsg",
        "com.docker.compose.project": "x",
        "RUN": "/bin/sh -c 'touch /tmp/hull-label-canary'",
    }
    script = "cat /proc/self/status /proc/self/mountinfo /proc/self/limits; ls /dev; env"
    plain = run(shared, crafted(shared, registry), "sh", "-c", script)[1]
    labelled = run(shared, crafted(shared, registry, Labels=labels), "sh", "-c", script)[1]

    def steady(text: str) -> list[str]:
        varying = (
            "Pid:",
            "PPid:",
            "Tgid:",
            "NS",
            "voluntary",
            "nonvoluntary",
            "Vm",
            "Rss",
            "HOSTNAME",
            "Cpus",
            "HugetlbPages",
        )
        lines = [line for line in text.splitlines() if not line.startswith(varying) and not line[:1].isdigit()]
        return [*lines, str(text.count(" - "))]

    assert steady(labelled) == steady(plain)
    assert not os.path.exists("/tmp/hull-label-canary")


BAD_NAMES = ["../x", "a/b", "a\nb", "-x", ".x", "a b", "x" * 300, "a\u0661", "a:b", "a$(id)"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_s44_a_name_is_no_path_and_no_option(shared: Hull, name: str) -> None:
    done = shared.run("run", "-d", f"--name={name}", "--network", "none", "busybox", "true")
    assert done.returncode != 0 and done.stdout == b""
    assert shared("ps", "-aq") == ""
