# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Archives written here and read by Docker, Podman, skopeo, buildah and umoci, and theirs here: equal ids, digests."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Conflict,
    Damaged,
    HullError,
    Invalid,
    NotFound,
)
from ansible_collections.hull.engine.plugins.module_utils._image.archive_contents import SavedImage
from ansible_collections.hull.engine.plugins.module_utils._image.platform import host_platform
from ansible_collections.hull.engine.plugins.module_utils._image.save import save

from tests.support.docker_daemon import Docker
from tests.support.images import DOCKER, OCI, File, Image, Layer, busybox_layer, make_image, tar_of, write_layout
from tests.support.podman import Podman
from tests.support.store import Store
from tests.support.tars import describe

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

HOST = str(host_platform())
APP, BASE = "docker.io/library/app:1", "example.com:5000/team/base_x.y__z-1:V1.0_x"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    fds = len(os.listdir("/proc/self/fd"))
    made = Store(tmp_path / "store")
    yield made
    made.database.close()
    assert len(os.listdir("/proc/self/fd")) == fds


@pytest.fixture
def podman() -> Iterator[Podman]:
    directory = tempfile.mkdtemp(prefix="hull-podman-")  # it wants a short path
    yield Podman(directory)
    shutil.rmtree(directory)


def base_layer() -> Layer:
    return Layer(tar_of({"etc/": File(mode=0o755, kind=tarfile.DIRTYPE), "etc/motd": b"hello\n"}))


def app(**options: Any) -> Image:
    """Three layers: a compressed one that others share, a deletion, one that is not compressed."""
    plain = Layer(tar_of({"opt/ü\n": File(b"x" * 1000, 0o4755, 5, 6)}), "plain")
    return make_image([base_layer(), {"etc/.wh.motd": b""}, plain], platform=HOST, **options)


def base(**options: Any) -> Image:
    return make_image([base_layer()], platform=HOST, config={"Cmd": ["/bin/sh"]}, **options)


def bring(store: Store, image: Image, *references: str, **options: Any) -> SavedImage:
    """Have the image in the store; it as it will be saved."""
    place = str(store.path / f"layout-{os.urandom(4).hex()}")
    write_layout(image, place, references[0] if references else "latest")
    store.load(place, **options)
    with store.database.transaction():
        for reference in references:
            store.database.put_tag(reference, image.id)
    return SavedImage(store.image(image.id), references)


def written(store: Store, *images: SavedImage, form: str = "docker-archive", name: str = "saved") -> str:
    path = str(store.path / name)
    save(store.paths, store.database, images, path, form)
    return path


def run(*command: str | Path) -> bytes:
    done = subprocess.run([str(word) for word in command], capture_output=True, timeout=60)
    assert done.returncode == 0, (command, done.stderr.decode())
    return done.stdout


def below(tree: Path) -> dict[bytes, Any]:
    """What is in a tree, but for what the layers here do not describe: the root itself, and the times of whiteouts."""
    found = describe(tree)
    del found[b"."]
    return {name: (*facts[:4], *facts[5:]) if facts[0] == stat.S_IFCHR else facts for name, facts in found.items()}


def files_of(path: str) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


# ours, read by others


def test_docker_loads_several_images_with_their_names_and_ids(store: Store, docker: Docker) -> None:
    first, second = bring(store, app(), APP, "docker.io/library/app:2"), bring(store, base(), BASE)
    with open(written(store, first, second), "rb") as file:
        told = docker("load", stdin=file).decode()
    try:
        assert sorted(told.split()[2::3]) == sorted(["app:1", "app:2", BASE])
        assert docker.inspect("app:2")["Id"] == first.record.id and docker.inspect(BASE)["Id"] == second.record.id
        assert docker.inspect("app:1")["RootFS"]["Layers"] == list(first.record.layers)
    finally:
        docker.forget()


def test_podman_loads_both_kinds_of_archive(store: Store, podman: Podman) -> None:
    saved = bring(store, app(), APP)
    podman("load", "-q", "-i", written(store, saved))
    assert podman.inspect("app:1")["Id"] == saved.record.id[7:]
    podman("rmi", "-f", "app:1")
    podman("load", "-q", "-i", written(store, saved, form="oci-archive", name="oci"))
    found = podman.inspect("app:1")
    assert (found["Id"], found["RepoTags"]) == (saved.record.id[7:], [APP])
    assert found["Digest"] == saved.record.manifest_digest == app().digest


def test_podman_loads_several_images_of_a_docker_archive_through_a_pipe(store: Store, podman: Podman) -> None:
    with open(written(store, bring(store, app(), APP), bring(store, base(), BASE)), "rb") as file:
        podman("load", "-q", stdin=file)
    assert podman.inspect(BASE)["Id"] == base().id[7:] and podman.inspect(APP)["Id"] == app().id[7:]


@pytest.mark.parametrize("types", [OCI, DOCKER])
def test_skopeo_reads_every_form(store: Store, types: Any) -> None:
    image = app(types=types)
    saved = bring(store, image, APP)
    docker_archive = f"docker-archive:{written(store, saved)}:app:1"
    oci_archive = f"oci-archive:{written(store, saved, form='oci-archive', name='oci')}:{APP}"
    oci = f"oci:{written(store, saved, form='oci-dir', name='directory')}:{APP}"
    configs = {run("skopeo", "inspect", "--config", "--raw", source) for source in (docker_archive, oci_archive, oci)}
    assert configs == {image.config}
    assert {run("skopeo", "inspect", "--raw", source) for source in (oci_archive, oci)} == {app().manifest}
    run("skopeo", "copy", "-q", oci_archive, f"dir:{store.path}/copied")


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_buildah_pulls_from_an_archive(store: Store, tmp_path: Path, transport: str) -> None:
    path = written(store, bring(store, app(), APP), form=transport)
    storage = ["--root", tmp_path / "storage", "--runroot", tmp_path / "run", "--storage-driver", "vfs"]
    told = run("buildah", *storage, "pull", "-q", f"{transport}:{path}")
    assert told.decode().strip() == app().id[7:]


def test_umoci_unpacks_a_layout_as_the_engine_has_it(store: Store, tmp_path: Path) -> None:
    saved = bring(store, base(), APP)
    layout = written(store, saved, form="oci-dir")
    run("umoci", "raw", "unpack", "--image", f"{layout}:{APP}", tmp_path / "tree")
    assert below(store.fs(saved.record.layers[0])) == below(tmp_path / "tree")


# theirs, read here


def bring_docker(docker: Docker, store: Store) -> tuple[Image, Image]:
    first, second = bring(store, app(), APP), bring(store, base(), BASE)
    docker("load", "-i", written(store, first, second))
    return app(), base()


@pytest.mark.parametrize("way", ["pipe", "file"])
def test_what_docker_saves_is_loaded_with_equal_ids(store: Store, docker: Docker, tmp_path: Path, way: str) -> None:
    first, second = bring_docker(docker, store)
    other = Store(tmp_path / "other")
    try:
        if way == "file":
            docker("save", "-o", str(tmp_path / "a.tar"), "app:1", BASE)
            loaded = other.load(tmp_path / "a.tar")
        else:
            sender = subprocess.Popen(
                ["docker", "save", "app:1", BASE], env=docker.env, stdout=subprocess.PIPE, bufsize=0
            )
            assert sender.stdout
            with sender, sender.stdout:
                loaded = other.load(sender.stdout)
            assert sender.returncode == 0
        assert {item.image_id: item.references for item in loaded} == {first.id: (APP,), second.id: (BASE,)}
        assert other.layers() == store.layers()
        for diff_id in store.layers():
            assert below(other.fs(diff_id)) == below(store.fs(diff_id))
    finally:
        other.database.close()
        docker.forget()


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "docker-dir", "oci-dir"])
def test_what_podman_saves_is_loaded_with_equal_ids(store: Store, podman: Podman, tmp_path: Path, form: str) -> None:
    saved = bring(store, app(), APP)
    podman("load", "-q", "-i", written(store, saved, form="docker-archive" if "docker" in form else "oci-archive"))
    other = Store(tmp_path / "other")
    try:
        podman("save", "-q", "--format", form, "-o", str(tmp_path / "a"), "app:1")
        if form == "docker-dir":
            with pytest.raises(Damaged, match="skopeo's form.*save it as"):
                other.load(tmp_path / "a")
            return
        (loaded,) = other.load(tmp_path / "a")
        assert (loaded.image_id, other.layers()) == (saved.record.id, store.layers())
    finally:
        other.database.close()


# what is written


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_an_archive_comes_back_as_it_went(store: Store, tmp_path: Path, form: str) -> None:
    images = bring(store, app(), APP, "docker.io/library/app:2"), bring(store, base(), BASE)
    path = written(store, *images, form=form)
    other = Store(tmp_path / "other")
    try:
        loaded = other.load(path)
        assert [(item.image_id, item.references) for item in loaded] == [
            (image.record.id, image.references) for image in images
        ]
        again = [SavedImage(other.image(item.image_id), item.references) for item in loaded]
        save(other.paths, other.database, again, str(tmp_path / "again"), form)
        assert (tmp_path / "again").read_bytes() == Path(path).read_bytes()
    finally:
        other.database.close()


def test_layers_of_several_images_are_written_once_and_documents_first(store: Store) -> None:
    path = written(store, bring(store, app(), APP), bring(store, base(), BASE))
    names = list(files_of(path))
    assert names[0] == "manifest.json" and len(names) == len(set(names)) == 1 + 2 + 3
    assert [name for name in names if name.endswith(".tar")] == names[3:]
    assert run("tar", "-tf", path).decode().split() == names  # GNU tar reads it, and finds nothing odd
    listed = json.loads(files_of(path)["manifest.json"])
    assert listed[0]["Layers"][0] == listed[1]["Layers"][0] and listed[1]["RepoTags"] == [BASE]


def test_entries_have_the_time_of_the_newest_image_or_of_source_date_epoch(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = bring(store, app(), APP)
    with tarfile.open(written(store, saved)) as tar:
        assert {info.mtime for info in tar} == {1_700_000_000}  # "created" in the configuration
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    with tarfile.open(written(store, saved)) as tar:
        assert {info.mtime for info in tar} == {1_000_000_000}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(Invalid, match="SOURCE_DATE_EPOCH"):
        written(store, saved, name="other")
    assert not os.path.exists(store.path / "other")


def test_an_image_without_a_name_and_one_that_was_saved_by_id(store: Store) -> None:
    saved = bring(store, app())
    (listed,) = json.loads(files_of(written(store, saved))["manifest.json"])
    assert listed["RepoTags"] == []
    index = json.loads(files_of(written(store, saved, form="oci-archive"))["index.json"])
    (entry,) = index["manifests"]
    assert "annotations" not in entry and entry["digest"] == app().digest
    assert entry["platform"]["architecture"] == host_platform().architecture


def test_without_kept_blobs_layers_are_not_compressed_and_the_image_stays_the_same(store: Store) -> None:
    saved = bring(store, app(), APP, keep_blobs=False)
    path = written(store, saved, form="oci-archive")
    index = json.loads(files_of(path)["index.json"])
    manifest = json.loads(run("skopeo", "inspect", "--raw", f"oci-archive:{path}:{APP}"))
    assert manifest["config"]["digest"] == app().id and index["manifests"][0]["digest"] != app().digest
    assert [layer["digest"] for layer in manifest["layers"]] == list(app().diff_ids)
    run("skopeo", "copy", "-q", f"oci-archive:{path}:{APP}", f"dir:{store.path}/copied")  # checks every digest


def test_a_stream_gets_the_same_bytes_as_a_file(store: Store) -> None:
    saved = bring(store, app(), APP)
    reading, writing = os.pipe()
    received = io.BytesIO()

    def receive() -> None:
        with open(reading, "rb") as file:
            received.write(file.read())

    thread = threading.Thread(target=receive)
    thread.start()
    try:
        save(store.paths, store.database, [saved], writing, "docker-archive")
    finally:
        os.close(writing)
        thread.join()
    assert received.getvalue() == Path(written(store, saved)).read_bytes()


def test_a_file_is_private_and_replaces_what_a_link_leads_to(store: Store) -> None:
    saved = bring(store, app(), APP)
    target, link = store.path / "target", store.path / "link"
    target.write_text("old")
    link.symlink_to(target)
    written(store, saved, name="link")
    assert link.is_symlink() and stat.S_IMODE(os.stat(target).st_mode) == 0o600
    assert "manifest.json" in files_of(str(target))


# what fails leaves what was there


def damage(store: Store, saved: SavedImage) -> None:
    (store.fs(saved.record.layers[0]) / "etc/motd").write_bytes(b"HELLO\n")


def lose_record(store: Store, saved: SavedImage) -> None:
    os.unlink(f"{store.paths.layer(saved.record.layers[2])}/headers")


def flip_blob(store: Store, _saved: SavedImage) -> None:
    path = store.paths.blob(store.blobs()[0])
    data = bytearray(Path(path).read_bytes())
    data[-9] ^= 1
    Path(path).write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "form", "kind"),
    [
        (damage, "docker-archive", Damaged),
        (lose_record, "docker-archive", NotFound),
        (lose_record, "oci-dir", NotFound),
        (flip_blob, "oci-archive", Damaged),
        (flip_blob, "oci-dir", Damaged),
    ],
)
def test_what_is_not_what_it_was_is_not_written(
    store: Store, harm: Callable[[Store, SavedImage], None], form: str, kind: type[HullError]
) -> None:
    saved = bring(store, app(), APP)
    harm(store, saved)
    place = store.path / "place"
    place.mkdir()
    if form != "oci-dir":
        (place / "saved").write_text("old")
    with pytest.raises(kind):
        written(store, saved, form=form, name="place/saved")
    if form == "oci-dir":
        assert os.listdir(place) == []
    else:
        assert os.listdir(place) == ["saved"] and (place / "saved").read_text() == "old"


def test_places_where_nothing_can_be_written(store: Store) -> None:
    saved = bring(store, app(), APP)
    (store.path / "full").mkdir()
    (store.path / "full/x").write_text("x")
    with pytest.raises(NotFound, match="no such file or directory.*make the directory first"):
        written(store, saved, name="missing/saved")
    with pytest.raises(Conflict, match="a directory.*oci-dir"):
        written(store, saved, name="full")
    with pytest.raises(Conflict, match="something is there"):
        written(store, saved, name="full", form="oci-dir")
    with pytest.raises(Invalid, match="format: 'zip' is not known"):
        written(store, saved, form="zip")
    with pytest.raises(Invalid, match="not a stream"):
        save(store.paths, store.database, [saved], 1, "oci-dir")
    assert os.listdir(store.path / "full") == ["x"]


def test_a_full_disk_is_told_and_nothing_stays(store: Store, tmp_path: Path) -> None:
    big = make_image([busybox_layer("plain")], platform=HOST)
    saved = bring(store, big, APP)
    place = tmp_path / "small"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place)
    try:
        with pytest.raises(HullError, match="no space left on device; free some space"):
            save(store.paths, store.database, [saved], str(place / "saved"), "docker-archive")
        assert os.listdir(place) == []
    finally:
        run("umount", place)


def test_a_device_is_written_to_and_stays_a_device(store: Store) -> None:
    save(store.paths, store.database, [bring(store, app(), APP)], "/dev/null", "docker-archive")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
