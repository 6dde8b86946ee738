# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`commit diff export history squash image diff`: an image shows what the container showed, file by file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import stat
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._engine import containers, images
from ansible_collections.hull.engine.plugins.module_utils._engine.declared import plan_of
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.tree_views import TreeView, container_view

from tests.cli.conftest import Hull, engine_in, wait_until
from tests.support.docker_daemon import Docker
from tests.support.images import File, busybox_image, write_layout
from tests.support.operations import SCRIPT, changed_image
from tests.support.tars import describe

EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}
RUN = ("run", "--network", "none", "--cap-add", "MKNOD")
ENGINES = (b"etc/hosts", b"etc/hostname", b"etc/resolv.conf", b".dockerenv")  # made to mount something on
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def load(hull: Hull, directory: Path, image: Any, name: str) -> None:
    write_layout(image, str(directory / name))
    shown = hull("load", "-q", "-i", str(directory / name))
    hull("tag", shown.strip().rpartition(" ")[2], f"{name}:1")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, registry: Any) -> Iterator[Hull]:
    """An engine with the image `ops`, in which nothing is changed."""
    place = tmp_path_factory.mktemp("engine")
    for made in engine_in(place, registry):
        load(made, place, changed_image(), "ops")
        yield made


@pytest.fixture(scope="module")
def changed(engine: Hull) -> str:
    """A container after all the operations, stopped; with attributes that no program in it can set."""
    engine(*RUN, "--name", "changed", "ops:1", "sh", "-c", SCRIPT)
    upper = Path(upper_of(engine, "changed"))
    os.setxattr(upper / "work/fresh", "user.comment", b"line\nbreak \xff")
    os.setxattr(upper / "work/large", "security.capability", CAPABILITY)
    os.setxattr(upper / "work/new", "user.directory", b"yes")
    os.setxattr(upper / "work/large", "trusted.secret", b"no")
    os.utime(upper / "work/empty", ns=(0, 1_600_000_000_123_456_789))
    os.mknod(upper / "tmp-socket", stat.S_IFSOCK | 0o600)
    return "changed"


@pytest.fixture(scope="module")
def committed(engine: Hull, changed: str) -> str:
    return engine("commit", changed, "result:1", env=EPOCH).strip()


def upper_of(hull: Hull, name: str) -> str:
    return hull("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", name).strip()


def described(view: TreeView, **options: bool) -> dict[bytes, Any]:
    """All that a view shows, without what the engine makes in every container."""
    with view as fd:
        found = describe(f"/proc/self/fd/{fd}/.", **options)
    return {path: facts for path, facts in found.items() if path not in (*ENGINES, b"tmp-socket", b".", b"etc")}


def seen_in_container(hull: Hull, name: str) -> dict[bytes, Any]:
    with Engine(hull.paths) as engine:
        return described(container_view(plan_of(containers.find(engine, name))))


def seen_in_image(hull: Hull, name: str) -> dict[bytes, Any]:
    with Engine(hull.paths) as engine:
        return described(TreeView(engine.paths.stack(images.find(engine, name).stack)))


def same(one: dict[bytes, Any], other: dict[bytes, Any]) -> None:
    assert sorted(one) == sorted(other)
    assert {path: (one[path], other[path]) for path in one if one[path] != other[path]} == {}


def without_attribute(facts: dict[bytes, Any], name: str) -> dict[bytes, Any]:
    return {
        path: (*fields, {key: value for key, value in attributes.items() if key != name})
        for path, (*fields, attributes) in facts.items()
    }


def test_an_image_shows_what_the_container_showed(engine: Hull, changed: str, committed: str) -> None:
    before = without_attribute(seen_in_container(engine, changed), "trusted.secret")
    assert before[b"work/empty"][4] == 1_600_000_000_123_456_789 and len(before) > 90
    same(before, seen_in_image(engine, "result:1"))


def test_a_container_of_the_image_finds_it_so(engine: Hull, committed: str) -> None:
    script = "cat append fresh-link two remade/both; ls remade; test ! -e delete; test -u mode; readlink to-link"
    shown = engine("run", "--rm", "--network", "none", "-w", "/work", committed, "sh", "-ec", script)
    assert shown.split() == "one two new shared changed new both new sub /nowhere".split()


def test_umoci_unpacks_the_same(engine: Hull, committed: str, tmp_path: Path) -> None:
    layout = str(tmp_path / "layout")
    engine("save", "-o", str(tmp_path / "saved.tar"), "result:1")
    subprocess.run(["skopeo", "copy", "-q", f"docker-archive:{tmp_path}/saved.tar", f"oci:{layout}:x"], check=True)
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:x", f"{tmp_path}/bundle"], check=True, capture_output=True)
    found = describe(f"{tmp_path}/bundle/rootfs")
    theirs = {path: facts for path, facts in found.items() if path != b"." and path != b"etc"}
    same(seen_in_image(engine, "result:1"), theirs)


def names_and_contents(tar: bytes) -> dict[str, tuple[Any, ...]]:
    """Entries of an export as far as Docker keeps them: no sub-seconds, no `user.` attributes."""
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as archive:
        found = {}
        first: dict[str, str] = {}
        for member in archive:
            name = os.path.normpath(member.name)
            data = archive.extractfile(member) if member.isreg() else None
            content = hashlib.sha256(data.read()).hexdigest() if data else member.linkname if member.issym() else ""
            if member.islnk():
                target = os.path.normpath(member.linkname)
                first[name] = target
                found[name] = (*found[target][:-1], "link")
            else:
                kind = member.type.decode()
                found[name] = (kind, member.mode & 0o7777, member.uid, member.gid, int(member.mtime), content, "")
    skipped = {"etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv", ".", "etc", "etc/mtab"}
    return {
        name: facts
        for name, facts in found.items()
        if name not in skipped and not name.startswith(("dev", "proc", "sys"))
    }


def test_docker_shows_the_same(engine: Hull, committed: str, docker: Docker, tmp_path: Path) -> None:
    """Its own export of a container of the image that it loaded, against ours."""
    engine("save", "-o", str(tmp_path / "saved.tar"), "result:1")
    docker("load", "-i", str(tmp_path / "saved.tar"))
    container = docker("create", "--network", "none", committed).decode().strip()
    theirs = names_and_contents(docker("export", container))
    engine("create", "--name", "for-export", "--network", "none", "result:1")
    exported = engine.run("export", "for-export")
    assert exported.returncode == 0
    assert names_and_contents(exported.stdout) == theirs
    docker.forget()


def test_diff_tells_what_docker_tells(engine: Hull, changed: str, docker: Docker, tmp_path: Path) -> None:
    write_layout(changed_image(), str(tmp_path / "ops"))
    source, target = f"oci:{tmp_path}/ops:latest", f"docker-archive:{tmp_path}/ops.tar:ops:1"
    subprocess.run(["skopeo", "copy", "-q", source, target], check=True)
    docker("load", "-i", str(tmp_path / "ops.tar"))
    docker("run", "--name", "ops", "--network", "none", "ops:1", "sh", "-c", SCRIPT)
    theirs = set(docker("diff", "ops").decode("utf-8", "backslashreplace").splitlines())
    docker.forget()
    ours = set(engine("diff", changed).splitlines())
    odd = {"break", "A /work/line", "A /work/line\\x0abreak", "A /work/\\xff\\xfe odd", "A /work/\ufffd\ufffd odd"}
    assert ours - odd == {line for line in theirs if line} - odd


def config_of(hull: Hull, name: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(hull("inspect", "--type", "image", name))[0]
    return facts


def test_the_command_as_users_type_it(hull: Hull) -> None:
    identity = hull("run", "--name", "web", "--network", "none", "busybox", "sh", "-c", "echo php > /etc/php; hostname")
    container = hull("inspect", "-f", "{{.Id}}", "web").strip()
    assert identity.strip() == container[:12]
    made = hull("commit", "-m", "PHP installed", container[:12], "emma:v2")
    assert made.startswith("sha256:") and hull("images", "-q", "--no-trunc").split().count(made.strip()) == 1
    facts = config_of(hull, "emma:v2")
    assert (facts["Comment"], facts["Id"]) == ("PHP installed", made.strip())
    assert hull("run", "--rm", "--network", "none", "emma:v2", "cat", "/etc/php") == "php\n"


def test_the_configuration_is_the_containers_with_the_changes(hull: Hull) -> None:
    options = [
        "-e",
        "A=1",
        "-e",
        "PATH=/bin:/x",
        "-l",
        "l=1",
        "-w",
        "/tmp",
        "-u",
        "nobody",
        "-p",
        "80",
        "-v",
        "/anonymous",
    ]
    options += ["--stop-signal", "SIGINT", "--health-cmd", "true", "--health-interval", "7s", "--hostname", "host"]
    hull("create", "--name", "c", *options, "busybox", "sleep", "9")
    hull("commit", "-a", "Ann", "-c", "ENV B=2 C=3", "-c", 'CMD ["x"]', "--change", "EXPOSE 443/udp", "c", "made")
    facts = config_of(hull, "made")
    config = facts["Config"]
    assert config["Env"] == ["PATH=/bin:/x", "A=1", "B=2", "C=3"] and config["Cmd"] == ["x"]
    assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("nobody", "/tmp", "SIGINT")
    assert config["Labels"] == {"l": "1"} and set(config["ExposedPorts"]) == {"80/tcp", "443/udp"}
    assert config["Volumes"] == {"/anonymous": {}} and config["Healthcheck"]["Interval"] == 7 * 10**9
    assert "Hostname" not in config and facts["Author"] == "Ann"
    hull("create", "--name", "own", "--entrypoint", "/bin/echo", "made")
    hull("commit", "own", "made:2")
    config = config_of(hull, "made:2")["Config"]
    assert config["Entrypoint"] == ["/bin/echo"] and "Cmd" not in config


def test_the_same_container_gives_the_same_image(engine: Hull, changed: str, committed: str) -> None:
    assert engine("commit", changed, env=EPOCH).strip() == committed
    assert engine("commit", changed, env={"SOURCE_DATE_EPOCH": "1700000001"}).strip() != committed
    message = engine.run("commit", changed, env={"SOURCE_DATE_EPOCH": "today"})
    assert message.returncode == 1 and b"SOURCE_DATE_EPOCH: 'today' is not a number of seconds" in message.stderr


def test_an_unchanged_container_gets_no_layer(engine: Hull) -> None:
    """Although the engine had to make places to mount on, for the image has no /etc/hosts."""
    engine("run", "--name", "same", "--network", "none", "ops:1", "true")
    assert engine("diff", "same") == ""
    engine("commit", "-m", "nothing", "same", "same:1")
    assert config_of(engine, "same:1")["RootFS"] == config_of(engine, "ops:1")["RootFS"]
    newest = engine("history", "--format", "{{.Comment}} {{.Size}} {{.Layer}}", "same:1").splitlines()[0]
    assert newest == "nothing 0B "


def test_the_root_is_the_images_whatever_the_umask(engine: Hull, tmp_path: Path) -> None:
    root = File(mode=0o2711, uid=3, gid=4, kind=tarfile.DIRTYPE)
    load(engine, tmp_path, busybox_image({"./": root}), "rooted")
    engine.shell("umask 077; hull run --name rooted --network none rooted:1 stat -c '%a %u %g' / > /dev/null")
    assert engine("logs", "rooted") == "2711 3 4\n" and engine("diff", "rooted") == ""
    engine("run", "--name", "moved", "--network", "none", "rooted:1", "sh", "-c", "chmod 1777 /")
    assert engine("diff", "moved") == "C /\n"
    engine("commit", "moved", "rooted:2")
    assert engine("run", "--rm", "--network", "none", "rooted:2", "stat", "-c", "%a %u %g", "/") == "1777 3 4\n"


def test_mounts_are_not_committed_but_their_places(engine: Hull, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    engine(*RUN, "--name", "mounts", "-v", "data:/srv/data", "-v", f"{tmp_path}:/host", "ops:1", "touch", "/srv/data/x")
    assert engine("diff", "mounts").split("\n") == ["A /host", "A /srv", "A /srv/data", ""]
    engine("commit", "mounts", "mounts:1")
    assert engine("run", "--rm", "--network", "none", "mounts:1", "ls", "-A", "/srv/data", "/host") == (
        "/host:\n\n/srv/data:\n"
    )


def test_ids_in_a_user_namespace_are_those_inside(engine: Hull) -> None:
    script = "echo x > /work/mine; chown 12:34 /work/mine; chmod 4755 /work/mine"
    engine("run", "--name", "mapped", "--userns", "auto", "--network", "none", "ops:1", "sh", "-c", script)
    assert engine("diff", "mapped") == "C /work\nA /work/mine\n"
    engine("commit", "mapped", "mapped:1")
    assert seen_in_image(engine, "mapped:1")[b"work/mine"][1:4] == (0o4755, 12, 34)


def test_a_running_container_stands_still_meanwhile_and_goes_on(engine: Hull) -> None:
    """It counts in two files; at no moment that a committed image shows, they are further apart than a step."""
    loop = "i=0; while :; do i=$((i+1)); echo $i > /work/a; echo $i > /work/b; done"
    engine("run", "-d", "--name", "busy", "--network", "none", "ops:1", "sh", "-c", loop)
    counted = []
    for number in range(3):
        engine("commit", "busy", f"busy:{number}")
        read = engine("run", "--rm", "--network", "none", f"busy:{number}", "sh", "-c", "cat /work/a /work/b")
        counts = [int(word) for word in read.split()]
        assert not counts or max(counts) - min(counts) <= 1
        counted.append(max(counts, default=0))
    assert counted == sorted(counted) and engine.status("busy") == "running"
    engine("commit", "--pause=false", "busy", "busy:4")
    engine("pause", "busy")
    engine("commit", "busy", "busy:5")
    assert engine.status("busy") == "paused"
    engine("rm", "-f", "busy")


def test_a_killed_commit_leaves_nothing_and_thaws_the_container(engine: Hull) -> None:
    script = "head -c 300000000 /dev/zero > /work/large; while :; do sleep 1; done"
    engine("run", "-d", "--name", "victim", "--network", "none", "ops:1", "sh", "-c", script)
    wait_until(lambda: "300000000" in engine("exec", "victim", "stat", "-c", "%s", "/work/large"), "the file", 20)
    before = engine("images", "-a", "-q")
    commit = engine.start("commit", "victim", "victim:1")
    wait_until(lambda: engine.status("victim") == "paused", "the pause")
    os.kill(commit.pid, signal.SIGKILL)
    assert commit.wait() == -signal.SIGKILL
    wait_until(lambda: engine.status("victim") == "running", "the thaw")
    assert engine("images", "-a", "-q") == before
    engine("kill", "victim")
    engine("commit", "victim", "victim:1")
    assert not [name for name in os.listdir(f"{engine.paths.root}/tmp") if "layer" in name]
    engine("rm", "victim")


def test_names_that_no_layer_can_have_are_left_out_and_told(engine: Hull) -> None:
    script = "echo x > .wh.file; mkdir .wh.dir; echo x > .wh.dir/in; echo x > fine"
    engine(*RUN, "-w", "/work", "--name", "whiteouts", "ops:1", "sh", "-c", script)
    done = engine.run("commit", "whiteouts", "whiteouts:1")
    assert done.returncode == 0
    assert [line.split(" is not in")[0] for line in done.stderr.decode().splitlines()] == [
        f"hull: warning: container whiteouts: /work/{name}" for name in (".wh.dir", ".wh.file")
    ]
    assert engine("image", "diff", "ops:1", "whiteouts:1") == "A /work/fine\n"
    assert "A /work/.wh.dir/in" in engine("diff", "whiteouts")


def test_a_name_like_the_beginning_of_a_gzip_file_does_no_harm(engine: Hull) -> None:
    engine(*RUN, "--name", "magic", "ops:1", "sh", "-c", r"echo x > $(printf '/\037\213\010')")
    engine("commit", "magic", "magic:1")
    assert seen_in_image(engine, "magic:1")[b"\x1f\x8b\x08"][5][0] == 2


def test_an_export_gives_the_container_back(engine: Hull, changed: str, tmp_path: Path) -> None:
    path = tmp_path / "export.tar"
    engine("export", "-o", str(path), changed)
    assert path.read_bytes() == engine.run("export", changed).stdout and path.stat().st_mode & 0o777 == 0o600
    tree = tmp_path / "tree"
    tree.mkdir()
    command = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", path, "-C", tree]
    subprocess.run(command, check=True, capture_output=True)
    theirs = {name: facts for name, facts in describe(tree).items() if name not in (*ENGINES, b".", b"etc")}
    same(without_attribute(seen_in_container(engine, changed), "trusted.secret"), theirs)
    engine("import", str(path), "imported:1")
    assert engine("image", "diff", "result:1", "imported:1").split() == [
        word for name in sorted(ENGINES[:3]) for word in ("A", f"/{name.decode()}")
    ]


def test_bad_input_is_named_and_changes_nothing(engine: Hull, tmp_path: Path) -> None:
    before = engine("images", "-a", "-q")
    engine("create", "--name", "input", "ops:1")
    for words, message in (
        (["commit", "nobody"], "container nobody: no such container"),
        (["commit", "-c", "FROM x", "input"], "--change: 'FROM x' is not allowed; use one of CMD"),
        (["commit", "input", "name@sha256:" + "0" * 64], "a digest can't be given as a name"),
        (["commit", "input", "UPPER"], "not valid"),
        (["commit"], "needs at least 1 argument"),
        (["diff", "nobody"], "container nobody: no such container"),
        (["export", "nobody"], "container nobody: no such container"),
        (["export", "-o", str(tmp_path), "input"], "is a directory"),
        (["export", "-o", str(tmp_path / "no/file"), "input"], "there is no directory"),
        (["history", "nothing"], "image nothing: no such image"),
        (["squash", "nothing"], "image nothing: no such image"),
        (["squash", "--from", "9", "ops:1"], "--from: 9: the image has 2 layers"),
        (["squash", "--from", "abcdef", "ops:1"], "--from: 'abcdef' is no layer of the image"),
        (["image", "diff", "ops:1", "nothing"], "image nothing: no such image"),
    ):
        assert message in engine.fails(1, *words), words
    assert engine("images", "-a", "-q") == before and os.listdir(tmp_path) == []
    with engine.terminal("export", "input") as terminal:
        terminal.wait_for("standard output is a terminal")
        assert terminal.exit_code() == 1


def test_history_tells_the_steps(engine: Hull, changed: str, committed: str) -> None:
    engine("commit", "-m", "the remark", changed, "told:1", env=EPOCH)
    rows = [json.loads(line) for line in engine("history", "--format", "json", "told:1").splitlines()]
    assert [row["ID"] for row in rows[1:]] == ["<missing>"] * 2 and rows[0]["Comment"] == "the remark"
    assert rows[0]["CreatedBy"].startswith("sh -c set -e cd /work") and len(rows[0]["CreatedBy"]) == 45
    assert engine("history", "-q", "--no-trunc", "told:1").splitlines()[0] == config_of(engine, "told:1")["Id"]
    sizes = [int(row) for row in engine("history", "--human=false", "--format", "{{.Size}}", "told:1").split()]
    assert sum(sizes) == config_of(engine, "told:1")["Size"]
    assert "2023-11-14T22:13:20.000000000Z" in engine("history", "-H=false", "told:1")


def test_a_squashed_image_shows_the_same(engine: Hull, committed: str) -> None:
    one = engine("squash", "result:1", "squashed:1").strip()
    assert engine("squash", "result:1").strip() == one and engine("squash", one).strip() == one
    same(seen_in_image(engine, "result:1"), seen_in_image(engine, "squashed:1"))
    before, after = config_of(engine, "result:1"), config_of(engine, "squashed:1")
    assert (before["Config"], before["Created"]) == (after["Config"], after["Created"])
    assert len(after["RootFS"]["Layers"]) == 1
    assert [row.split()[0] for row in engine("history", "squashed:1").splitlines()[1:]] == [one[7:19]]


@pytest.mark.parametrize("above", ["2", "diff ID"])
def test_some_layers_are_squashed_onto_the_rest(engine: Hull, committed: str, above: str) -> None:
    lowest = config_of(engine, "result:1")["RootFS"]["Layers"][0]
    engine("squash", "--from", "2" if above == "2" else lowest.partition(":")[2][:12], "result:1", "partly:1")
    layers = config_of(engine, "partly:1")["RootFS"]["Layers"]
    assert layers[0] == lowest and len(layers) == 2
    same(seen_in_image(engine, "result:1"), seen_in_image(engine, "partly:1"))


def test_a_squash_of_what_changes_and_comes_back_deletes_and_links(engine: Hull, committed: str) -> None:
    """Onto the image below: what the layers in between made and removed again is in none."""
    undo = (
        "cd /work; rm -rf remade new fresh-link; echo again > delete; ln two another; mv append moved; chmod 700 /work"
    )
    engine(*RUN, "--name", "undone", "result:1", "sh", "-ec", undo)
    engine("commit", "undone", "undone:1")
    engine("squash", "--from", "2", "undone:1", "undone:2")
    assert len(config_of(engine, "undone:2")["RootFS"]["Layers"]) == 3
    same(seen_in_image(engine, "undone:1"), seen_in_image(engine, "undone:2"))


def test_two_images_are_compared(engine: Hull, committed: str) -> None:
    lines = engine("image", "diff", "ops:1", "result:1").splitlines()
    expected = {
        "C /work/append  (content, size, time)",
        "C /work/mode  (mode)",
        "C /work/owner  (owner)",
        "C /work/replace  (content, time)",
        "C /work/symlink  (link, time)",
        "C /work/to-file  (type)",
        "C /work/three  (links)",
        "D /work/delete",
        "D /work/gone",
        "A /work/fresh",
    }
    assert expected <= set(lines)
    assert "C /work/touched  (time)" in engine("image", "diff", "--times", "ops:1", "result:1").splitlines()
    assert engine("image", "diff", "--times", "result:1", "result:1") == ""
    assert '{"Kind":"D","Path":"/work/fresh","What":""}' in engine(
        "image", "diff", "--format", "json", committed, "ops:1"
    )


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 90 MiB: two copies of the large file do not fit."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90m", "small", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_is_told_and_leaves_nothing(small: Path, registry: Any) -> None:
    for hull in engine_in(small, registry):
        load(hull, small, changed_image(), "ops")
        hull(*RUN, "--name", "large", "ops:1", "sh", "-c", "head -c 50000000 /dev/urandom > /work/large")
        free, layers = os.statvfs(small).f_bavail, sorted(os.listdir(f"{hull.paths.root}/layers"))
        assert "no space left" in hull.fails(1, "commit", "large", "large:1")
        (small / "filler").write_bytes(bytes(os.statvfs(small).f_bavail * 4096 - 8_000_000))
        message = hull.fails(1, "export", "-o", str(small / "full.tar"), "large")
        assert message == f"hull: export to {small}/full.tar: no space left on device\n"
        (small / "filler").unlink()
        assert sorted(os.listdir(f"{hull.paths.root}/layers")) == layers and not list(small.glob("full*"))
        assert abs(os.statvfs(small).f_bavail - free) < 32 and "large" not in hull("images")
        hull("run", "--rm", "--network", "none", "ops:1", "true")
        hull(*RUN, "--name", "little", "ops:1", "touch", "/work/little")
        hull("commit", "little", "little:1")
