# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Root file systems made into images: from files, streams and web servers, whatever packed and compressed them."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Damaged,
    Denied,
    HullError,
    Invalid,
    NotFound,
    RegistryError,
    Unsupported,
)
from ansible_collections.hull.engine.plugins.module_utils._image.platform import host_platform, parse_platform
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.rootfs import ImportOptions, foresee, import_rootfs
from ansible_collections.hull.engine.plugins.module_utils._store.records import ImageRecord

from tests.support import images
from tests.support.docker_daemon import Docker
from tests.support.images import Image, digest_of, tar_of, write_layout
from tests.support.store import Store
from tests.support.tars import describe, device, directory, entry, hard_link, make_tar, symlink, xattrs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

HOST = str(host_platform())
LAYER = tar_of({"etc/": images.directory(), "etc/motd": b"hello\n"})
LAYER_ID = digest_of(LAYER)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    fds = len(os.listdir("/proc/self/fd"))
    made = Store(tmp_path / "store")
    yield made
    made.database.close()
    assert len(os.listdir("/proc/self/fd")) == fds


def run(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run([str(word) for word in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()


def bring(store: Store, source: Any, name: str = "x:1", **options: Any) -> ImageRecord:
    source = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    return import_rootfs(store.paths, store.database, source, parse_reference(name), **options)


def test_a_root_file_system_becomes_an_image(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/sh").write_text("x")
    os.chown(tree / "bin/sh", 5, 6)
    os.chmod(tree / "bin/sh", 0o4755)
    for path in (tree / "bin/sh", tree / "bin", tree):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    ids = set()
    for kind in ("", "z", "j", "J", "--zstd"):
        option = kind if kind.startswith("-") else f"-c{kind}"
        command = ["tar", "-C", str(tree), "--format=gnu", *([kind, "-c"] if option == kind else [option]), "."]
        tar = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        (tmp_path / "template").write_bytes(tar)
        record = import_rootfs(
            store.paths,
            store.database,
            str(tmp_path / "template"),
            parse_reference("ubuntu:14.04"),
            changes=['CMD ["/bin/sh"]', "ENV A=1"],
            message="from a template",
        )
        ids.add(record.id)
    assert len(ids) == 1  # equal content and time: the same image, however it was compressed
    assert [(tag.reference, tag.image_id) for tag in store.database.tags()] == [
        ("docker.io/library/ubuntu:14.04", record.id)
    ]
    config = json.loads(record.config)
    assert config["config"] == {"Cmd": ["/bin/sh"], "Env": ["A=1"]}
    assert (config["created"][:19], config["history"][0]["comment"]) == ("2023-11-14T22:13:20", "from a template")
    assert (config["os"], config["architecture"]) == tuple(HOST.split("/")[:2])
    assert describe(store.fs(record.layers[0])) == describe(tree)
    manifest = json.loads(record.manifest)
    assert manifest["layers"][0]["digest"] == record.layers[0]
    assert manifest["config"] == {**manifest["config"], "digest": record.id, "size": len(record.config)}


def test_a_layer_means_the_same_however_it_came(store: Store, tmp_path: Path) -> None:
    layer = make_tar(entry("etc/a", b"x"), entry("etc/.wh.b", b""))
    (tmp_path / "rootfs.tar").write_bytes(layer)
    imported = import_rootfs(store.paths, store.database, str(tmp_path / "rootfs.tar"), parse_reference("a:1"))
    found = os.lstat(Path(store.fs(imported.layers[0])) / "etc/b")
    assert stat.S_ISCHR(found.st_mode) and found.st_rdev == 0  # as a layer of this diff ID has it after a pull


def test_an_imported_image_is_one_that_others_accept(store: Store, tmp_path: Path) -> None:
    tar = make_tar(directory("./"), entry("./etc/motd", b"hello"))
    record = import_rootfs(store.paths, store.database, io.BytesIO(tar), None, platform=parse_platform("linux/arm64"))
    blobs = {record.id: record.config.encode(), record.layers[0]: tar}
    media_type = json.loads(record.manifest)["mediaType"]
    image = Image(record.manifest.encode(), media_type, record.config.encode(), [], blobs)
    write_layout(image, str(tmp_path / "layout"))
    run("umoci", "raw", "unpack", "--image", "layout:latest", "tree", cwd=tmp_path)
    assert (tmp_path / "tree/etc/motd").read_text() == "hello"
    shown = subprocess.run(["skopeo", "inspect", f"oci:{tmp_path}/layout:latest"], stdout=subprocess.PIPE, check=True)
    assert json.loads(shown.stdout)["Architecture"] == "arm64"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"this is no tar\n" * 100, "import the tarball: .*not one of a tar archive.*has to be a tarball"),
        (b"", "holds no files"),
        (bytes(10240), "holds no files"),
        (gzip.compress(b"hello"), "import the tarball"),
        (gzip.compress(LAYER)[:-9], "cut off"),
        (LAYER[:900], "cut off"),
        (make_tar(entry("ok", b"x"), entry("../evil", b"x")), "climbs out"),
    ],
)
def test_what_is_no_root_file_system_leaves_nothing(store: Store, data: bytes, message: str) -> None:
    with pytest.raises(Damaged, match=message):
        import_rootfs(store.paths, store.database, io.BytesIO(data), parse_reference("x:1"))
    store.assert_empty()


def test_wrong_changes_and_paths_are_found_before_anything_is_done(store: Store, tmp_path: Path) -> None:
    for source, changes, kind in (
        (io.BytesIO(LAYER), ["RUN make"], Invalid),
        (str(tmp_path / "missing"), [], NotFound),
        (str(tmp_path), [], Invalid),
    ):
        with pytest.raises(kind):
            import_rootfs(store.paths, store.database, source, parse_reference("x:1"), changes=changes)
    store.assert_empty()


def test_content_is_hashed_as_it_is(store: Store) -> None:
    data = LAYER + b"\0" * 512 + b"trailing"
    record = import_rootfs(store.paths, store.database, io.BytesIO(data), None)
    assert record.layers == ("sha256:" + hashlib.sha256(data).hexdigest(),)


# the same input makes the same image


def test_an_image_is_as_old_as_its_newest_file_whenever_it_is_imported(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    tar = make_tar(entry("old", mtime=5), entry("new", b"x", mtime=1_600_000_000.5), entry("older", mtime=4))
    first, second = bring(store, tar), bring(store, gzip.compress(tar), "y:1")
    assert first.id == second.id
    config = json.loads(first.config)
    assert config["created"] == "2020-09-13T12:26:40.500000000Z" == config["history"][0]["created"]
    assert bring(store, make_tar(entry("f", mtime=-5)), "z:1")  # before 1970


def test_what_an_import_would_make_is_told_without_doing_it(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "template.tar.gz"
    path.write_bytes(gzip.compress(LAYER))
    options = ImportOptions(("ENV A=1",), "a remark", parse_platform("linux/arm64"), digest_of(path.read_bytes()))
    told = foresee(store.paths, str(path), options)
    store.assert_empty()
    assert bring(store, path, **options.fields()).id == told


def test_docker_imports_the_same_layer(store: Store, docker: Docker) -> None:
    record = bring(store, LAYER, changes=['CMD ["/bin/sh"]', "ENV A=1 B=$A"])
    docker("import", "-c", 'CMD ["/bin/sh"]', "-c", "ENV A=1 B=$A", "-", "same:1", stdin=LAYER)
    found = docker.inspect("same:1")
    assert found["RootFS"]["Layers"] == list(record.layers)
    ours = json.loads(record.config)["config"]
    assert (ours["Cmd"], ours["Env"]) == (found["Config"]["Cmd"], found["Config"]["Env"])
    docker.forget()


# templates


def test_an_openvz_template_with_devices_sockets_left_out_and_an_odd_root(store: Store) -> None:
    tar = make_tar(
        directory("./", mode=0o711, uid=3),
        directory("./dev"),
        device("./dev/null", tarfile.CHRTYPE, 1, 3, mode=0o666),
        device("./dev/loop0", tarfile.BLKTYPE, 7, 0, mode=0o660, gid=6),
        entry("./run/pipe", type=tarfile.FIFOTYPE, mode=0o600),
        entry("./bin/ping", b"x", mode=0o755, pax_headers=xattrs(user__x="y")),
        symlink("./etc/mtab", "/proc/mounts"),
    )
    (layer,) = bring(store, tar).layers
    assert layer == digest_of(tar)
    found = describe(store.fs(layer))
    assert found[b"."][1:3] == (0o711, 3) and found[b"dev/null"][5] == os.makedev(1, 3)
    assert stat.S_ISBLK(found[b"dev/loop0"][0]) and stat.S_ISFIFO(found[b"run/pipe"][0])
    assert found[b"bin/ping"][7] == {"user.x": b"y"} and found[b"etc/mtab"][5] == b"/proc/mounts"


def lxc(*entries: Any, first: Any = None) -> bytes:
    return make_tar(first or entry("metadata.yaml", b"architecture: x86_64\n"), *entries)


def test_of_an_lxc_image_the_root_file_system_is_taken(store: Store, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "rootfs/usr/bin").mkdir(parents=True)
    (tree / "templates").mkdir()
    (tree / "metadata.yaml").write_text("architecture: x86_64\n")
    (tree / "templates/hosts.tpl").write_text("x")
    (tree / "rootfs/usr/bin/a").write_bytes(os.urandom(300_000))
    os.link(tree / "rootfs/usr/bin/a", tree / "rootfs/usr/bin/b")
    (tree / ("rootfs/" + "n" * 120)).write_text("long")
    (tree / "rootfs/sh").symlink_to("/usr/bin/a")
    with open(tree / "rootfs/sparse", "wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
    os.mknod(tree / "rootfs/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.chown(tree / "rootfs", 1000, 1000)
    os.setxattr(tree / "rootfs/usr/bin/a", "user.x", b"y")
    command = ["tar", "-C", tree, "--xattrs", "--sparse", "--format=pax", "-cJf", tmp_path / "lxc.tar.xz"]
    run(*command, "metadata.yaml", "templates", "rootfs")
    (layer,) = bring(store, tmp_path / "lxc.tar.xz").layers
    assert describe(store.fs(layer)) == describe(tree / "rootfs")
    assert os.path.exists(store.paths.layer(layer) + "/headers")  # it can be saved and pushed like any other


@pytest.mark.parametrize(
    ("tar", "kind", "message"),
    [
        (lxc(entry("templates/x")), Damaged, "metadata of an LXC image, without.*rootfs.tar.xz"),
        (lxc(directory("rootfs"), entry("etc/passwd")), Damaged, "rootfs and, beside it, etc/passwd"),
        (lxc(entry("rootfs/a"), hard_link("rootfs/b", "metadata.yaml")), Damaged, "a hard link to metadata.yaml"),
        (lxc(entry("rootfs/../../evil")), Damaged, "beside it, evil"),
        (lxc(entry("rootfs/a", b"x" * 5000))[:3000], Damaged, "cut off"),
        (b"hsqs" + bytes(2000), Unsupported, "a squashfs image; unsquashfs"),
        (b"PK\3\4" + bytes(2000), Unsupported, "a zip archive"),
    ],
)
def test_a_template_that_is_none_is_explained(store: Store, tar: bytes, kind: type[HullError], message: str) -> None:
    with pytest.raises(kind, match=message):
        bring(store, tar)
    store.assert_empty()


def test_a_file_of_a_root_file_system_may_be_called_rootfs(store: Store) -> None:
    tar = make_tar(directory("./"), entry("./bin/sh"), directory("./rootfs"), entry("./rootfs/x"))
    (layer,) = bring(store, tar).layers
    assert layer == digest_of(tar) and (store.fs(layer) / "rootfs/x").exists()


# web servers


class Site:
    """A web server on loopback that has one file, and its moods."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.requests: list[tuple[str, str | None]] = []
        self.etag = '"one"'
        self.cut_after = 0  # bytes of the first answer
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.requests.append((handler.path, handler.headers.get("Range")))
        if handler.path == "/moved":
            handler.send_response(302)
            handler.send_header("Location", "/rootfs.tar?signature=secret")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if not handler.path.startswith("/rootfs.tar"):
            handler.send_error(404)
            return
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        resumed = start and handler.headers.get("If-Range") == self.etag
        body = self.data[start if resumed else 0 :]
        handler.send_response(206 if resumed else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("ETag", self.etag)
        if resumed:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        handler.end_headers()
        if self.cut_after:
            body, self.cut_after = body[: self.cut_after], 0
        handler.wfile.write(body)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site(gzip.compress(tar_of({"f": os.urandom(2_000_000)}), 0, mtime=0))
    yield made
    made.close()


def test_a_tarball_comes_from_a_web_server_through_a_redirect(store: Store, site: Site) -> None:
    record = bring(store, f"{site.url}/moved", checksum=digest_of(site.data))
    assert record.layers == (digest_of(gzip.decompress(site.data)),)
    assert [path for path, _range in site.requests] == ["/moved", "/rootfs.tar?signature=secret"]
    assert "signature" not in record.config


def test_a_transfer_that_breaks_goes_on_where_it_was(store: Store, site: Site) -> None:
    site.cut_after = 700_001
    record = bring(store, f"{site.url}/rootfs.tar")
    assert record.layers == (digest_of(gzip.decompress(site.data)),)
    assert [asked for _path, asked in site.requests][0] is None and len(site.requests) == 2
    assert str(site.requests[1][1]).startswith("bytes=")


def test_a_transfer_does_not_go_on_with_another_file(store: Store, site: Site) -> None:
    site.cut_after = 700_001
    answer = site.answer

    def change(handler: Any) -> None:
        answer(handler)
        site.etag = '"two"'

    site.answer = change  # type: ignore[method-assign]
    with pytest.raises(RegistryError, match="broke after [0-9]+ bytes and can't go on"):
        bring(store, f"{site.url}/rootfs.tar")
    store.assert_empty()


def test_what_a_web_server_does_not_have_or_is_not_what_was_meant(store: Store, site: Site) -> None:
    with pytest.raises(NotFound, match="/nothing: there is nothing"):
        bring(store, f"{site.url}/nothing?token=secret")
    wrong = "sha256:" + "0" * 64
    with pytest.raises(Damaged, match=f"its checksum is {digest_of(site.data)}, not {wrong}"):
        bring(store, f"{site.url}/rootfs.tar", checksum=wrong)
    with pytest.raises(RegistryError, match="not an http or https URL"):
        bring(store, "http://user:password@127.0.0.1/x")
    store.assert_empty()


def test_a_checksum_is_of_the_file_as_it_is(store: Store, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(gzip.compress(LAYER))
    with pytest.raises(Damaged, match="its checksum is"):
        bring(store, tmp_path / "t", checksum=LAYER_ID)
    with pytest.raises(Invalid, match="checksum: 'abc' is not a digest"):
        bring(store, tmp_path / "t", checksum="abc")
    store.assert_empty()
    assert bring(store, tmp_path / "t", checksum=digest_of((tmp_path / "t").read_bytes()))


def test_a_policy_against_archives_is_kept(store: Store) -> None:
    os.makedirs(store.paths.config)
    Path(store.paths.config, "policy.json").write_text('{"default": "accept", "archives": "reject"}')
    with pytest.raises(Denied):
        bring(store, LAYER)
    store.assert_empty()
