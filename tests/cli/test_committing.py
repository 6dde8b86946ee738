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
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup, detect

from tests.cli.conftest import Hull, engine_in, wait_until
from tests.support.docker_daemon import Docker
from tests.support.images import busybox_image, busybox_layer, write_layout
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
