# SPDX-License-Identifier: GPL-3.0-or-later
"""Images under kill -9 at every kind of step, and on a disk that fills: nothing half-made is seen, nothing stays."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.conftest import Hull, engine_in
from tests.support.images import File, Image, Layer, busybox_layer, directory, hard_link, make_image, symlink, tar_of
from tests.support.kills import count_calls, moments, run_killed
from tests.support.registry import RunningRegistry, running_registry

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("strace"), reason="needs root and strace")
_AT_A_TIME = 4


def _image() -> Image:
    """Layers of which one needs the lower ones: implicit parents, one a link there, a hard link into a lower layer."""
    lower: dict[str, File | bytes] = {"data": directory(0o750), "data/a": b"a" * 5000, "lib": symlink("usr/lib")}
    lower |= {"usr": directory(), "usr/lib": directory(), "usr/lib/one": b"one"}
    upper: dict[str, File | bytes] = {"data/b": b"b" * 70000, "data/linked": hard_link("data/a"), "lib/two": b"two"}
    last = Layer(tar_of({"top": b"t" * 300_000}))
    return make_image([busybox_layer(), lower, upper, last], config={"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]})


class Scene:
    """What the commands of these tests bring images from, and to."""

    def __init__(self, place: Path, registry: RunningRegistry) -> None:
        self.place = place
        self.registry = registry
        self.reference = registry.push("faults/image", "1", _image())
        self.archive = str(place / "archive.tar")
        self.rootfs = str(place / "rootfs.tar")
        Path(self.rootfs).write_bytes(tar_of({"etc": directory(), "etc/x": b"x" * 50_000, "run": directory()}))
        self._numbers = itertools.count()
        with self.engine() as hull:
            hull("pull", "-q", self.reference)
            hull("save", "-o", self.archive, self.reference)

    @contextlib.contextmanager
    def engine(self) -> Iterator[Hull]:
        """An engine with an empty store, gone at the end."""
        place = self.place / str(next(self._numbers))
        place.mkdir()
        yield from engine_in(place, self.registry)
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Everything lies in memory: on a busy disk every synchronisation would wait for what others write.

    The registry is its own: what is pushed here shall not be in the lists of other tests.
    """
    place = tmp_path_factory.mktemp("faults")
    _mount("-t", "tmpfs", "faults", str(place))
    try:
        with running_registry() as registry:
            yield Scene(place, registry)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def _nothing(_hull: Hull, _scene: Scene) -> None:
    pass


def _pulled(hull: Hull, scene: Scene) -> None:
    hull("pull", "-q", scene.reference)


def _pushed(hull: Hull, scene: Scene) -> str:
    """A name of this engine's own, so that its registry has nothing of it."""
    return f"{scene.registry.host}/faults/{os.path.basename(os.path.dirname(hull.paths.root))}:1"


def _imported(hull: Hull, scene: Scene) -> None:
    hull("import", scene.rootfs, _pushed(hull, scene))


def _changed(hull: Hull, scene: Scene) -> None:
    _pulled(hull, scene)
    hull("run", "--name", "changed", "--network", "none", scene.reference, "sh", "-c", "echo more >> /data/a; rm /top")


OPERATIONS: dict[str, tuple[Callable[[Hull, Scene], None], Callable[[Hull, Scene], list[str]]]] = {
    "pull": (_nothing, lambda _hull, scene: ["pull", "-q", scene.reference]),
    "load": (_nothing, lambda _hull, scene: ["load", "-q", "-i", scene.archive]),
    "import": (_nothing, lambda _hull, scene: ["import", scene.rootfs, "imported:1"]),
    "commit": (_changed, lambda _hull, _scene: ["commit", "changed", "committed:1"]),
    "push": (_imported, lambda hull, scene: ["push", "-q", _pushed(hull, scene)]),
    "rmi": (_pulled, lambda _hull, scene: ["rmi", scene.reference]),
    "save": (_pulled, lambda hull, scene: ["save", "-o", f"{hull.paths.config}/saved.tar", scene.reference]),
}


def _stored(hull: Hull) -> dict[str, list[str]]:
    """What lies in the store: names of images, and of everything on disk that images are made of."""
    found = {"images": sorted(hull("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}}").split())}
    for name in ("layers", "settled", "blobs/sha256", "tmp", "trash", "locks"):
        path = Path(hull.paths.root, name)
        found[name] = sorted(os.listdir(path)) if path.is_dir() else []
    return found


def _assert_whole(hull: Hull, context: object) -> None:
    """Whatever images are to be seen, all of them is there and undamaged."""
    done = hull.run("verify", "--all")
    assert done.returncode == 0, (context, done.stdout, done.stderr)


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_any_step_it_leaves_nothing_half_made(name: str, scene: Scene) -> None:
    prepare, words_of = OPERATIONS[name]
    with scene.engine() as hull:
        prepare(hull, scene)
        counts = count_calls([*hull.command, *words_of(hull, scene)], hull.env)
        expected = _stored(hull)
    if name == "commit":  # its time is in it
        del expected["layers"], expected["settled"]
    if name == "push":  # its registry's name is in it
        del expected["images"]

    def kill_at(moment: tuple[str, int]) -> None:
        with scene.engine() as hull:
            prepare(hull, scene)
            words = words_of(hull, scene)
            run_killed([*hull.command, *words], hull.env, *moment)
            _assert_whole(hull, moment)
            if name != "rmi" or hull("images", "-q"):
                hull(*words)
            _assert_whole(hull, moment)
            hull("image", "prune", "-f")
            found = _stored(hull)
            assert {part: found[part] for part in expected} == expected, moment

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(kill_at, moments(counts, most=3)))


@pytest.mark.parametrize("name", ["pull", "load", "import", "commit"])
def test_a_full_disk_is_told_and_takes_nothing(name: str, scene: Scene) -> None:
    prepare, words_of = OPERATIONS[name]
    failures = 0
    for size in _sizes(name):
        with scene.engine() as hull:
            words = words_of(hull, scene)
            os.mkdir(hull.paths.root)
            _mount("-t", "tmpfs", "-o", "size=64m,mode=0700", "store", hull.paths.root)
            try:
                prepare(hull, scene)
                before = _stored(hull)["images"]
                _leave_free(hull.paths.root, size)
                done = hull.run(*words)
                if done.returncode:
                    failures += 1
                    assert re.search(b"(?i)no space left", done.stderr), (size, done.stderr)
                os.unlink(f"{hull.paths.root}/filler")
                if done.returncode:
                    assert _stored(hull)["images"] == before, size
                _assert_whole(hull, size)
                hull(*words)
                hull("image", "prune", "-f")
                assert _stored(hull)["tmp"] == _stored(hull)["trash"] == []
            finally:
                subprocess.run(["umount", "--lazy", hull.paths.root], check=True)
    assert failures > 3


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _sizes(name: str) -> list[int]:
    """Free bytes to try: from almost nothing to more than the operation needs, in steps."""
    most = {"import": 400, "commit": 200}.get(name, 6000)
    return [most * 1024 * step // 12 for step in range(13)]


def _leave_free(directory: str, size: int) -> None:
    free = os.statvfs(directory)
    with open(f"{directory}/filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(4096, free.f_bavail * free.f_frsize - size))
