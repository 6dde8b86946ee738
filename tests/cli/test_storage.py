# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes, mounts and images in containers, from the flag to what a program inside sees and the host keeps."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Hull, wait_until
from tests.support.images import File, Image, busybox_image, directory, symlink
from tests.support.isolated import run_isolated
from tests.support.registry import RunningRegistry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
CANARY = "/tmp/hull-canary-of-storage"


def image_with_content() -> Image:
    """What a volume may be filled from, and what tries to fill it from elsewhere."""
    return busybox_image(
        {
            "data": directory(0o2750),
            "data/file": b"of the image\n",
            "data/absolute": symlink(CANARY + "/secret"),
            "data/climbing": symlink("../../../../../.." + CANARY),
            "outside": symlink("../../../.." + CANARY),
            "inside": symlink("/data"),
            "plain": b"a file",
        }
    )


@pytest.fixture(scope="module")
def box(shared: Hull, registry: RunningRegistry) -> Hull:
    registry.push("content", "1", image_with_content())
    shared("pull", "-q", "content:1")
    return shared


@pytest.fixture
def canary() -> Iterator[Path]:
    place = Path(CANARY)
    place.mkdir()
    (place / "secret").write_text("of the host")
    before = snapshot(place)
    yield place
    assert snapshot(place) == before
    (place / "secret").unlink()
    place.rmdir()


def snapshot(top: Path) -> list[tuple[object, ...]]:
    """All names below a directory with what there is to know of them."""
    found: list[tuple[object, ...]] = []
    for path in sorted([top, *top.rglob("*")]):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        facts = (status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns)
        found.append((str(path), content, *facts, tuple(os.listxattr(path, follow_symlinks=False))))
    return found


def run(hull: Hull, *words: str) -> str:
    return hull("run", "--rm", "--network", "none", *words)


def volume(hull: Hull, name: str) -> Path:
    return Path(hull.paths.volume(name))


def test_s35_a_volume_is_filled_with_links_as_links_and_only_from_the_image(box: Hull, canary: Path) -> None:
    assert run(box, "-v", "filled:/data", "content:1", "cat", "/data/file") == "of the image\n"
    found = volume(box, "filled")
    assert sorted(os.listdir(found)) == ["absolute", "climbing", "file"]
    assert os.readlink(found / "absolute") == CANARY + "/secret"
    assert found.stat().st_mode & 0o7777 == 0o2750
    assert os.listdir(found.parent) == ["_data"]
    run(box, "-v", "from-outside:/outside", "content:1", "true")
    assert os.listdir(volume(box, "from-outside")) == []  # the link leads to a place in the image that does not exist
    run(box, "-v", "from-inside:/inside", "content:1", "true")
    assert "file" in os.listdir(volume(box, "from-inside"))


def test_s35_a_volume_with_content_stays_as_it_is_byte_by_byte(box: Hull) -> None:
    box("volume", "create", "kept")
    (volume(box, "kept") / "own").write_text("mine")
    os.symlink("/nowhere", volume(box, "kept") / "file")
    before = snapshot(volume(box, "kept"))
    for _ in range(2):
        run(box, "-v", "kept:/data", "content:1", "true")
    assert snapshot(volume(box, "kept")) == before


def test_a_volume_is_not_filled_where_that_is_not_wanted(box: Hull) -> None:
    run(box, "-v", "empty:/data:nocopy", "content:1", "true")
    box("create", "--name", "holder", "--network", "none", "-v", "empty:/data:nocopy", "content:1")
    run(box, "--volumes-from", "holder", "content:1", "ls", "/data")
    assert os.listdir(volume(box, "empty")) == []
    box("rm", "holder")


def test_a_volume_in_use_is_filled_where_it_is(box: Hull) -> None:
    """Its users would not see a directory that is put into its place."""
    script = "until [ -e /v/file ]; do sleep 0.05; done; cat /v/file"
    box("run", "-d", "--name", "waiting", "--network", "none", "-v", "late:/v", "busybox", "sh", "-c", script)
    run(box, "-v", "late:/data", "content:1", "true")
    assert box("wait", "waiting").strip() == "0" and box("logs", "waiting") == "of the image\n"
    box("rm", "waiting")


def test_an_image_is_shown_read_only_and_stays_while_a_container_shows_it(box: Hull, registry: RunningRegistry) -> None:
    registry.push("tools", "1", busybox_image({"opt": directory(), "opt/tool": b"a tool\n"}))
    box("pull", "-q", "tools:1")
    mount = ("--mount", "type=image,source=tools:1,target=/tools,image-subpath=opt")
    box("run", "-d", "--name", "user", "--network", "none", *mount, "busybox", "sleep", "1000")
    assert box("exec", "user", "sh", "-c", "cat /tools/tool; touch /tools/x 2>&1 || true").splitlines() == [
        "a tool",
        "touch: /tools/x: Read-only file system",
    ]
    (shown,) = json.loads(box("inspect", "user"))[0]["Mounts"]
    assert (shown["Type"], shown["Name"], shown["Subpath"], shown["RW"]) == ("image", "tools:1", "opt", False)
    assert "container user uses it" in box.fails(1, "rmi", "tools:1")
    box("rmi", "-f", "tools:1")
    box("image", "prune", "-af")
    box("restart", "-t", "0", "user")
    assert box("exec", "user", "cat", "/tools/tool") == "a tool\n"
    box("rm", "-f", "user")
    for name in ("busybox", "ubuntu:14.04", "content:1"):
        box("pull", "-q", name)


def test_an_image_that_is_not_here_is_not_pulled_for_a_mount(box: Hull) -> None:
    message = box.fails(125, "run", "--mount", "type=image,source=elsewhere:1,target=/x", "busybox", "true")
    assert "image elsewhere:1 for /x is not on this host" in message and "pull" in message


def test_s31_a_device_of_an_image_does_not_come_into_a_directory_of_the_host(
    box: Hull, registry: RunningRegistry, tmp_path: Path
) -> None:
    """A volume can be a directory where other users of the host come by."""
    place = tmp_path / "bound"
    place.mkdir()
    nodes: dict[str, File | bytes] = {
        "data": directory(),
        "data/disk": File(mode=0o666, kind=tarfile.BLKTYPE),
        "data/fifo": File(mode=0o640, kind=tarfile.FIFOTYPE),
        "data/file": b"a file",
    }
    registry.push("devices", "1", busybox_image(nodes))
    box("volume", "create", "host-directory", "-o", "type=none", "-o", "o=bind", "-o", f"device={place}")
    run(box, "-v", "host-directory:/data", "devices:1", "true")
    assert sorted(os.listdir(place)) == ["fifo", "file"]
    assert (place / "fifo").is_fifo() and (place / "fifo").stat().st_mode & 0o7777 == 0o640


def test_driver_options_say_what_is_mounted(box: Hull, tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.mkdir()
    box("volume", "create", "bound", "-o", "type=none", "-o", "o=bind", "-o", f"device={device}")
    assert run(box, "-v", "bound:/data", "content:1", "cat", "/data/file") == "of the image\n"
    assert (device / "file").read_text() == "of the image\n" and os.listdir(volume(box, "bound")) == []
    mount = 'type=volume,source=memory,target=/m,volume-opt=type=tmpfs,volume-opt=device=x,"volume-opt=o=size=1m,uid=5"'
    seen = run(box, "--mount", mount, "busybox", "sh", "-c", "grep ' /m ' /proc/mounts; stat -c %u /m")
    assert "tmpfs rw," in seen and "size=1024k" in seen and seen.endswith("\n5\n")
    assert json.loads(box("volume", "inspect", "memory"))[0]["Options"]["o"] == "size=1m,uid=5"
    box("volume", "rm", "bound")
    assert (device / "file").exists()
    assert "type is missing" in box.fails(1, "volume", "create", "-o", "device=/x")


def test_a_subpath_must_exist_and_lie_in_the_volume(box: Hull) -> None:
    box("volume", "create", "parts")
    (volume(box, "parts") / "a").mkdir()
    (volume(box, "parts") / "a/file").write_text("part\n")
    os.symlink("/etc", volume(box, "parts") / "escape")
    mount = "type=volume,source=parts,target=/p,volume-subpath="
    assert run(box, "--mount", mount + "a", "busybox", "cat", "/p/file") == "part\n"
    for subpath in ("b", "escape"):
        message = box.fails(125, "run", "--rm", "--network", "none", "--mount", mount + subpath, "busybox", "true")
        assert f"subpath {subpath} does not exist in it" in message
    assert sorted(os.listdir(volume(box, "parts"))) == ["a", "escape"]


def test_what_other_containers_mount(box: Hull, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("bound\n")
    box("create", "--name", "lender", "-v", "lent:/v", "-v", f"{tmp_path}:/b", "--tmpfs", "/t", "busybox")
    script = "cat /b/file; touch /v/x 2>/dev/null && echo written; grep -c ' /t ' /proc/mounts"
    assert box.run(
        "run", "--rm", "--network", "none", "--volumes-from", "lender", "busybox", "sh", "-c", script
    ).stdout.decode().split() == ["bound", "written", "0"]
    assert run(box, "--volumes-from", "lender:ro", "busybox", "sh", "-c", script + "; true").split() == ["bound", "0"]
    box("rm", "lender")


def test_a_read_only_root_leaves_what_is_mounted_writable(box: Hull) -> None:
    script = "touch /x 2>/dev/null || echo no; touch /dev/shm/x /t/x /v/x; df -k /dev/shm | awk '/shm/{print $2}'"
    words = ("--read-only", "--tmpfs", "/t", "-v", "/v", "--shm-size", "2m", "busybox", "sh", "-c", script)
    assert run(box, *words).split() == ["no", "2048"]


@pytest.mark.parametrize("userns", ["host", "auto"])
def test_owners_are_the_same_inside_and_on_disk(box: Hull, tmp_path: Path, userns: str) -> None:
    (tmp_path / "mine").touch()
    os.chown(tmp_path / "mine", 1234, 5)
    name = f"owned-{userns}"
    mounts = ("-v", f"{tmp_path}:/b", "-v", f"{name}:/data", "--mount", "type=image,src=content:1,dst=/i")
    script = "stat -c %u:%g /b/mine /data/file /i/data/file; touch /data/new; chown 7:8 /data/new"
    assert run(box, "--userns", userns, *mounts, "content:1", "sh", "-c", script).split() == ["1234:5", "0:0", "0:0"]
    status = (volume(box, name) / "new").stat()
    assert (status.st_uid, status.st_gid) == (7, 8)


def test_propagation_that_would_propagate_nothing_is_refused(box: Hull, tmp_path: Path) -> None:
    def refused() -> str:
        subprocess.run(["mount", "-t", "tmpfs", "--make-private", "t", str(tmp_path)], check=True)
        return box.fails(125, "run", "--network", "none", "-v", f"{tmp_path}:/x:rshared", "busybox", "true")

    message = run_isolated(refused)
    assert f"{tmp_path} is on {tmp_path}, no shared mount" in message and "mount --make-shared" in message


def test_r22_r23_a_removal_detaches_what_is_mounted_in_a_container_and_deletes_none_of_it(
    box: Hull, tmp_path: Path
) -> None:
    """A process stands in the container's directory, a volume and a tmpfs are mounted there, another namespace too."""
    box("volume", "create", "precious")
    (volume(box, "precious") / "file").write_text("precious")
    before = snapshot(volume(box, "precious"))
    identity = box("create", "--name", "busy", "--network", "none", "busybox", "true").strip()
    top = Path(box.paths.container(identity))

    def remove() -> tuple[str, bool, list[str], int]:
        for name in ("upper/data", "upper/data/deeper"):
            (top / name).mkdir(exist_ok=True)
            subprocess.run(["mount", "--bind", str(volume(box, "precious")), str(top / name)], check=True)
            (top / "upper/data/deeper").mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", str(top), str(top)], check=True)
        stander = subprocess.Popen(["sleep", "1000"], cwd=top / "upper/data")
        holder = subprocess.Popen(["unshare", "-m", "sleep", "1000"])
        try:
            said = box("rm", "-f", "busy")
            table = Path("/proc/self/mountinfo").read_text()
            return said, top.exists(), os.listdir(box.paths.trash), table.count(identity)
        finally:
            for process in (stander, holder):
                process.kill()
                process.wait()

    said, exists, trash, mounts = run_isolated(remove)
    assert (said, exists, trash, mounts) == ("busy\n", False, [], 0)
    os.rmdir(volume(box, "precious") / "deeper")
    os.utime(volume(box, "precious"), ns=(0, before[0][6]))
    assert snapshot(volume(box, "precious")) == before


def test_r21_what_a_crash_left_in_the_place_of_a_file_never_blocks_a_start(box: Hull) -> None:
    """FIFOs, sockets and directories where the engine has files of its own."""
    identity = box("create", "--name", "stale", "--network", "none", "busybox", "echo", "ran").strip()
    top, run_directory = Path(box.paths.container(identity)), Path(box.paths.container_run(identity))
    (top / "etc").mkdir(exist_ok=True)
    for name in ("hosts", "hostname", "resolv.conf"):
        os.mkfifo(top / "etc" / name)
    os.mkfifo(top / "container.log")
    os.mkfifo(top / "exit.json")
    run_directory.mkdir(parents=True)
    os.mkfifo(run_directory / "state.json")
    (run_directory / "monitor.sock").mkdir()
    starting = box.start("start", "-a", "stale", stdout=subprocess.PIPE)
    output, _ = starting.communicate(timeout=20)
    assert output == b"ran\n"
    wait_until(lambda: box.status("stale") == "exited", "the end")
    with socket.socket(socket.AF_UNIX) as left:
        run_directory.mkdir(parents=True, exist_ok=True)
        directory_fd = os.open(run_directory, os.O_PATH)
        left.bind(f"/proc/self/fd/{directory_fd}/monitor.sock")  # the path itself is too long
        os.close(directory_fd)
    assert box("start", "-a", "stale") == "ran\n"
    box("rm", "stale")
