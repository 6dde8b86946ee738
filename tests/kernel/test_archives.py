# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Archives that skopeo, buildah, umoci and podman write, loaded; hostile and damaged ones, refused without a trace."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, Denied, HullError, NotFound
from ansible_collections.hull.engine.plugins.module_utils._image import archive_layers
from ansible_collections.hull.engine.plugins.module_utils._image.archives import Content, Loaded, load, look
from ansible_collections.hull.engine.plugins.module_utils._image.platform import host_platform
from ansible_collections.hull.engine.plugins.module_utils._image.register import discard_layers
from ansible_collections.hull.engine.plugins.module_utils._store.database import open_database
from ansible_collections.hull.engine.plugins.module_utils._store.layers import mark_damaged, needs_repair

from tests.support import images
from tests.support.images import Image, Layer, digest_of, make_image, make_index, tar_of, write_layout
from tests.support.store import Store
from tests.support.tars import describe, directory, entry, hard_link, make_tar, symlink

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

HOST = str(host_platform())
OTHER = "linux/s390x" if HOST != "linux/s390x" else "linux/amd64"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    fds = len(os.listdir("/proc/self/fd"))
    made = Store(tmp_path / "store")
    yield made
    made.database.close()
    assert len(os.listdir("/proc/self/fd")) == fds


def two_layers(**fields: Any) -> Image:
    first = Layer(tar_of({"etc/": images.directory(), "etc/motd": b"hello\n", "bin/tool": images.File(b"t", 0o4755)}))
    return make_image([first, {"etc/.wh.motd": b"", "etc/new": b"new\n"}], platform=HOST, **fields)


def run(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run([str(word) for word in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()


def docker_archive(path: Path, image: Image, *tags: str) -> Path:
    write_layout(image, str(path) + ".layout")
    run("skopeo", "copy", "-q", f"oci:{path}.layout:latest", f"docker-archive:{path}:{tags[0]}", *flags(tags[1:]))
    return path


def flags(tags: tuple[str, ...]) -> list[str]:
    return [word for tag in tags for word in ("--additional-tag", tag)]


def docker_id(path: Path) -> str:
    """The id that the archive's own manifest.json implies."""
    with tarfile.open(path) as tar:
        entry = json.load(tar.extractfile("manifest.json"))[0]  # type: ignore[arg-type]
        return digest_of(tar.extractfile(entry["Config"]).read())  # type: ignore[union-attr]


def check_two_layers(store: Store, image: Image) -> None:
    assert store.layers() == sorted(image.diff_ids)
    assert (store.fs(image.diff_ids[0]) / "etc/motd").read_bytes() == b"hello\n"
    assert os.stat(store.fs(image.diff_ids[0]) / "bin/tool").st_mode & 0o7777 == 0o4755
    assert os.lstat(store.fs(image.diff_ids[1]) / "etc/.wh.motd".replace(".wh.", "")).st_rdev == 0
    assert os.listdir(store.paths.temporary) == []


def test_a_docker_archive_of_skopeo(store: Store, tmp_path: Path) -> None:
    image = two_layers()
    path = docker_archive(tmp_path / "a.tar", image, "example.com/team/app:1", "docker.io/library/app:2")
    events: list[tuple[str, str]] = []
    loaded = store.load(path, progress=lambda event, subject, done, total: events.append((event, subject)))
    assert loaded == [Loaded(docker_id(path), ("example.com/team/app:1", "docker.io/library/app:2"))]
    check_two_layers(store, image)
    assert {("done", diff_id) for diff_id in image.diff_ids} <= set(events)
    record = store.database.image(loaded[0].image_id)
    assert record is not None and record.layers == image.diff_ids and record.size_bytes == 11
    manifest = json.loads(record.manifest)
    assert [item["digest"] for item in manifest["layers"]] == list(image.diff_ids)
    assert record.manifest_digest == digest_of(record.manifest.encode())
    assert [tag.image_id for tag in store.database.tags()] == [record.id] * 2


def test_a_second_load_changes_nothing(store: Store, tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "a.tar", two_layers(), "app:1")
    first = store.load(path)
    before = store.database.images(), store.database.tags()
    events: list[str] = []
    assert store.load(path, progress=lambda event, *_rest: events.append(event)) == first
    assert (store.database.images(), store.database.tags()) == before and events == ["exists", "exists"]


def test_an_oci_archive_keeps_its_manifest(store: Store, tmp_path: Path) -> None:
    image = two_layers()
    write_layout(image, str(tmp_path / "layout"))
    path = tmp_path / "a.tar"
    run("skopeo", "copy", "-q", f"oci:{tmp_path}/layout:latest", f"oci-archive:{path}:example.com/team/app:1")
    assert store.load(path) == [Loaded(image.id, ("example.com/team/app:1",))]
    record = store.database.image(image.id)
    assert record is not None and (record.manifest_digest, record.manifest.encode()) == (image.digest, image.manifest)
    check_two_layers(store, image)


def test_an_oci_layout_directory_of_umoci(store: Store, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/motd").write_text("hello")
    for path in (tree / "etc/motd", tree / "etc"):
        os.utime(path, (1_700_000_000, 1_700_000_000))  # umoci keeps whole seconds
    run("umoci", "init", "--layout", "layout", cwd=tmp_path)
    run("umoci", "new", "--image", "layout:v1", cwd=tmp_path)
    run("umoci", "insert", "--image", "layout:v1", "tree", "/", cwd=tmp_path)
    (loaded,) = store.load(tmp_path / "layout")
    assert loaded.references == ()  # v1 is a tag without a name
    (layer,) = store.layers()
    assert (store.fs(layer) / "etc/motd").read_text() == "hello"
    assert describe(store.fs(layer) / "etc") == describe(tree / "etc")


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_an_archive_of_buildah(store: Store, tmp_path: Path, transport: str) -> None:
    storage = [
        "buildah",
        "--root",
        str(tmp_path / "storage"),
        "--runroot",
        str(tmp_path / "run"),
        "--storage-driver",
        "vfs",
    ]
    (tmp_path / "motd").write_text("hello")
    try:
        run(*storage, "from", "--name", "work", "scratch")
        run(*storage, "copy", "work", tmp_path / "motd", "/etc/motd")
        run(*storage, "config", "--cmd", '["/bin/sh"]', "work")
        run(*storage, "commit", "-q", "work", f"{transport}:{tmp_path}/a.tar:example.com/built:1")
    finally:
        subprocess.run([*storage, "rm", "-a"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (loaded,) = store.load(tmp_path / "a.tar")
    assert loaded.references == ("example.com/built:1",)
    record = store.database.image(loaded.image_id)
    assert record is not None and json.loads(record.config)["config"]["Cmd"] == ["/bin/sh"]
    assert (store.fs(record.layers[-1]) / "etc/motd").read_text() == "hello"


def saved(layers: list[bytes], *, names: list[str], config: bytes, config_name: str, tags: Any) -> list[Any]:
    """The entries of a `docker save` archive."""
    manifest = [{"Config": config_name, "RepoTags": tags, "Layers": names}]
    return [
        *[entry(name, layer) for name, layer in zip(names, layers)],
        entry(config_name, config),
        entry("manifest.json", json.dumps(manifest).encode()),
    ]


def config_of(*diff_ids: str) -> bytes:
    return json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    ).encode()


LAYER = tar_of({"etc/": images.directory(), "etc/motd": b"hello\n"})
LAYER_ID = digest_of(LAYER)
CONFIG = config_of(LAYER_ID)
CONFIG_NAME = digest_of(CONFIG)[7:] + ".json"


def one_layer(**changes: Any) -> bytes:
    """A `docker save` archive of one layer, with something changed."""
    fields = {"names": ["abc/layer.tar"], "config": CONFIG, "config_name": CONFIG_NAME, "tags": ["app:1"], **changes}
    layers = fields.pop("layers", [LAYER])
    return make_tar(*saved(layers, **fields))


def test_the_layout_of_old_dockers_and_layers_that_are_links(store: Store) -> None:
    archive = make_tar(
        directory("one"),
        entry("one/VERSION", b"1.0"),
        entry("one/layer.tar", LAYER),
        symlink("two/layer.tar", "../one/layer.tar"),
        hard_link("three", "one/layer.tar"),
        *saved([], names=["two/layer.tar"], config=CONFIG, config_name=CONFIG_NAME, tags=None),
        entry("repositories", b"{}"),
    )
    assert store.load(io.BytesIO(archive)) == [Loaded(digest_of(CONFIG), ())]
    assert store.layers() == [LAYER_ID]


def test_the_layout_of_docker_25_and_later(store: Store) -> None:
    blob, config = (f"blobs/sha256/{digest[7:]}" for digest in (LAYER_ID, digest_of(CONFIG)))
    archive = make_tar(
        directory("blobs/sha256"),
        *saved([LAYER], names=[blob], config=CONFIG, config_name=config, tags=["app:1", "<none>:<none>"]),
        entry("index.json", b'{"schemaVersion":2,"manifests":[]}'),
        entry("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
    )
    assert store.load(io.BytesIO(archive)) == [Loaded(digest_of(CONFIG), ("docker.io/library/app:1",))]


def test_an_archive_of_several_images_that_share_a_layer(store: Store) -> None:
    other = config_of(LAYER_ID, LAYER_ID)
    manifest = [
        {"Config": CONFIG_NAME, "RepoTags": ["one:1"], "Layers": ["l.tar"]},
        {"Config": "other.json", "RepoTags": ["two:1", "two:2"], "Layers": ["l.tar", "l.tar"]},
    ]
    archive = make_tar(
        entry("l.tar", LAYER),
        entry(CONFIG_NAME, CONFIG),
        entry("other.json", other),
        entry("manifest.json", json.dumps(manifest).encode()),
    )
    assert [(item.image_id, len(item.references)) for item in store.load(io.BytesIO(archive))] == [
        (digest_of(CONFIG), 1),
        (digest_of(other), 2),
    ]
    assert store.layers() == [LAYER_ID]


@pytest.mark.parametrize("way", ["file", "gzip", "xz", "zstd", "pipe", "compressed pipe", "open file", "memory"])
def test_an_archive_may_come_in_any_way(store: Store, tmp_path: Path, way: str) -> None:
    data = one_layer()
    path = tmp_path / "archive"
    if way in ("gzip", "xz", "zstd"):
        path.write_bytes(subprocess.run([way, "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout)
    else:
        path.write_bytes(gzip.compress(data) if way == "compressed pipe" else data)
    if "pipe" in way:
        process = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
        assert process.stdout
        with process, process.stdout:
            loaded = store.load(process.stdout)
    elif way == "open file":
        with open(path, "rb") as file:
            loaded = store.load(file)
            assert not file.closed
    else:
        loaded = store.load(io.BytesIO(data) if way == "memory" else path)
    assert loaded == [Loaded(digest_of(CONFIG), ("docker.io/library/app:1",))]
    assert os.listdir(store.paths.temporary) == []


def test_compressed_layers_in_a_docker_archive(store: Store) -> None:
    blob = gzip.compress(LAYER)
    store.load(io.BytesIO(one_layer(layers=[blob])))
    (record,) = store.database.images()
    (described,) = json.loads(record.manifest)["layers"]  # as it can be made again: such an archive has no digest of it
    assert (described["digest"], described["size"], store.layers()) == (LAYER_ID, len(LAYER), [LAYER_ID])


def layout(path: Path, *made: tuple[Image, dict[str, Any]], index: bytes = b"") -> Path:
    """An OCI layout of several images, each with what its descriptor says besides."""
    (path / "blobs/sha256").mkdir(parents=True)
    for image, _extra in made:
        for digest, data in {**image.blobs, image.digest: image.manifest}.items():
            (path / "blobs/sha256" / digest[7:]).write_bytes(data)
    entries = [image.descriptor(**extra) for image, extra in made]
    (path / "index.json").write_bytes(index or make_index(entries)[0])
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return path


def named(name: str) -> dict[str, Any]:
    return {"annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "1"}}


def platform(text: str) -> dict[str, Any]:
    return {"platform": images.platform_of(text)}


def test_of_platforms_the_host_s_is_taken_and_of_names_all(store: Store, tmp_path: Path) -> None:
    here, there = two_layers(), make_image([{"f": b"other"}], platform=OTHER)
    second = make_image([{"g": b"2"}], platform=HOST)
    path = layout(
        tmp_path / "layout",
        (there, {**named("docker.io/library/a:1"), **platform(OTHER)}),
        (here, {**named("docker.io/library/a:1"), **platform(HOST)}),
        (second, named("example.com/b:1")),
        (second, named("example.com/b:2")),
    )
    assert store.load(path) == [
        Loaded(here.id, ("docker.io/library/a:1",)),
        Loaded(second.id, ("example.com/b:1", "example.com/b:2")),
    ]
    assert store.database.image(there.id) is None


def test_an_index_inside_of_the_index(store: Store, tmp_path: Path) -> None:
    here, there = two_layers(), make_image([{"f": b"other"}], platform=OTHER)
    inner, media_type = make_index(
        [image.descriptor(**platform(name)) for image, name in ((there, OTHER), (here, HOST))]
    )
    outer = {"mediaType": media_type, "digest": digest_of(inner), "size": len(inner), **named("example.com/a:1")}
    path = layout(tmp_path / "layout", (here, {}), (there, {}), index=make_index([outer])[0])
    (path / "blobs/sha256" / digest_of(inner)[7:]).write_bytes(inner)
    assert store.load(path) == [Loaded(here.id, ("example.com/a:1",))]


def test_an_archive_without_the_host_s_platform_says_what_it_has(store: Store, tmp_path: Path) -> None:
    one, two = (make_image([{"f": name.encode()}], platform=name) for name in (OTHER, "linux/mips64le"))
    path = layout(tmp_path / "layout", (one, platform(OTHER)), (two, platform("linux/mips64le")))
    with pytest.raises(NotFound, match=OTHER):
        store.load(path)
    store.assert_empty()


# what is refused, and leaves nothing


def refuse(store: Store, data: bytes, message: str, kind: type[HullError] = Damaged) -> None:
    """The archive is refused, as a stream and as a file, and leaves nothing."""
    with pytest.raises(kind, match=message):
        store.load(io.BytesIO(data))
    store.assert_empty()
    (store.path / "archive").write_bytes(data)
    with pytest.raises(kind, match=message):
        store.load(store.path / "archive")
    store.assert_empty()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": [tar_of({"evil": b"x"})]}, "has the diff ID sha256:.*, its image says"),
        ({"layers": [b"not a tar" * 200]}, "not one of a tar"),
        ({"layers": [LAYER[:1000]]}, "cut off"),
        ({"config": config_of(LAYER_ID) + b" "}, "has the digest"),
        ({"config": b"{}", "config_name": "c.json"}, "rootfs"),
        ({"config": config_of(LAYER_ID, LAYER_ID), "config_name": "c.json"}, "2 diff IDs for 1 layers"),
        ({"config": config_of("sha256:../../x"), "config_name": "c.json"}, "not a sha256 or sha512 digest"),
        ({"tags": ["UPPER CASE"]}, "it names an image 'UPPER CASE'"),
        ({"tags": "app:1"}, "without valid Config"),
        (
            {
                "layers": [make_tar(entry("../../evil", b"x"))],
                "config": config_of(digest_of(make_tar(entry("../../evil", b"x")))),
                "config_name": "c.json",
            },
            "climbs out",
        ),
    ],
)
def test_an_archive_that_lies_leaves_nothing(store: Store, changes: dict[str, Any], message: str) -> None:
    refuse(store, one_layer(**changes), message)


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "/etc/passwd", "link", "dir", "missing", ""])
def test_names_in_an_archive_are_no_paths_of_the_host(store: Store, name: str) -> None:
    archive = make_tar(
        symlink("link", "/etc/passwd"),
        directory("dir"),
        *saved([], names=[name], config=CONFIG, config_name=CONFIG_NAME, tags=None),
    )
    refuse(store, archive, "has no file")
    archive = make_tar(
        symlink("link", "/etc/passwd"),
        directory("dir"),
        entry("manifest.json", json.dumps([{"Config": name, "Layers": []}]).encode()),
    )
    refuse(store, archive, "has no file")


def test_links_in_a_circle_lead_nowhere(store: Store) -> None:
    archive = make_tar(symlink("manifest.json", "b"), symlink("b", "manifest.json"))
    refuse(store, archive, "neither a docker-archive")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither a docker-archive"),
        (b"hello, this is text\n" * 100, "not one of a tar archive"),
        (make_tar(entry("manifest.json", b'[{"Config":"\\ud800"}]')), "has no file"),
        (LAYER, "is imported, not loaded"),
        (make_tar(entry("manifest.json", b"[]")), "lists no images"),
        (make_tar(entry("manifest.json", b"[1]")), "without valid Config"),
        (make_tar(entry("manifest.json", b"{")), "manifest.json in "),
        (make_tar(entry("manifest.json", b'[{"Config":"a","Config":"b"}]')), "duplicate key"),
        (make_tar(entry("manifest.json", b" " * (5 << 20))), "the limit is"),
        (make_tar(entry("repositories", b"{}")), "Docker before 1.10"),
        (make_tar(entry("index.json", b"{}"), entry("oci-layout", b"{}")), "schemaVersion"),
        (gzip.compress(one_layer())[:-20], "cut off"),
        (one_layer()[: 512 + 700], "cut off in (entry )?abc/layer.tar"),
    ],
)
def test_what_is_no_archive_is_told_in_one_sentence(store: Store, data: bytes, message: str) -> None:
    refuse(store, data, message)


def test_a_truncated_archive_never_gives_an_image(store: Store) -> None:
    data = one_layer()
    for length in range(0, data.index(b"Layers"), 511):
        with pytest.raises(Damaged):
            store.load(io.BytesIO(data[:length]))
    store.assert_empty()


@pytest.mark.parametrize("what", ["layer", "config", "manifest", "layer size", "missing", "link"])
def test_a_layout_whose_blobs_are_not_what_they_are_named(store: Store, tmp_path: Path, what: str) -> None:
    image = two_layers()
    path = layout(tmp_path / "layout", (image, {}))
    layer = json.loads(image.manifest)["layers"][1]["digest"]
    blob = path / "blobs/sha256" / {"config": image.id, "manifest": image.digest}.get(what, layer)[7:]
    if what == "missing":
        blob.unlink()
    elif what == "link":
        shutil.move(blob, tmp_path / "elsewhere")
        blob.symlink_to(tmp_path / "elsewhere")
    elif what == "layer":  # as long as the real one, and unpacking to the same
        blob.write_bytes(blob.read_bytes()[:4] + b"\1\1\1\1" + blob.read_bytes()[8:])
    else:
        blob.write_bytes(blob.read_bytes() + b" ")
    with pytest.raises(Damaged):
        store.load(path)
    store.assert_empty()


def test_a_missing_file_and_a_directory_that_is_no_layout(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no such file"):
        store.load(tmp_path / "missing")
    with pytest.raises(Damaged, match="neither a docker-archive"):
        store.load(tmp_path)
    store.assert_empty()


def test_a_failed_load_spares_the_layers_that_others_have(store: Store) -> None:
    store.load(io.BytesIO(one_layer()))
    bad = config_of(LAYER_ID, digest_of(b"never"))
    archive = make_tar(*saved([LAYER, LAYER], names=["a", "b"], config=bad, config_name="c.json", tags=["bad:1"]))
    with pytest.raises(Damaged):
        store.load(io.BytesIO(archive))
    assert store.layers() == [LAYER_ID] and [tag.reference for tag in store.database.tags()] == [
        "docker.io/library/app:1"
    ]


def test_a_failed_load_takes_its_good_layers_away(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        archive_layers.os, "sched_getaffinity", lambda _pid: {0}
    )  # one after another, the largest first
    good = tar_of({"f": bytes(100_000)})
    config = config_of(digest_of(good), digest_of(b"never"))
    layers = [good, tar_of({"g": bytes(10)})]
    refuse(store, make_tar(*saved(layers, names=["a", "b"], config=config, config_name="c.json", tags=None)), "diff ID")


def test_layers_that_an_image_has_meanwhile_are_not_discarded(store: Store) -> None:
    store.load(io.BytesIO(one_layer()))
    discard_layers(store.paths, store.database, [LAYER_ID, digest_of(b"never")])
    assert store.layers() == [LAYER_ID]


def test_two_loads_at_once_share_their_layers(store: Store, tmp_path: Path) -> None:
    big = tar_of({f"f{number}": os.urandom(100_000) for number in range(30)})
    config = config_of(digest_of(big))
    data = make_tar(*saved([big], names=["a"], config=config, config_name="c.json", tags=["app:1"]))
    (tmp_path / "archive").write_bytes(data)
    errors: list[BaseException] = []

    def load_once() -> None:
        try:
            database = open_database(store.paths, create=True)
            assert database is not None
            load(store.paths, database, str(tmp_path / "archive"))
            database.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=load_once) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and store.layers() == [digest_of(big)]


# archives that can be read only once


def piped(data: bytes, reader: Any, *, piece: int = 65536) -> Any:
    """What `reader` makes of the reading end of a pipe into which the data is written."""
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb", buffering=0) as file, contextlib.suppress(BrokenPipeError):
            for start in range(0, len(data), piece):
                file.write(data[start : start + piece])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with open(reading, "rb", buffering=0) as file:
            return reader(file)
    finally:
        thread.join()


def test_a_stream_is_loaded_without_a_copy_of_it(store: Store) -> None:
    """The store never has more files, or larger ones, than the layer that is being unpacked."""
    big = tar_of({"f": os.urandom(3_000_000)})
    data = make_tar(
        *saved([big], names=["a/layer.tar"], config=config_of(digest_of(big)), config_name="c.json", tags=["app:1"])
    )
    largest = 0

    def look(_event: str, _subject: str, _done: int, _total: int) -> None:
        nonlocal largest
        for directory_name, _names, files in os.walk(store.paths.temporary):
            for name in files:
                with contextlib.suppress(FileNotFoundError):
                    largest = max(largest, os.lstat(f"{directory_name}/{name}").st_size)

    piped(data, lambda file: store.load(file, progress=look))
    assert largest <= 3_000_000 < len(data)
    assert store.layers() == [digest_of(big)]


def test_a_stream_is_read_to_its_end_so_that_its_sender_can_finish(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(one_layer() + bytes(2_000_000))
    sender = subprocess.Popen(["cat", tmp_path / "a"], stdout=subprocess.PIPE, bufsize=0)
    assert sender.stdout
    with sender, sender.stdout:
        store.load(sender.stdout)
    assert sender.returncode == 0


def test_a_stream_without_an_end_is_given_up(store: Store) -> None:
    with open("/dev/zero", "rb", buffering=0) as file, pytest.raises(Damaged, match="follow the end"):
        store.load(file)
    store.assert_empty()


def test_layers_that_no_image_in_a_stream_has_do_not_stay(store: Store) -> None:
    other = tar_of({"unwanted": b"x"})
    piped(make_tar(entry("other/layer.tar", other), *entries_of(one_layer())), store.load)
    assert store.layers() == [LAYER_ID] and os.listdir(store.paths.temporary) == []


def entries_of(archive: bytes) -> list[Any]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


@pytest.mark.parametrize("way", ["stream", "file"])
def test_the_last_file_of_a_name_counts(store: Store, tmp_path: Path, way: str) -> None:
    archive = make_tar(entry("abc/layer.tar", tar_of({"evil": b"x"})), *entries_of(one_layer()))
    (tmp_path / "a").write_bytes(archive)
    store.load(io.BytesIO(archive) if way == "stream" else tmp_path / "a")
    assert store.layers() == [LAYER_ID]


def test_a_layer_that_the_store_has_is_known_by_the_name_in_a_stream(store: Store) -> None:
    archive = one_layer(names=[f"{LAYER_ID[7:]}.tar"])
    store.load(io.BytesIO(archive))
    inode = os.stat(store.fs(LAYER_ID)).st_ino
    events: list[tuple[str, str]] = []
    store.load(io.BytesIO(archive), progress=lambda event, subject, _done, _total: events.append((event, subject)))
    assert ("exists", LAYER_ID) in events and os.stat(store.fs(LAYER_ID)).st_ino == inode


def test_a_known_name_does_not_vouch_for_other_content(store: Store) -> None:
    store.load(io.BytesIO(one_layer()))
    other = tar_of({"other": b"x"})
    config = config_of(digest_of(other))
    archive = make_tar(
        *saved([other], names=[f"{LAYER_ID[7:]}.tar"], config=config, config_name="c.json", tags=["bad:1"])
    )
    with pytest.raises(Damaged, match="has another digest"):
        store.load(io.BytesIO(archive))
    assert [tag.reference for tag in store.database.tags()] == ["docker.io/library/app:1"]


def test_documents_of_a_stream_have_a_limit_together(store: Store) -> None:
    filler = [entry(f"{number}.json", b" " * (4 << 20)) for number in range(17)]
    with pytest.raises(Damaged, match="bytes of documents"):
        store.load(io.BytesIO(make_tar(*filler, *entries_of(one_layer()))))
    store.assert_empty()


def test_names_of_a_stream_have_a_limit_together(store: Store) -> None:
    filler = [entry(f"{number}/" + "n" * 900_000) for number in range(20)]
    with pytest.raises(Damaged, match="of names"):
        store.load(io.BytesIO(make_tar(*filler)))
    store.assert_empty()


@pytest.mark.parametrize("way", ["stream", "file"])
def test_layers_that_an_image_does_not_need_may_be_of_any_kind(store: Store, tmp_path: Path, way: str) -> None:
    """An attestation, a damaged tar, a blob that is nothing."""
    image = two_layers()
    path = layout(tmp_path / "layout", (image, {}))
    (path / "blobs/sha256/bad").write_bytes(LAYER[:700])
    (path / "blobs/sha256/worse").write_bytes(os.urandom(5 << 20))
    (path / "blobs/sha256/cut").write_bytes(gzip.compress(LAYER)[:50])
    run("tar", "-C", path, "-cf", tmp_path / "a.tar", ".")
    with open(tmp_path / "a.tar", "rb") as file:
        source = io.BytesIO(file.read()) if way == "stream" else tmp_path / "a.tar"
    assert [item.image_id for item in store.load(source)] == [image.id]
    assert store.layers() == sorted(image.diff_ids)


@pytest.mark.parametrize("what", ["layer", "layer size", "config", "manifest", "missing"])
def test_a_stream_whose_blobs_are_not_what_they_are_named(store: Store, tmp_path: Path, what: str) -> None:
    image = two_layers()
    path = layout(tmp_path / "layout", (image, {}))
    layer = json.loads(image.manifest)["layers"][1]["digest"]
    blob = path / "blobs/sha256" / {"config": image.id, "manifest": image.digest}.get(what, layer)[7:]
    if what == "missing":
        blob.unlink()
    elif what == "layer":  # as long as the real one, and unpacking to the same
        blob.write_bytes(blob.read_bytes()[:4] + b"\1\1\1\1" + blob.read_bytes()[8:])
    elif what == "layer size":
        blob.write_bytes(gzip.compress(gzip.decompress(blob.read_bytes()), 0))
    else:
        blob.write_bytes(blob.read_bytes() + b" ")
    run("tar", "-C", path, "-cf", tmp_path / "a.tar", ".")
    with pytest.raises(Damaged), open(tmp_path / "a.tar", "rb") as file:
        store.load(io.BytesIO(file.read()))
    store.assert_empty()


@pytest.mark.parametrize("way", ["stream", "file"])
@pytest.mark.parametrize("keep", [True, False])
def test_compressed_layers_of_an_oci_archive_are_kept_where_asked(
    store: Store, tmp_path: Path, keep: bool, way: str
) -> None:
    image = two_layers()
    run("tar", "-C", layout(tmp_path / "layout", (image, {})), "-cf", tmp_path / "a.tar", ".")
    with open(tmp_path / "a.tar", "rb") as file:
        store.load(io.BytesIO(file.read()) if way == "stream" else tmp_path / "a.tar", keep_blobs=keep)
    layers = {digest_of(layer.blob): layer.blob for layer in image.layers}
    assert store.blobs() == (sorted(layers) if keep else [])
    for digest in store.blobs():
        assert Path(store.paths.blob(digest)).read_bytes() == layers[digest]
    assert sorted(record.digest for record in store.database.blobs()) == sorted(layers)


def test_a_directory_with_names_that_climb_shows_no_file_of_the_host(store: Store, tmp_path: Path) -> None:
    place = tmp_path / "saved"
    place.mkdir()
    (tmp_path / "secret.json").write_bytes(CONFIG)
    (place / "away").symlink_to(tmp_path)
    (place / "l.tar").write_bytes(LAYER)
    for name in ("../secret.json", "away/secret.json", str(tmp_path / "secret.json"), "a\0b", "\ud800"):
        document = [{"Config": name, "Layers": ["l.tar"], "RepoTags": None}]
        (place / "manifest.json").write_text(json.dumps(document))
        with pytest.raises(Damaged, match="has no file"):
            store.load(place)
    store.assert_empty()


def test_an_archive_that_both_docker_and_oci_describe_keeps_its_manifest(store: Store, tmp_path: Path) -> None:
    """As Docker 25 and later write it with containerd's store: the blobs are those of the registry."""
    image = two_layers()
    path = layout(tmp_path / "layout", (image, named("example.com/ignored:1")))
    blobs = [f"blobs/sha256/{item['digest'][7:]}" for item in json.loads(image.manifest)["layers"]]
    entry_of_image = {"Config": f"blobs/sha256/{image.id[7:]}", "RepoTags": ["app:1"], "Layers": blobs}
    (path / "manifest.json").write_text(json.dumps([entry_of_image]))
    run("tar", "-C", path, "-cf", tmp_path / "a.tar", ".")
    assert store.load(tmp_path / "a.tar") == [Loaded(image.id, ("docker.io/library/app:1",))]
    assert store.image(image.id).manifest_digest == image.digest


def test_a_damaged_layer_is_mended_by_loading_it_again(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(one_layer())
    store.load(path)
    (store.fs(LAYER_ID) / "etc/motd").write_bytes(b"HELLO\n")
    mark_damaged(store.paths, LAYER_ID)
    store.load(path)
    assert (store.fs(LAYER_ID) / "etc/motd").read_bytes() == b"hello\n"
    assert not needs_repair(store.paths, LAYER_ID)


def test_looking_at_an_archive_stores_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(one_layer())
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(one_layer()))
    found = Content(True, (Loaded(digest_of(CONFIG), ("docker.io/library/app:1",)),))
    assert look(str(tmp_path / "a.tar")) == found == look(str(tmp_path / "a.tar.gz"))
    store.assert_empty()


def test_a_policy_against_archives_is_kept(store: Store, tmp_path: Path) -> None:
    os.makedirs(store.paths.config)
    Path(store.paths.config, "policy.json").write_text('{"default": "accept", "archives": "reject"}')
    with pytest.raises(Denied, match="rejects images that do not come from a registry"):
        store.load(io.BytesIO(one_layer()))
    store.assert_empty()


def plain_archive(path: Path, **files: bytes) -> Path:
    """A tar of these files; `__` in a name stands for a slash and `_json` for `.json`."""
    named = {name.replace("__", "/").replace("_json", ".json"): data for name, data in files.items()}
    path.write_bytes(make_tar(*[entry(name, data) for name, data in named.items()]))
    return path


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_no_image_gets_the_name_of_another_digest(store: Store, tmp_path: Path, form: str) -> None:
    image = two_layers()
    wrong = "app@sha256:" + "a" * 64
    path = tmp_path / "a.tar"
    if form == "docker":
        layers = {f"l{number}": layer.tar for number, layer in enumerate(image.layers)}
        listed = [{"Config": "c.json", "RepoTags": [wrong], "Layers": list(layers)}]
        plain_archive(path, manifest_json=images.as_json(listed), c_json=image.config, **layers)
    else:
        annotations = {"org.opencontainers.image.ref.name": wrong}
        index, _type = make_index([image.descriptor(annotations=annotations)])
        blobs = {f"blobs__sha256__{digest[7:]}": blob for digest, blob in image.blobs.items()}
        blobs[f"blobs__sha256__{image.digest[7:]}"] = image.manifest
        plain_archive(path, **{"oci-layout": b"{}"}, index_json=index, **blobs)
    with pytest.raises(Damaged, match="another digest"):
        store.load(path)
    assert store.database.tags() == [] and store.layers() == []
    if form == "oci":
        named = path.read_bytes().replace(b"a" * 64, image.digest[7:].encode())
        path.write_bytes(named)
        assert store.load(path)[0].references == (f"docker.io/library/app@{image.digest}",)


def test_an_index_of_the_same_index_again_and_again_is_read_once(store: Store, tmp_path: Path) -> None:
    image = two_layers()
    blobs = {f"blobs__sha256__{image.digest[7:]}": image.manifest, f"blobs__sha256__{image.id[7:]}": image.config}
    document, kind = make_index([image.descriptor()] * 60)
    for _ in range(2):
        blobs[f"blobs__sha256__{digest_of(document)[7:]}"] = document
        document, kind = make_index(
            [{"mediaType": kind, "digest": digest_of(document), "size": len(document)}] * 60,
        )
    layers = {f"l{number}": layer.tar for number, layer in enumerate(image.layers)}
    listed = [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": list(layers)}]
    path = plain_archive(
        tmp_path / "a.tar",
        **{"oci-layout": b"{}", "manifest_json": images.as_json(listed), "c_json": image.config},
        index_json=document,
        **blobs,
        **layers,
    )
    start = time.process_time()
    assert look(str(path)).images == (Loaded(image.id, ("docker.io/library/app:1",)),)
    assert time.process_time() - start < 3


def test_many_entries_for_one_large_configuration_take_its_memory_once(tmp_path: Path) -> None:
    image = make_image([], platform=HOST, config={"Labels": {"x": "y" * 1_000_000}})
    listed = [{"Config": "c.json"}] * 200
    path = plain_archive(tmp_path / "a.tar", manifest_json=images.as_json(listed), c_json=image.config)
    tracemalloc.start()
    assert {loaded.image_id for loaded in look(str(path)).images} == {image.id}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    plain_archive(path, manifest_json=images.as_json([{"Config": "c.json"}] * 2000), c_json=image.config)
    with pytest.raises(Damaged, match="lists 2000 images"):
        look(str(path))


def test_what_an_archive_says_of_layers_that_are_here_is_not_believed(store: Store, tmp_path: Path) -> None:
    image = two_layers()
    lie = make_image([{"x": b"x"}, {"y": b"y"}], diff_ids=list(image.diff_ids), platform=HOST)
    write_layout(image, str(tmp_path / "good"))
    write_layout(lie, str(tmp_path / "lie"))
    store.load(tmp_path / "good")
    with pytest.raises(Damaged, match="diff ID"):
        store.load(tmp_path / "lie")
    store.load(tmp_path / "lie", keep_blobs=False)
    for layer in image.layers:
        assert [blob.digest for blob in store.database.blobs_of(layer.diff_id)] == [digest_of(layer.blob)]
