# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`cp`: the rules of Docker's, what of a file is kept, and that nothing of a container leads to the host."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Hull, wait_until
from tests.support.docker_daemon import Docker

STATES = ("running", "stopped", "userns")
RULES = r"""
cp file C:/tmp/new
cp file C:/tmp/new
cp file C:/tmp
cp file C:/tmp/
cp file C:/tmp/none/
cp file C:/tmp/none/deeper
cp dir C:/tmp/made
cp dir C:/tmp/made
cp dir/ C:/tmp/made2/
cp dir/. C:/tmp/made3
cp dir/. C:/tmp/made
cp dir C:/tmp/new
cp file C:/tmp/made
cp link C:/tmp/link
cp -L link C:/tmp/followed
cp link C:/tmp/
cp dirlink C:/tmp/dirlink
cp dirlink/ C:/tmp/dirlink2
cp -L dirlink C:/tmp/dirlink3
cp nothing C:/tmp
cp C:/tmp/new out
cp C:/tmp/new out
cp C:/tmp/made out2
cp C:/tmp/made out2
cp C:/tmp/made/. out2
cp C:/tmp/made/. out3
cp C:/tmp/new/ out4
cp C:/tmp/new none/
cp C:/tmp/made out
cp C:/tmp/link out5
cp C:/nothing out
cp C:tmp/new out6
cp file D:/tmp
cp file file
""".strip().splitlines()


# In a small process, since each copy forks.
COPY_LOOP = """
import os, shutil, sys
from ansible_collections.hull.engine.plugins.module_utils._base.errors import HullError
from ansible_collections.hull.engine.plugins.module_utils._engine import containers, copying
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import open_engine

root, run, place = sys.argv[1:]
done = {"in": 0, "out": 0, "canaries": 0}
with open_engine(root, run) as engine:
    record = containers.find(engine, "racer")
    for turn in range(200):
        try:
            copying.copy_in(engine, record, place + "/payload/.", "/race/dir", archive=True)
            done["in"] += 1
        except (HullError, OSError):
            pass
        if os.path.islink(place + "/out") and turn % 2:
            os.unlink(place + "/out")  # else the next copy finds it, and must not follow it
        shutil.rmtree(place + "/out", ignore_errors=True)
        try:
            copying.copy_out(engine, record, "/race/dir", place + "/out", archive=True)
            done["out"] += 1
        except (HullError, OSError):
            pass
        if os.path.islink(place + "/out"):
            continue
        for directory, _names, files in os.walk(place + "/out"):
            for name in files:
                path = os.path.join(directory, name)
                done["canaries"] += not os.path.islink(path) and "canary" in open(path).read()
print(*done.values())
"""


@pytest.fixture(scope="module")
def boxes(shared: Hull) -> Iterator[Hull]:
    """An engine with a container in each of STATES."""
    flags = ("--network", "none", "-v", "data:/data", "--tmpfs", "/scratch")
    shared("run", "-d", "--name", "running", *flags, "busybox", "sleep", "9999")
    shared("create", "--name", "stopped", "--network", "none", "-v", "more:/data", "--tmpfs", "/scratch", "busybox")
    userns = ("--userns", "auto", "--network", "none", "-v", "mapped:/data", "--tmpfs", "/scratch")
    shared("run", "-d", "--name", "userns", *userns, "busybox", "sleep", "9999")
    yield shared
    shared("rm", "-f", *STATES)


@contextlib.contextmanager
def working_in(directory: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def a_tree(place: Path) -> Path:
    """A directory with everything that can be copied."""
    place.mkdir()
    (place / "text").write_text("some text\n")
    os.chmod(place / "text", 0o640)
    os.chown(place / "text", 1234, 5678)
    os.link(place / "text", place / "twin")
    (place / "to-text").symlink_to("text")
    (place / "to-host").symlink_to("/etc/passwd")
    (place / "inner/deep").mkdir(parents=True)
    (place / "inner/deep/bytes").write_bytes(bytes(range(256)) * 5000)
    os.mkfifo(place / "pipe", 0o600)
    with open(place / "sparse", "wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"middle")
    os.setxattr(place / "text", "user.comment", b"a\x00b")
    os.chmod(place / "inner/deep", 0o510)
    (place / "name with\nline\udcff").write_text("odd")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
    for path in sorted(place.rglob("*"), reverse=True):
        os.utime(path, ns=(1_600_000_000_000_000_000, 1_600_000_001_123_456_789), follow_symlinks=False)
    return place


def described(place: Path) -> dict[str, Any]:
    """What is in a directory: kind, mode, owner, time, content or target, attributes, and which names are one file."""
    inodes: dict[int, str] = {}
    found = {}
    for path in sorted(place.rglob("*")):
        facts = path.lstat()
        name = str(path.relative_to(place))
        content: Any = None
        if stat.S_ISREG(facts.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(facts.st_mode):
            content = os.readlink(path)
        attributes = {key: os.getxattr(path, key) for key in os.listxattr(path)} if content and path.is_file() else {}
        time = 0 if stat.S_ISDIR(facts.st_mode) else facts.st_mtime_ns
        first = inodes.setdefault(facts.st_ino, name)
        found[name] = (facts.st_mode, facts.st_uid, facts.st_gid, time, content, attributes, first)
    return found


def kept(facts: dict[str, Any]) -> dict[str, Any]:
    """What of a tree a copy has: all but sockets."""
    return {name: found for name, found in facts.items() if not stat.S_ISSOCK(found[0])}


def seen_by_docker_and_hull(tool: Any, name: str, place: Path) -> list[tuple[str, bool]]:
    """Each command of RULES with whether it succeeded."""
    (place / "dir/sub").mkdir(parents=True)
    (place / "file").write_text("file\n")
    (place / "dir/one").write_text("one\n")
    (place / "link").symlink_to("file")
    (place / "dirlink").symlink_to("dir")
    results = []
    with working_in(place):
        for line in RULES:
            words = [word.replace("C:", f"{name}:", 1) if word.startswith("C:") else word for word in line.split()]
            results.append((line, tool(words)))
    return results


def test_the_rules_are_dockers(boxes: Hull, docker: Docker, tmp_path: Path) -> None:
    boxes("create", "--name", "ruled", "--network", "none", "busybox")
    saved = boxes.run("save", "busybox").stdout
    docker("load", stdin=saved)
    image = docker("images", "-q").split()[0].decode()
    docker("create", "--name", "ruled", "--network", "none", image, "true")
    (tmp_path / "docker").mkdir()
    (tmp_path / "hull").mkdir()

    def by_docker(words: list[str]) -> bool:
        return subprocess.run(["docker", *words], env=docker.env, capture_output=True).returncode == 0

    expected = seen_by_docker_and_hull(by_docker, "ruled", tmp_path / "docker")
    assert seen_by_docker_and_hull(lambda words: boxes.run(*words).returncode == 0, "ruled", tmp_path / "hull") == (
        expected
    )

    def outcome(place: Path, archive: bytes) -> tuple[list[str], list[tuple[str, bytes, str, int]]]:
        with tarfile.open(fileobj=io.BytesIO(archive)) as entries:
            inside = sorted((entry.name, entry.type, entry.linkname, entry.mode & 0o7777) for entry in entries)
        return sorted(str(path.relative_to(place)) for path in place.rglob("*")), inside

    docker_side = outcome(tmp_path / "docker", docker("cp", "ruled:/tmp", "-"))
    assert outcome(tmp_path / "hull", boxes.run("cp", "ruled:/tmp", "-").stdout) == docker_side
    assert len(docker_side[1]) > 15
    boxes("rm", "ruled")
    docker("rm", "ruled")


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("place", ["/tmp", "/data"])
def test_a_copy_there_and_back_is_the_same(boxes: Hull, tmp_path: Path, name: str, place: str) -> None:
    source = a_tree(tmp_path / "source")
    boxes("cp", "-a", str(source), f"{name}:{place}/copy")
    boxes("cp", "-a", f"{name}:{place}/copy", str(tmp_path / "back"))
    assert kept(described(source)) == described(tmp_path / "back")
    assert (tmp_path / "back/sparse").stat().st_blocks < 1000
    with working_in(tmp_path):
        archive = boxes.run("cp", f"{name}:{place}/copy/.", "-").stdout
        (tmp_path / "unpacked").mkdir()
        subprocess.run(["tar", "-xp", "--xattrs", "-C", "unpacked"], input=archive, check=True)
    assert kept(described(source)) == described(tmp_path / "unpacked")
    assert len(archive) < 4 << 20
    assert "socket" not in described(tmp_path / "back")


@pytest.mark.parametrize("name", STATES)
def test_owners_are_roots_and_set_user_id_goes_with_its_owner(boxes: Hull, tmp_path: Path, name: str) -> None:
    mine, others = tmp_path / "mine", tmp_path / "others"
    for path, owner in ((mine, 0), (others, 1000)):
        path.write_text("x")
        os.chown(path, owner, owner)
        os.chmod(path, 0o4755)
        boxes("cp", str(path), f"{name}:/tmp/{path.name}")
    with tarfile.open(fileobj=io.BytesIO(boxes.run("cp", f"{name}:/tmp", "-").stdout)) as entries:
        found = {entry.name: (entry.uid, entry.gid, entry.mode) for entry in entries}
    assert found["tmp/mine"] == (0, 0, 0o4755) and found["tmp/others"] == (0, 0, 0o755)
    boxes("cp", f"{name}:/tmp/mine", str(tmp_path / "back"))
    assert (tmp_path / "back").stat().st_mode & 0o7777 == 0o755
    boxes("cp", "-a", f"{name}:/tmp/mine", str(tmp_path / "back2"))
    assert (tmp_path / "back2").stat().st_mode & 0o7777 == 0o4755


def test_a_running_container_sees_its_own_ids(boxes: Hull, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    os.chown(tmp_path / "file", 33, 34)
    for place in ("/tmp", "/data", "/scratch"):
        boxes("cp", "-a", str(tmp_path / "file"), f"userns:{place}/owned")
        assert boxes("exec", "userns", "stat", "-c", "%u:%g", f"{place}/owned") == "33:34\n"
        boxes("cp", "-a", f"userns:{place}/owned", str(tmp_path / "back"))
        assert ((tmp_path / "back").stat().st_uid, (tmp_path / "back").stat().st_gid) == (33, 34)
    os.chown(tmp_path / "file", 100000, 100000)
    assert "the container may not have the owner's ids" in boxes.fails(
        1, "cp", "-a", str(tmp_path / "file"), "userns:/tmp/alien"
    )
    assert boxes("exec", "userns", "ls", "-A", "/tmp").find("alien") < 0


def test_devices_do_not_come_to_the_host_but_into_an_archive(boxes: Hull, tmp_path: Path) -> None:
    done = boxes.run("cp", "-a", "running:/dev", str(tmp_path / "dev"))
    assert done.returncode == 0 and b"/dev/null is a device and was left out" in done.stderr
    assert not any(stat.S_ISCHR(path.lstat().st_mode) for path in (tmp_path / "dev").rglob("*"))
    with tarfile.open(fileobj=io.BytesIO(boxes.run("cp", "running:/dev/null", "-").stdout)) as entries:
        (entry,) = entries
        assert entry.ischr() and (entry.devmajor, entry.devminor) == (1, 3)


def test_files_of_the_kernel_have_their_content(boxes: Hull, tmp_path: Path) -> None:
    boxes("cp", "running:/proc/1/../version", str(tmp_path / "version"))
    assert (tmp_path / "version").read_text() == Path("/proc/version").read_text()


def test_a_stopped_container_is_copied_through_what_is_mounted_in_it(boxes: Hull, tmp_path: Path) -> None:
    (tmp_path / "bound").mkdir()
    (tmp_path / "single").write_text("single\n")
    flags = ("-v", "mounted:/data/deep", "-v", f"{tmp_path}/bound:/bound", "-v", f"{tmp_path}/single:/etc/single:ro")
    boxes("create", "--name", "mounted", "--network", "none", *flags, "busybox", "cat", "/data/deep/file", "/own")
    (tmp_path / "file").write_text("through\n")
    for target in ("/data/deep/file", "/bound/file", "/own"):
        boxes("cp", str(tmp_path / "file"), f"mounted:{target}")
    volume = boxes("volume", "inspect", "-f", "{{.Mountpoint}}", "mounted").strip()
    assert Path(volume, "file").read_text() == "through\n" and (tmp_path / "bound/file").read_text() == "through\n"
    assert "read-only" in boxes.fails(1, "cp", str(tmp_path / "file"), "mounted:/etc/single")
    assert (tmp_path / "single").read_text() == "single\n"
    boxes("cp", "mounted:/etc/single", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_text() == "single\n"
    assert boxes("start", "-a", "mounted") == "through\n" * 2
    boxes("rm", "mounted")


def test_an_image_and_a_part_of_a_volume_are_there_too(boxes: Hull, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("part\n")
    boxes("cp", str(tmp_path / "file"), "stopped:/data/file")
    flags = ("--mount", "type=image,source=busybox,target=/image")
    flags += ("--mount", "type=volume,source=more,target=/part,volume-subpath=file")
    boxes("create", "--name", "parts", "--network", "none", *flags, "busybox")
    boxes("cp", "parts:/part", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "part\n"
    assert "bin/sh" in subprocess.run(["tar", "-t"], input=boxes.run("cp", "parts:/image/bin", "-").stdout,
                                      capture_output=True, check=True).stdout.decode()  # fmt: skip
    assert "read-only" in boxes.fails(1, "cp", str(tmp_path / "file"), "parts:/image/file")
    boxes("rm", "parts")


def test_looking_changes_nothing_on_disk(boxes: Hull, tmp_path: Path) -> None:
    boxes("create", "--name", "untouched", "--network", "none", "-v", "nowhere:/not/in/image", "busybox")
    upper = Path(boxes("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "untouched").strip())
    before = [(str(path), path.lstat().st_ctime_ns) for path in upper.parent.rglob("*")]
    boxes("cp", "untouched:/not", str(tmp_path / "out"))
    assert (tmp_path / "out/in/image").is_dir()
    assert [(str(path), path.lstat().st_ctime_ns) for path in upper.parent.rglob("*")] == before
    boxes("rm", "untouched")


def test_what_would_be_lost_or_is_read_only_is_refused(boxes: Hull, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "a tmpfs of a container that does not run" in (
        boxes.fails(1, "cp", str(tmp_path / "file"), "stopped:/scratch/file")
    )
    boxes("cp", str(tmp_path / "file"), "running:/scratch/file")
    assert boxes("exec", "running", "cat", "/scratch/file") == "x"
    flags = ("--read-only", "--network", "none", "-v", "writable:/data", "busybox", "sleep", "999")
    boxes("create", "--name", "fixed", *flags)
    for _ in range(2):
        assert "read-only" in boxes.fails(1, "cp", str(tmp_path / "file"), "fixed:/etc/file")
        boxes("cp", str(tmp_path / "file"), "fixed:/data/file")
        boxes("start", "fixed")
    boxes("rm", "-f", "fixed")


def test_a_file_that_is_mounted_is_written_in_place(boxes: Hull, tmp_path: Path) -> None:
    (tmp_path / "single").write_text("old and longer\n")
    (tmp_path / "new").write_text("new\n")
    flags = ("-v", f"{tmp_path}/single:/etc/single", "--network", "none", "busybox", "sleep", "999")
    boxes("run", "-d", "--name", "single", *flags)
    boxes("cp", str(tmp_path / "new"), "single:/etc/single")
    assert (tmp_path / "single").read_text() == "new\n" == boxes("exec", "single", "cat", "/etc/single")
    boxes("rm", "-f", "single")


def test_an_archive_is_unpacked_through_links_inside_the_container(boxes: Hull, tmp_path: Path) -> None:
    boxes("run", "-d", "--name", "merged", "--network", "none", "busybox", "sleep", "999")
    boxes("exec", "merged", "sh", "-c", "mkdir -p /usr/share; ln -s usr/share /share; ln -s /../../../../tmp /out")
    (tmp_path / "tree/share/doc").mkdir(parents=True)
    (tmp_path / "tree/share/doc/file").write_text("doc\n")
    (tmp_path / "tree/out").mkdir()
    (tmp_path / "tree/out/hull-escaped").write_text("escaped\n")
    archive = subprocess.run(["tar", "-c", "share/doc/file", "out/hull-escaped"], cwd=tmp_path / "tree",
                             stdout=subprocess.PIPE, check=True).stdout  # fmt: skip
    boxes("cp", "-", "merged:/", stdin=archive)
    assert boxes("exec", "merged", "cat", "/usr/share/doc/file", "/tmp/hull-escaped") == "doc\nescaped\n"
    assert not os.path.exists("/tmp/hull-escaped")
    assert "is not a directory" in boxes.fails(1, "cp", "-", "merged:/etc/hosts", stdin=archive)
    climbing = io.BytesIO()
    with tarfile.open(fileobj=climbing, mode="w") as entries:
        entries.addfile(tarfile.TarInfo("../../up"))
    assert "climbs out" in boxes.fails(1, "cp", "-", "merged:/tmp", stdin=climbing.getvalue())
    boxes("rm", "-f", "merged")


@pytest.mark.parametrize("name", ["running", "stopped"])
def test_a_killed_copy_leaves_the_old_file_and_no_other(boxes: Hull, name: str) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as entries:
        info = tarfile.TarInfo("file")
        info.size = 8 << 20
        entries.addfile(info, io.BytesIO(b"n" * info.size))
    boxes("exec", "running", "mkdir", "-p", "/tmp/kill") if name == "running" else None
    place = "/tmp/kill" if name == "running" else "/tmp"
    old = io.BytesIO()
    with tarfile.open(fileobj=old, mode="w") as entries:
        info = tarfile.TarInfo("file")
        info.size = 3
        entries.addfile(info, io.BytesIO(b"old"))
    boxes("cp", "-", f"{name}:{place}", stdin=old.getvalue())
    copy = boxes.start("cp", "-", f"{name}:{place}", stdin=subprocess.PIPE)  # type: ignore[arg-type]
    copy.stdin.write(whole.getvalue()[: 6 << 20])
    copy.stdin.flush()
    os.kill(copy.pid, signal.SIGKILL)
    copy.stdin.close()
    copy.wait()
    with tarfile.open(fileobj=io.BytesIO(boxes.run("cp", f"{name}:{place}", "-").stdout)) as entries:
        found = {entry.name: entries.extractfile(entry).read() for entry in entries if entry.isfile()}  # type: ignore[union-attr]
    base = place.rpartition("/")[2]
    assert {key: value for key, value in found.items() if "file" in key} == {f"{base}/file": b"old"}


def test_s40_swapped_links_lead_nowhere_in_two_hundred_copies_each_way(boxes: Hull, tmp_path: Path) -> None:
    """Directories and files of the copy's path are exchanged with links to a directory that the host has too."""
    canary = tmp_path / "canary"
    (canary / "sub").mkdir(parents=True)
    (canary / "file").write_text("canary\n")
    (canary / "sub/file").write_text("canary\n")
    os.chmod(canary / "file", 0o600)
    before = described(canary)
    script = f"""
        mkdir -p /race/dir/sub /race/store; echo inside > /race/dir/file; echo inside > /race/dir/sub/file
        ln -s {canary} /race/link; ln -s {canary}/file /race/filelink
        echo ready
        while :; do
            mv /race/dir /race/store/dir; mv /race/link /race/dir; mv /race/dir /race/link
            mv /race/store/dir /race/dir
            mv /race/dir/sub /race/store/sub; ln -s {canary}/sub /race/dir/sub; rm /race/dir/sub
            mv /race/store/sub /race/dir/sub
            ln -sf {canary}/file /race/dir/file; rm -f /race/dir/file; echo inside > /race/dir/file
        done
    """
    boxes("run", "-d", "--name", "racer", "--network", "none", "busybox", "sh", "-c", script)
    wait_until(lambda: "ready" in boxes("logs", "racer"), "the race")
    payload = tmp_path / "payload"
    (payload / "sub").mkdir(parents=True)
    (payload / "file").write_text("payload\n")
    (payload / "sub/file").write_text("payload\n")
    done = subprocess.run(
        [sys.executable, "-c", COPY_LOOP, boxes.paths.root, boxes.paths.run, str(tmp_path)],
        env={**boxes.env, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / ".collections")},
        stdout=subprocess.PIPE,
        check=True,
    )
    outcomes = dict(zip(("in", "out", "canaries"), map(int, done.stdout.split())))
    assert described(canary) == before
    assert outcomes["canaries"] == 0 and min(outcomes["in"], outcomes["out"]) > 20, outcomes
    boxes("rm", "-f", "racer")


def test_s40_the_links_of_a_path_are_the_containers(boxes: Hull, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host\n")
    for name in ("running", "stopped"):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as entries:
            for link, target in (("abs", str(tmp_path / "secret")), ("up", "../../../.." + str(tmp_path))):
                info = tarfile.TarInfo(link)
                info.type, info.linkname = tarfile.SYMTYPE, target
                entries.addfile(info)
        boxes("cp", "-", f"{name}:/tmp", stdin=archive.getvalue())
        boxes.fails(1, "cp", "-L", f"{name}:/tmp/abs", str(tmp_path / "stolen"))
        boxes.fails(1, "cp", f"{name}:/tmp/up/secret", str(tmp_path / "stolen"))
        boxes.fails(1, "cp", str(tmp_path / "secret"), f"{name}:/tmp/up/planted")
        boxes.fails(1, "cp", f"{name}:/proc/1/root/etc/passwd", str(tmp_path / "stolen"))
        boxes("cp", f"{name}:/tmp/abs", str(tmp_path / f"link-{name}"))
        assert os.readlink(tmp_path / f"link-{name}") == str(tmp_path / "secret")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link-running", "link-stopped", "secret"]


def test_s40_a_link_that_came_from_the_container_is_not_followed_by_the_next_copy(boxes: Hull, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("canary\n")
    boxes("exec", "running", "sh", "-c", f"rm -rf /turn; mkdir /turn; ln -s {canary} /turn/thing")
    boxes("cp", "running:/turn/thing", str(tmp_path / "out"))
    boxes("cp", "-a", "running:/turn/thing", str(tmp_path / "out"))
    assert os.readlink(tmp_path / "out") == str(canary)
    boxes("exec", "running", "sh", "-c", "rm /turn/thing; mkdir /turn/thing; echo planted > /turn/thing/file")
    for source in ("running:/turn/thing", "running:/turn/thing/."):
        message = boxes.fails(1, "cp", source, str(tmp_path / "out"))
        assert "out is no directory there" in message and "end it with a slash to follow the link" in message
    boxes("exec", "running", "sh", "-c", "rm -r /turn/thing; echo planted > /turn/thing")
    boxes("cp", "running:/turn/thing", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "planted\n" and not (tmp_path / "out").is_symlink()
    assert {path.name: path.read_text() for path in canary.iterdir()} == {"file": "canary\n"}
    (tmp_path / "mine").symlink_to(canary)
    boxes("cp", "running:/turn/thing", f"{tmp_path}/mine/")
    assert (canary / "thing").read_text() == "planted\n"


@pytest.mark.parametrize("name", STATES)
def test_s12_nothing_of_the_container_is_executed_or_loaded(boxes: Hull, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    log = tmp_path / "trace"
    for words in (
        ["cp", str(tmp_path / "file"), f"{name}:/tmp/traced"],
        ["cp", f"{name}:/tmp/traced", str(tmp_path / "b")],
    ):
        traced = ["strace", "-f", "-o", str(log), "-e", "trace=execve,execveat,setns,unshare,openat", *boxes.command]
        subprocess.run([*traced, *words], env=boxes.env, check=True)
        lines = log.read_text().splitlines()
        entered = [index for index, line in enumerate(lines) if "setns(" in line or "unshare(" in line]
        assert entered
        after = lines[entered[0] :]
        assert not [line for line in after if "execve" in line]
        kinds = (".so", ".py", "nsswitch", "/etc/passwd", "locale")
        assert not [line for line in after if "openat" in line and any(kind in line for kind in kinds)]
