# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The same images unpacked by umoci and shown by Docker, file by file: type, mode, owner, content, links, times."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.test_settle import LOWER, ROWS, clear_meaning, random_layer
from tests.support.images import Layer, make_image, write_layout
from tests.support.layer_stack import Entries, LayerStack, Tree, assert_same
from tests.support.memory_directory import memory_directory
from tests.support.tars import describe, entry, make_tar

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# umoci 0.4.7 refuses a whiteout behind a link that leads in circles; it deletes nothing
UMOCI_DIFFERS = {"whiteouts through links that lead to no directory"}
# what Docker 20.10 gets right, too
DOCKER_AGREES = (
    "whiteout, then the file",
    "opaque last",
    "opaque first",
    "a link replaced by a directory",
    "a file becomes a directory",
    "a whiteout of what is not there",
    "an own directory with a whiteout of nothing",
    "nothing at all",
)
DOCKERS_OWN = ("etc", "dev", "proc", "sys", ".dockerenv")  # what every container of Docker's gets


@pytest.fixture
def place() -> Iterator[Path]:
    with memory_directory() as path:
        yield path


def by_umoci(place: Path, *layers: bytes) -> Tree:
    """What umoci makes of the layers."""
    layout = place / "layout"
    write_layout(make_image([Layer(layer, "plain") for layer in layers]), str(layout))
    command = ["umoci", "raw", "unpack", "--image", f"{layout}:latest", str(place / "theirs")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return describe(place / "theirs")


def with_our_times(theirs: Tree, ours: Tree, start_ns: int) -> Tree:
    """Directories that get no time from a layer, or something new in them, have the time of unpacking there."""
    return {
        name: (*fields[:4], ours[name][4], *fields[5:]) if name in ours and fields[4] >= start_ns else fields
        for name, fields in theirs.items()
    }


def compare(place: Path, *layers: bytes) -> None:
    start_ns = time.time_ns()
    ours = LayerStack(place / "ours").tree(*layers)
    assert_same(ours, with_our_times(by_umoci(place, *layers), ours, start_ns))


needs_umoci = pytest.mark.skipif(not shutil.which("umoci"), reason="needs umoci")


@needs_umoci
@pytest.mark.parametrize("row", [row for row in ROWS if row not in UMOCI_DIFFERS])
def test_umoci_unpacks_the_same(place: Path, row: str) -> None:
    compare(place, *(make_tar(*layer) for layer in [LOWER, *ROWS[row]]))


@needs_umoci
def test_umoci_unpacks_generated_images_the_same(place: Path) -> None:
    compared = 0
    for number in range(150):
        rng = random.Random(number)
        known: list[str] = []
        layers = [random_layer(rng, known) for _ in range(rng.randrange(2, 4))]
        if clear_meaning(layers) is None:
            continue
        try:
            compare(place / str(number), *(make_tar(*layer) for layer in layers))
            compared += 1
        except subprocess.CalledProcessError as error:
            assert b"not a directory" in error.stderr or b"too many levels" in error.stderr, layers
    assert compared > 10


def packages() -> list[Path]:
    """Some Debian packages of this machine's cache, of a size that is quick to unpack."""
    found = sorted(Path("/var/cache/apt/archives").glob("*.deb"))
    return [path for path in found if 50_000 < path.stat().st_size < 1_500_000][:12]


@needs_umoci
@pytest.mark.skipif(len(packages()) < 4, reason="needs Debian packages in apt's cache")
def test_real_debian_packages_as_layers(place: Path) -> None:
    """Each package is a layer; one more deletes, replaces and adds without describing any directory."""
    layers = [
        subprocess.run(["dpkg-deb", "--fsys-tarfile", path], check=True, stdout=subprocess.PIPE).stdout
        for path in packages()
    ]
    names = {name for layer in layers for name in tarfile.open(fileobj=io.BytesIO(layer)).getnames()}
    documents = sorted(name for name in names if name.startswith("./usr/share/doc/") and name.count("/") == 4)
    assert len(names) > 200 and len(documents) > 4
    changes: Entries = []
    for name in documents[::2]:
        parent, _, last = name.rpartition("/")
        changes.append(entry(f"{parent}/.wh.{last}"))
    changes += [entry(f"{name}/added/file", b"new", mode=0o4755) for name in documents[::3]]
    compare(place, *layers, make_tar(*changes))


@needs_umoci
def test_the_configuration_of_this_machine_as_a_layer(place: Path) -> None:
    command = ["tar", "-C", "/", "--format=posix", "--xattrs", "--numeric-owner", "-c", "etc", "usr/lib/os-release"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    changes = [
        entry("etc/.wh.passwd"),
        entry("etc/ssl/new", b"n"),
        entry("usr/lib/x", b"x"),
        entry("etc/alternatives/a"),
    ]
    compare(place, done.stdout, make_tar(*changes))


@pytest.mark.skipif(not shutil.which("dockerd") or not shutil.which("skopeo"), reason="needs Docker and skopeo")
@pytest.mark.parametrize("row", DOCKER_AGREES)
def test_docker_shows_the_same_where_it_is_right(place: Path, docker: Any, row: str) -> None:
    start_ns = time.time_ns()
    layers = [make_tar(*layer) for layer in [LOWER, *ROWS[row]]]
    write_layout(make_image([Layer(layer, "plain") for layer in layers], config={"Cmd": ["x"]}), str(place / "layout"))
    archive = place / "archive.tar"
    command = ["skopeo", "copy", "-q", f"oci:{place}/layout:latest", f"docker-archive:{archive}:hull/row:latest"]
    subprocess.run(command, check=True)
    docker("load", "-q", "-i", str(archive))
    container = docker("create", "hull/row:latest").decode().strip()
    (place / "theirs").mkdir()
    exported = docker("export", container)
    docker("rm", container)
    subprocess.run(["tar", "-C", place / "theirs", "-xp", "--numeric-owner"], input=exported, check=True)

    def comparable(tree: Tree) -> Tree:
        own = tuple(name.encode() for name in DOCKERS_OWN)
        return {name: (*fields[:7], {}) for name, fields in tree.items() if name.split(b"/")[0] not in own}

    ours = comparable(LayerStack(place / "ours").tree(*layers))
    assert_same(ours, with_our_times(comparable(describe(place / "theirs")), ours, start_ns))
