# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes from the host into a container: parts of volumes, images, file systems on devices. And who resists."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator
from errno import EROFS
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import HullError, Invalid, LaunchError
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._kernel.mounts import attach_at, new_filesystem
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import MountPlan
from ansible_collections.hull.engine.plugins.module_utils._runtime.mount_sources import open_source

from tests.support.box import Box, open_box
from tests.support.isolated import run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SAFE = ("nodev", "nosuid")
RANGE = (1 << 30, 65536)
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with open_box() as opened:
        yield opened


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    made = tmp_path / "volume"
    (made / "a/b").mkdir(parents=True)
    (made / "a/b/file").write_text("inside\n")
    (made / "host").symlink_to(tmp_path)
    (made / "climb").symlink_to("../../../../../.." + str(tmp_path))
    (made / "within").symlink_to("/a")
    (tmp_path / "canary").write_text("of the host")
    return made


def bind(source: Path, target: str = "/v", **fields: object) -> MountPlan:
    return MountPlan("bind", target, str(source), flags=("rbind", *SAFE), **fields)


def image(box: Box, target: str = "/i", **fields: object) -> MountPlan:
    return MountPlan("image", target, "sha256:1", True, SAFE, layers=(box.rootfs,), **fields)


def test_a_part_of_a_volume_is_shown_and_nothing_above_it(box: Box, volume: Path) -> None:
    done = box.sh(
        "ls /v; cat /f; echo x > /v/new", mounts=(bind(volume, subpath="a/b"), bind(volume, "/f", subpath="a/b/file"))
    )
    assert done.text == "file\ninside\n" and (volume / "a/b/new").read_text() == "x\n"
    assert box.sh("ls /v", mounts=(bind(volume, subpath="within/b"),)).text == "file\nnew\n"


@pytest.mark.parametrize("subpath", ["host", "climb", "host/canary", "nowhere", "a/b/file/x"])
def test_a_link_in_a_volume_leads_to_nothing_of_the_host(box: Box, volume: Path, subpath: str) -> None:
    with pytest.raises(LaunchError, match="subpath .* does not exist in it"):
        box.sh("ls /v", mounts=(bind(volume, subpath=subpath),))
    with pytest.raises(LaunchError, match="subpath .* does not exist in it"):
        box.sh("ls /v", mounts=(image(box, subpath=subpath),))


def test_an_image_is_mounted_read_only_whole_or_in_part(box: Box) -> None:
    done = box.sh(
        "ls /i/bin/sh /part/sh; for i in /i /part; do touch $i/x || echo refused; done; grep ' /i ' /proc/mounts",
        mounts=(image(box), image(box, "/part", subpath="bin")),
    )
    assert done.text.count("refused\n") == 2 and "/i/bin/sh\n/part/sh\n" in done.text
    assert " ro," in done.text.splitlines()[-1]


def test_several_layers_of_an_image_are_one_tree(box: Box, tmp_path: Path) -> None:
    (tmp_path / "upper/etc").mkdir(parents=True)
    (tmp_path / "upper/etc/of-the-upper").touch()
    mount = MountPlan(
        "image", "/i", "sha256:1", True, SAFE, layers=(str(tmp_path / "upper"), box.rootfs), subpath="etc"
    )
    assert "of-the-upper" in box.sh("ls /i", mounts=(mount,)).text


def test_parts_images_and_owners_in_a_user_namespace(box: Box, volume: Path) -> None:
    os.chown(volume / "a/b/file", 7, 8)
    done = box.sh(
        "stat -c %u:%g /v/file /i/sh /t; echo x > /v/by-root",
        mounts=(
            bind(volume, subpath="a/b"),
            image(box, subpath="bin"),
            MountPlan("tmpfs", "/t", "tmpfs", flags=SAFE, data="uid=5,gid=6,mode=755"),
        ),
        userns=RANGE,
    )
    assert done.text.split() == ["7:8", "0:0", "5:6"], done.text
    assert os.stat(volume / "a/b/by-root").st_uid == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A block device with an ext4 on it."""
    file = tmp_path / "disk"
    with open(file, "wb") as backing:
        backing.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(file)], check=True)
    device = subprocess.run(["losetup", "-f", "--show", str(file)], capture_output=True, text=True)
    if device.returncode:
        pytest.skip(f"no loop device: {device.stderr}")
    yield device.stdout.strip()
    subprocess.run(["losetup", "-d", device.stdout.strip()], check=True)


def test_a_file_system_on_a_device_is_the_same_for_all_containers(box: Box, disk: str) -> None:
    mount = MountPlan("filesystem", "/d", disk, flags=SAFE, data="errors=continue", filesystem="ext4")
    holder = box.plan("sh", "-c", "mkdir /d/dir; echo one > /d/dir/file; sleep 1000", mounts=(mount,))
    box.start(holder)
    assert box.sh("until cat /d/dir/file 2>/dev/null; do :; done; echo two > /d/two", mounts=(mount,)).text == "one\n"
    part = MountPlan("filesystem", "/d", disk, True, SAFE, subpath="dir", filesystem="ext4")
    assert box.sh("ls /d; touch /d/x || echo refused", mounts=(part,)).text == "file\nrefused\n"
    assert box.sh("cat /d/two; stat -c %u /d/two", mounts=(mount,), userns=RANGE).text == "two\n0\n"
    assert disk not in Path("/proc/self/mountinfo").read_text()


def test_a_file_system_that_cannot_be_mounted_is_named_without_its_password(box: Box, disk: str) -> None:
    mount = MountPlan("filesystem", "/d", disk, flags=SAFE, data="password=canary", filesystem="ext4")
    with pytest.raises(LaunchError, match=rf"mount {disk} at /d: mount ext4 \(password=\*\*\*\)") as caught:
        box.sh("true", mounts=(mount,))
    assert "canary" not in str(caught.value)
    with pytest.raises(LaunchError, match="no file system nonesuch"):
        box.sh("true", mounts=(MountPlan("filesystem", "/d", disk, filesystem="nonesuch"),))


def writable(mount: MountPlan, below: str) -> tuple[str, ...]:
    """In a mount namespace with something mounted at `below`: of the top and of that, which can be written to."""
    covered = new_filesystem("tmpfs", source="below")
    attach_at(covered, below)
    os.close(covered)
    top = open_source(mount)
    found = []
    for name in ("x", "below/x"):
        try:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=top))
            found.append(name)
        except OSError as error:
            assert error.errno == EROFS
    return tuple(found) if os.stat("below", dir_fd=top).st_dev != os.fstat(top).st_dev else (*found, "not mounted")


def test_what_is_mounted_below_a_read_only_bind_is_read_only_unless_that_was_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    below = str(tmp_path / "below")
    whole = MountPlan("bind", "/v", str(tmp_path), True, ("rbind", *SAFE))
    assert run_isolated(writable, whole, below) == ()
    assert run_isolated(writable, replace(whole, read_only_recursive=False), below) == ("below/x",)
    assert run_isolated(writable, replace(whole, read_only=False), below) == ("x", "below/x")
    alone = replace(whole, read_only=False, flags=("bind", *SAFE))
    assert run_isolated(writable, alone, below) == ("x", "below/x", "not mounted")


def test_nested_mounts_in_any_order_and_missing_targets(box: Box, volume: Path, tmp_path: Path) -> None:
    mounts = (
        bind(tmp_path / "canary", "/v/a/b/on-a-file"),
        MountPlan("tmpfs", "/v/a/new/tmp", "tmpfs", flags=SAFE, data="size=64k"),
        bind(volume),
        bind(volume / "a", "/deep/er/a"),
        bind(volume / "a/b/file", "/dev/of-mine"),
        MountPlan("tmpfs", "/dev/shm", "tmpfs", flags=SAFE, data="size=128k"),
    )
    script = "cat /v/a/b/on-a-file /deep/er/a/b/file /dev/of-mine; df -k /dev/shm /v/a/new/tmp | awk '{print $2}'"
    done = box.sh(script, mounts=mounts)
    assert done.text.split() == ["of", "the", "hostinside", "inside", "1K-blocks", "128", "64"], done.text
    assert (volume / "a/b/on-a-file").read_bytes() == b"" and (volume / "a/new/tmp").is_dir()


def test_a_directory_is_not_mounted_on_a_file(box: Box, volume: Path) -> None:
    with pytest.raises(Invalid, match="a directory can.t be mounted there"):
        box.sh("true", mounts=(bind(volume, "/bin/sh"),))


def renameat2(first: bytes, second: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE)


def test_s19_a_target_that_changes_while_it_is_mounted_on_never_leaves_the_root(box: Box, tmp_path: Path) -> None:
    """A directory and a link to the host's canary change places in a shared volume all the time."""
    volume, canary = tmp_path / "shared", tmp_path / "canary"
    (volume / "dir").mkdir(parents=True)
    canary.mkdir()
    (canary / "file").write_text("untouched")
    (volume / "link").symlink_to("../" * 12 + str(canary).lstrip("/"))
    stop = threading.Event()

    def exchange() -> None:
        pair = [os.fsencode(volume / name) for name in ("dir", "link")]
        while not stop.is_set():
            renameat2(*pair)

    thread = threading.Thread(target=exchange)
    thread.start()
    started = 0
    try:
        for _ in range(60):
            nested = MountPlan("tmpfs", "/v/dir/made/deep", "tmpfs", flags=SAFE, data="size=76k")
            try:
                done = box.sh("touch /v/dir/made/deep/x; true", mounts=(bind(volume), nested))
                started += not done.code
            except HullError:  # the target has gone while it was made
                pass
    finally:
        stop.set()
        thread.join()
    assert started, "nothing was ever started"
    assert sorted(os.listdir(canary)) == ["file"] and (canary / "file").read_text() == "untouched"
    table = Path("/proc/self/mountinfo").read_text()
    assert str(tmp_path) not in table and "size=76k" not in table
