# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Damage of every kind is found and named, and mended under a mount that stays."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, NotFound
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._engine import verification
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.verification import (
    LayerFinding,
    ensure_verified,
    verify,
)
from ansible_collections.hull.engine.plugins.module_utils._image import layer_store
from ansible_collections.hull.engine.plugins.module_utils._image.layer_store import bring_layer, repair_layer
from ansible_collections.hull.engine.plugins.module_utils._image.layer_tar import open_layer_tar
from ansible_collections.hull.engine.plugins.module_utils._image.register import NewImage, register
from ansible_collections.hull.engine.plugins.module_utils._kernel import name_cache
from ansible_collections.hull.engine.plugins.module_utils._store import tree_comparison
from ansible_collections.hull.engine.plugins.module_utils._store.garbage import sweep_temporary
from ansible_collections.hull.engine.plugins.module_utils._store.layers import needs_repair
from ansible_collections.hull.engine.plugins.module_utils._store.records import BlobRecord

from tests.support.tars import describe, device, directory, entry, hard_link, make_tar, symlink, xattrs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

CONTENT = os.urandom(600_000)
TAR = make_tar(
    directory("./", mode=0o755),
    directory("bin"),
    entry("bin/tool", b"#!/bin/sh\n", mode=0o4755),
    entry("bin/big", CONTENT, uid=3, gid=4),
    hard_link("bin/same", "bin/big"),
    entry("bin/noted", b"noted", pax_headers=xattrs(user__note="kept")),
    symlink("bin/link", "tool"),
    directory("etc"),
    entry("etc/conf", b"a=1\n"),
    entry("etc/other", b"b=2\n"),
    directory("etc/empty"),
    device("null", b"3", 1, 3, mode=0o666),
    entry("implied/by/this", b"x"),
    entry(".wh.gone"),
)
DIFF_ID = "sha256:" + hashlib.sha256(TAR).hexdigest()
BLOB = gzip.compress(TAR, mtime=0)
BLOB_DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()


class Store:
    """An engine with one image of one layer."""

    def __init__(self, directory_path: Path, *, keep_blob: bool) -> None:
        self.paths = Paths(root=str(directory_path / "root"), run=str(directory_path / "run"))
        self.engine = Engine(self.paths)
        blob = BlobRecord(BLOB_DIGEST, DIFF_ID, "type", len(BLOB))
        bring_layer(self.paths, io.BytesIO(BLOB), keep_blob_digest=BLOB_DIGEST if keep_blob else "")
        config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [DIFF_ID]}})
        image_id = "sha256:" + hashlib.sha256(config.encode()).hexdigest()
        image = NewImage(image_id, config, "{}", image_id, (DIFF_ID,), ("docker.io/library/app:1",), blobs=(blob,))
        assert register(self.paths, self.engine.records, [image])
        self.fs = Path(self.paths.layer(DIFF_ID), "fs")

    def findings(self) -> list[LayerFinding]:
        return verify(self.engine, ["app:1"])

    def layer_finding(self) -> LayerFinding:
        return next(finding for finding in self.findings() if finding.kind == verification.LAYER)

    def repair(self) -> None:
        repair_layer(self.paths, DIFF_ID, io.BytesIO(TAR))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path, keep_blob=True)
    fds = len(os.listdir("/proc/self/fd"))
    yield made
    assert len(os.listdir("/proc/self/fd")) == fds
    assert os.listdir(made.paths.temporary) == []
    made.engine.close()


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Store]:
    """A store without the compressed blob."""
    made = Store(tmp_path, keep_blob=False)
    yield made
    made.engine.close()


def flip(path: Path, position: int = 300_000) -> None:
    """Change one byte and leave every time as it was but the inode's own."""
    found = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(position % found.st_size)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def swap_for_directory(path: Path) -> None:
    path.unlink()
    (path / "inner").mkdir(parents=True)
    (path / "inner/file").write_text("x")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "one byte": (lambda fs: flip(fs / "bin/big"), "bin/big: content"),
    "chmod": (lambda fs: os.chmod(fs / "etc/conf", 0o666), "etc/conf: mode 0644 became 0666"),
    "chown": (lambda fs: os.chown(fs / "etc/conf", 5, 6), "etc/conf: owner 0:0 became 5:6"),
    "touch": (lambda fs: os.utime(fs / "etc/conf", (1, 1)), "etc/conf: time"),
    "touch a directory": (lambda fs: os.utime(fs / "etc/empty", (1, 1)), "etc/empty: time"),
    "truncate": (lambda fs: os.truncate(fs / "etc/conf", 2), "etc/conf: time, size 4 became 2"),
    "xattr": (lambda fs: os.setxattr(fs / "etc/conf", "user.x", b"y"), "etc/conf: extended attributes"),
    "xattr's value": (lambda fs: os.setxattr(fs / "bin/noted", "user.note", b"y"), "bin/noted: extended attributes"),
    "xattr removed": (lambda fs: os.removexattr(fs / "bin/noted", "user.note"), "bin/noted: extended attributes"),
    "rename": (lambda fs: os.rename(fs / "etc/conf", fs / "etc/conf2"), "etc/conf: missing"),
    "remove": (lambda fs: os.unlink(fs / "bin/big"), "bin/big: missing"),
    "remove a tree": (lambda fs: shutil.rmtree(fs / "bin"), "bin: missing"),
    "add": (lambda fs: (fs / "bin/added").write_text("x"), "bin/added: not of the layer"),
    "add a tree": (lambda fs: (fs / "new/deep").mkdir(parents=True), "new: not of the layer"),
    "retarget": (
        lambda fs: (os.unlink(fs / "bin/link"), os.symlink("mool", fs / "bin/link")),
        "bin/link: target, time",
    ),
    "break a link": (
        lambda fs: (os.unlink(fs / "bin/same"), shutil.copy2(fs / "bin/big", fs / "bin/same")),
        "bin/same: ",
    ),
    "link": (
        lambda fs: (os.unlink(fs / "etc/other"), os.link(fs / "etc/conf", fs / "etc/other")),
        "etc/other: hard links",
    ),
    "another type": (lambda fs: swap_for_directory(fs / "etc/conf"), "etc/conf: another type of file"),
    "a link for a directory": (
        lambda fs: (shutil.rmtree(fs / "etc"), os.symlink("/etc", fs / "etc")),
        "etc: another type of file",
    ),
    "device": (
        lambda fs: (os.unlink(fs / "null"), os.mknod(fs / "null", 0o20666, os.makedev(1, 5))),
        "null: mode 0666 became 0644, device number, time",
    ),
    "whiteout": (lambda fs: os.unlink(fs / "gone"), "gone: missing"),
    "root": (lambda fs: os.chmod(fs, 0o700), ".: mode 0755 became 0700"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_named_and_mended(store: Store, name: str) -> None:
    before = describe(str(store.fs))
    assert {finding.state for finding in store.findings()} == {"sound"}
    do, detail = DAMAGES[name]
    do(store.fs)
    finding = store.layer_finding()
    assert (finding.state, finding.images) == ("damaged", ("app:1",))
    assert any(line.startswith(detail) for line in finding.details), finding.details
    assert needs_repair(store.paths, DIFF_ID)
    store.repair()
    assert not needs_repair(store.paths, DIFF_ID)
    assert store.layer_finding().state == "sound"
    after = describe(str(store.fs))
    for implied in (b"implied", b"implied/by", b"gone"):  # what no entry describes has the time of unpacking
        before[implied] = before[implied][:4] + after[implied][4:5] + before[implied][5:]
    assert after == before


@pytest.mark.parametrize("name", [name for name in DAMAGES if name != "one byte"])
def test_the_record_alone_names_all_but_contents(bare: Store, name: str) -> None:
    do, detail = DAMAGES[name]
    do(bare.fs)
    finding = bare.layer_finding()
    assert finding.state == "damaged" and any(line.startswith(detail) for line in finding.details), finding.details


def test_without_the_blob_a_changed_content_is_at_least_suspected(bare: Store) -> None:
    flip(bare.fs / "bin/big")
    finding = bare.layer_finding()
    assert finding.state == "damaged"
    assert "bin/big: perhaps its content: it was written to after unpacking" in finding.details
    assert not any("etc/conf" in line for line in finding.details)


def test_what_is_added_to_a_whole_tree_is_told_up_to_a_limit(store: Store) -> None:
    for number in range(100):
        (store.fs / f"added{number:03}").touch()
    details = store.layer_finding().details
    assert len(details) == 21 and details[-1] == "and more"


def test_a_missing_layer_and_one_of_an_older_version_are_told(store: Store, tmp_path: Path) -> None:
    layer = store.fs.parent
    os.unlink(layer / "headers")
    assert store.layer_finding().details == ("the record of its tar is missing",)
    (layer / "layer.json").write_text(json.dumps({"diff_id": DIFF_ID, "size_bytes": 1, "created_ns": 1}))
    finding = store.layer_finding()
    assert finding.state == "unknown" and not finding.is_bad and "older version" in finding.details[0]
    (layer / "layer.json").write_text("{")
    assert store.layer_finding().state == "damaged"
    layer.rename(tmp_path / "away")
    finding = store.layer_finding()
    assert finding.state == "missing" and finding.is_bad
    store.repair()
    assert store.layer_finding().state == "sound"


def test_a_damaged_blob_is_told_and_removed(store: Store) -> None:
    blob = Path(store.paths.blob(BLOB_DIGEST))
    flip(blob)
    found = verify(store.engine, mark=False)
    states = [("blob", "damaged"), ("layer", "sound"), ("settled layer", "sound")]
    assert [(finding.kind, finding.state) for finding in found] == states
    assert blob.exists()
    assert [finding.state for finding in store.findings()] == ["damaged", "sound", "sound"] and not blob.exists()
    assert [finding.kind for finding in store.findings()] == ["layer", "settled layer"]


def test_a_settled_layer_is_made_again(store: Store) -> None:
    (record,) = store.engine.records.images()
    (settled,) = [Path(store.paths.root, name) for name in record.stack if name.startswith("settled/")]
    before = describe(str(settled), times=False)

    def state() -> str:
        return next(finding.state for finding in store.findings() if finding.kind == verification.SETTLED)

    os.chmod(settled / "fs", 0o700)
    (settled / "fs/added").touch()
    assert (state(), state()) == ("damaged", "sound") and describe(str(settled), times=False) == before
    shutil.rmtree(settled)
    assert (state(), state()) == ("missing", "sound") and describe(str(settled), times=False) == before


def test_looking_without_marking_changes_nothing(store: Store) -> None:
    flip(store.fs / "bin/big")
    assert "damaged" in [finding.state for finding in verify(store.engine, ["app:1"], mark=False)]
    assert not needs_repair(store.paths, DIFF_ID)


def test_an_unknown_image_is_an_error_and_an_empty_store_none(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        verify(store.engine, ["app:2"])
    assert verify(Engine(Paths(root=str(tmp_path / "none"), run=str(tmp_path / "none")))) == []


def test_the_task_repairs_once(store: Store) -> None:
    assert not ensure_verified(store.engine, "app:1", repair=store.repair).changed
    flip(store.fs / "bin/big")
    foreseen = ensure_verified(store.engine, "app:1", check=True, repair=store.repair)
    assert foreseen.changed and not needs_repair(store.paths, DIFF_ID)
    outcome = ensure_verified(store.engine, "app:1", repair=store.repair)
    assert outcome.changed and (outcome.before["verified"], outcome.after["verified"]) == (False, True)
    assert [(action.verb, action.subject) for action in outcome.actions] == [("repaired_layer", DIFF_ID)]
    assert not ensure_verified(store.engine, "app:1", repair=store.repair).changed


def test_the_task_says_what_it_could_not_repair(store: Store) -> None:
    flip(store.fs / "bin/big")
    with pytest.raises(Damaged, match=r"verify image app:1: layer sha256:\w+ is damaged: bin/big: content, bin/same"):
        ensure_verified(store.engine, "app:1", repair=lambda: None)


@contextlib.contextmanager
def mounted(store: Store, tmp_path: Path) -> Iterator[Path]:
    """The layer as a container sees it, below an overlay."""
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={store.fs},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, tmp_path / "merged"], check=True)
    try:
        yield tmp_path / "merged"
    finally:
        subprocess.run(["umount", tmp_path / "merged"], check=True)


def test_a_container_sees_the_mended_files_while_it_runs(store: Store, tmp_path: Path) -> None:
    before = describe(str(store.fs))
    with mounted(store, tmp_path) as merged:
        flip(store.fs / "bin/big")
        os.unlink(store.fs / "etc/conf")
        (store.fs / "bin/added").touch()
        os.chmod(store.fs / "bin/tool", 0o700)
        with open(merged / "bin/big", "rb") as held:
            assert held.read() != CONTENT
            assert not (merged / "etc/conf").exists() and (merged / "bin/added").exists()
            (merged / "etc/own").write_text("the container's")
            store.repair()
            held.seek(0)
            assert held.read() == CONTENT  # the same inode, open all the time
        assert (merged / "bin/big").read_bytes() == CONTENT == (merged / "bin/same").read_bytes()
        assert (merged / "etc/conf").read_bytes() == b"a=1\n" and not (merged / "bin/added").exists()
        assert (merged / "bin/tool").stat().st_mode == 0o104755
        assert (merged / "etc/own").read_text() == "the container's"
    after = describe(str(store.fs))
    assert after.keys() == before.keys() and after[b"bin/big"] == before[b"bin/big"]


def test_a_program_that_runs_is_replaced_and_goes_on(store: Store, tmp_path: Path) -> None:
    program = store.fs / "bin/big"
    shutil.copyfile("/bin/sleep", program)
    os.chmod(program, 0o755)
    running = subprocess.Popen([program, "60"])
    try:
        while not os.readlink(f"/proc/{running.pid}/exe").endswith("/bin/big"):
            pass
        inode = program.stat().st_ino
        store.repair()
        assert program.read_bytes() == CONTENT and program.stat().st_ino != inode
        assert (store.fs / "bin/same").stat().st_ino == program.stat().st_ino
        assert running.poll() is None and store.layer_finding().state == "sound"
    finally:
        running.kill()
        running.wait()


def test_containers_see_what_a_killed_repair_had_put_right(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mounted(store, tmp_path) as merged:
        os.unlink(store.fs / "etc/conf")
        assert not (merged / "etc/conf").exists()  # which the kernel remembers
        pid = os.fork()
        if pid == 0:
            monkeypatch.setattr(name_cache, "forget_names", die)
            try:
                store.repair()
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        assert (store.fs / "etc/conf").exists() and not (merged / "etc/conf").exists()
        store.repair()
        assert (merged / "etc/conf").read_bytes() == b"a=1\n"
    sweep_temporary(store.paths)


def test_what_is_not_the_layer_mends_nothing(store: Store) -> None:
    flip(store.fs / "bin/big")
    before = describe(str(store.fs))
    with pytest.raises(Damaged, match="has the diff ID"):
        repair_layer(store.paths, DIFF_ID, io.BytesIO(make_tar(entry("a"))))
    with pytest.raises(Damaged):
        repair_layer(store.paths, DIFF_ID, io.BytesIO(TAR[:-1000]))
    assert describe(str(store.fs)) == before


def die(*_arguments: object, **_options: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("moment", ["before mending", "while mending", "after mending"])
def test_a_killed_repair_leaves_a_layer_that_is_called_damaged(
    store: Store, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(store.fs / "bin/big")
    flip(store.fs / "etc/conf")
    os.unlink(store.fs / "bin/tool")

    real = tree_comparison._rewrite

    def rewrite(good: bytes, *arguments: object) -> None:
        if good.endswith(b"etc/conf"):
            die()
        real(good, *arguments)

    pid = os.fork()
    if pid == 0:
        place, name, function = {
            "before mending": (tree_comparison, "mend", die),
            "while mending": (tree_comparison, "_rewrite", rewrite),
            "after mending": (layer_store, "finish_repair", die),
        }[moment]
        monkeypatch.setattr(place, name, function)
        try:
            store.repair()
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert needs_repair(store.paths, DIFF_ID)
    if moment != "after mending":
        assert store.layer_finding().state == "damaged"
    store.repair()
    assert store.layer_finding().state == "sound" and not needs_repair(store.paths, DIFF_ID)
    with open_layer_tar(store.paths, DIFF_ID) as stream:
        assert stream.read(1 << 20)
    sweep_temporary(store.paths)
