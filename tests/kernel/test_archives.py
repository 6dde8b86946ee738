# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Archives that skopeo, buildah, umoci and podman write, loaded; hostile and damaged ones, refused without a trace."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, HullError, Invalid, NotFound
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image import archives
from ansible_collections.hull.engine.plugins.module_utils._image.archives import Loaded, load
from ansible_collections.hull.engine.plugins.module_utils._image.platform import host_platform, parse_platform
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.register import discard_layers
from ansible_collections.hull.engine.plugins.module_utils._image.rootfs import import_rootfs
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database
from ansible_collections.hull.engine.plugins.module_utils._store.layers import list_layers

from tests.support import images
from tests.support.images import Image, Layer, digest_of, make_image, make_index, tar_of, write_layout
from tests.support.tars import describe, directory, entry, hard_link, make_tar, symlink

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

HOST = str(host_platform())
OTHER = "linux/s390x" if HOST != "linux/s390x" else "linux/amd64"


class Store:
    """An engine's state directory of the test's own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.paths = Paths(root=str(path / "root"), run=str(path / "run"), config=str(path / "config"))
        database = open_database(self.paths, create=True)
        assert database is not None
        self.database: Database = database

    def load(self, source: str | Path | IO[bytes], **options: Any) -> list[Loaded]:
        return load(self.paths, self.database, str(source) if isinstance(source, Path) else source, **options)

    def layers(self) -> list[str]:
        return list_layers(self.paths)

    def fs(self, diff_id: str) -> Path:
        return Path(self.paths.layer(diff_id), "fs")

    def assert_empty(self) -> None:
        """Nothing of a load that failed is left, neither a record nor a file."""
        assert self.database.images() == [] == self.database.tags() == self.layers()
        for place in (self.paths.temporary, self.paths.trash):
            assert not os.path.exists(place) or os.listdir(place) == []


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
    monkeypatch.setattr(archives.os, "sched_getaffinity", lambda _pid: {0})  # one after another, the largest first
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


# root file systems


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
