# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Images pushed to Docker's registry and to one that misbehaves; skopeo and the registry tell what arrived."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import HullError, Invalid, RegistryError
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.archives import load
from ansible_collections.hull.engine.plugins.module_utils._image.platform import parse_platform
from ansible_collections.hull.engine.plugins.module_utils._image.pull import pull
from ansible_collections.hull.engine.plugins.module_utils._image.push import Pushed, push, push_index
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.rootfs import import_rootfs
from ansible_collections.hull.engine.plugins.module_utils._image.settings import RegistrySettings
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database
from ansible_collections.hull.engine.plugins.module_utils._store.garbage import sweep_temporary
from ansible_collections.hull.engine.plugins.module_utils._store.records import ImageRecord

from tests.support.docker_daemon import Docker
from tests.support.faulty_registry import FaultyRegistry, header, status
from tests.support.images import DOCKER, OCI, File, Image, Layer, as_json, digest_of, directory, make_image, tar_of
from tests.support.registry import RunningRegistry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers keep owners, which takes root")

BASE: dict[str, File | bytes] = {"etc": directory(), "etc/passwd": b"root:x:0:0::/root:/bin/sh\n"}
UPPER: dict[str, File | bytes] = {"etc": directory(), "etc/hosts": b"127.0.0.1 localhost\n" * 100}
BIG: dict[str, File | bytes] = {"big": random.Random(3).randbytes(1_500_000)}


class Store:
    """A state directory of its own, and what goes in and out of it."""

    def __init__(self, place: Path) -> None:
        self.paths = Paths(root=f"{place}/root", run=f"{place}/run", config=f"{place}/config")
        database = open_database(self.paths, create=True)
        assert database is not None
        self.database: Database = database
        self.events: list[tuple[str, str, int, int]] = []

    def pull(self, text: str, platform: str = "", config: RegistrySettings | None = None) -> ImageRecord:
        wanted = parse_platform(platform) if platform else None
        return pull(self.paths, self.database, parse_reference(text), wanted, config=config or RegistrySettings())

    def push(
        self,
        text: str,
        image: ImageRecord,
        *,
        check: bool = False,
        alone: bool = False,
        config: RegistrySettings | None = None,
    ) -> Pushed:
        self.events = []
        return push(
            self.paths,
            self.database,
            parse_reference(text),
            image,
            config=config or RegistrySettings(),
            check=check,
            alone=alone,
            progress=lambda *event: self.events.append(event),
        )

    def push_index(self, text: str, images: list[ImageRecord], *, check: bool = False) -> Pushed:
        reference = parse_reference(text)
        return push_index(self.paths, self.database, reference, images, config=RegistrySettings(), check=check)

    def tag(self, text: str, image: ImageRecord) -> None:
        with self.database.transaction():
            self.database.put_tag(parse_reference(text).canonical, image.id)

    def add(self, place: Path, entries: dict[str, File | bytes], text: str = "", platform: str = "") -> ImageRecord:
        """An image made here, of one layer."""
        path = place / "rootfs.tar"
        path.write_bytes(tar_of(entries))
        reference = parse_reference(text) if text else None
        wanted = parse_platform(platform) if platform else None
        return import_rootfs(self.paths, self.database, str(path), reference, platform=wanted)

    def load(self, archive: Path) -> ImageRecord:
        (loaded,) = load(self.paths, self.database, str(archive))
        record = self.database.image(loaded.image_id)
        assert record is not None
        return record

    def forget_blobs(self) -> None:
        """As where keep_blobs is false."""
        shutil.rmtree(self.paths.blobs, ignore_errors=True)

    def ends(self, event: str) -> list[str]:
        return [subject for name, subject, _, _ in self.events if name == event]

    def is_tidy(self) -> bool:
        return not os.path.exists(self.paths.temporary) or os.listdir(self.paths.temporary) == []


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def other_store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "other")
    yield made
    made.database.close()


@pytest.fixture(autouse=True)
def _fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def _raw(host: str, repository: str, version: str) -> bytes:
    """A manifest as skopeo gets it."""
    name = f"docker://{host}/{repository}{'@' if ':' in version else ':'}{version}"
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", name]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout


def _copied(host: str, repository: str, tag: str, place: Path) -> Path:
    """The image as skopeo pulls it, which checks every digest: an OCI layout."""
    source = f"docker://{host}/{repository}:{tag}"
    command = ["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"oci:{place}:latest"]
    subprocess.run(command, check=True, timeout=60)
    return place


# the same digests


@pytest.mark.parametrize("types", [OCI, DOCKER], ids=["oci", "docker"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
def test_a_pulled_image_pushes_back_with_its_digest(
    registry: RunningRegistry, store: Store, types: dict[str, str], kept: bool
) -> None:
    image = make_image([BASE, UPPER], types=types)
    record = store.pull(registry.push("same/source", "1", image))
    if not kept:
        store.forget_blobs()
    target = f"{registry.host}/same/target-{types is OCI}-{kept}".lower()
    done = store.push(f"{target}:2", record)
    assert done.changed and done.before == "" and done.digest == image.digest and done.warnings == ()
    assert _raw(registry.host, target.partition("/")[2], "2") == image.manifest
    assert store.is_tidy()


def test_kept_blobs_go_to_another_registry_as_they_came(registry: RunningRegistry, store: Store) -> None:
    image = make_image([Layer(tar_of(BASE), "zstd"), Layer(tar_of(UPPER), "gzip"), Layer(tar_of(BIG), "plain")])
    record = store.pull(registry.push("as/came", "1", image))
    with FaultyRegistry(uploads=True) as there:
        done = store.push(f"{there.host}/copy:1", record)
        assert (done.digest, done.warnings) == (image.digest, ())
        copied = registry_copy(there, "copy", "1")
    assert copied == image.digest


def registry_copy(server: FaultyRegistry, repository: str, tag: str) -> str:
    """The digest of what skopeo gets there, blobs included."""
    command = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{server.host}/{repository}:{tag}"]
    place = f"/tmp/hull-push-{os.getpid()}"
    try:
        subprocess.run([*command, f"dir:{place}"], check=True, timeout=60)
        with open(f"{place}/manifest.json", "rb") as file:
            return digest_of(file.read())
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_foreign_layers_are_not_sent(store: Store) -> None:
    image = make_image([BASE, UPPER])
    value = json.loads(image.manifest)
    foreign = value["layers"][0]["digest"]
    outside = FaultyRegistry("127.0.0.2")
    outside.add("any", "1", image)
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    value["layers"][0].update(mediaType=kind, urls=[f"{outside.url}/v2/any/blobs/{foreign}"])
    source = FaultyRegistry()
    name = source.add("app", "1", Image(as_json(value), image.media_type, image.config, image.layers, image.blobs))
    with outside, source, FaultyRegistry(uploads=True) as there:
        record = store.pull(name, config=RegistrySettings(foreign_layers=True))
        done = store.push(f"{there.host}/copy:1", record)
        assert done.digest == digest_of(as_json(value)) and _raw(there.host, "copy", "1") == as_json(value)
        assert [request for request in there.requests() if foreign in request.path] == []


def test_a_blob_that_was_not_kept_is_pushed_again_with_a_warning(registry: RunningRegistry, store: Store) -> None:
    image = make_image([BASE, UPPER], annotations={"org.example": "stays"})
    record = store.pull(registry.push("gone/source", "1", image))
    store.forget_blobs()
    with FaultyRegistry(uploads=True) as there:
        done = store.push(f"{there.host}/copy:1", record)
        assert done.digest != image.digest and len(done.warnings) == 2
        assert "keep_blobs" in done.warnings[0] and image.digest in done.warnings[0]
        manifest = json.loads(_raw(there.host, "copy", "1"))
        assert registry_copy(there, "copy", "1") == done.digest
    assert manifest["annotations"] == {"org.example": "stays"}
    assert manifest["config"] == json.loads(image.manifest)["config"]


def test_our_own_blobs_are_made_again_bit_for_bit(registry: RunningRegistry, store: Store, tmp_path: Path) -> None:
    made = store.add(tmp_path, BIG)
    first = store.push(f"{registry.host}/bits/first:1", made)
    elsewhere = Store(tmp_path / "elsewhere")
    record = elsewhere.pull(f"{registry.host}/bits/first:1")
    elsewhere.forget_blobs()
    with FaultyRegistry(uploads=True) as there:
        done = elsewhere.push(f"{there.host}/copy:1", record)
    elsewhere.database.close()
    assert (done.digest, done.warnings) == (first.digest, ())


# images made here


def test_an_imported_image_is_compressed_and_readable(registry: RunningRegistry, store: Store, tmp_path: Path) -> None:
    record = store.add(tmp_path, {**BASE, **BIG})
    done = store.push(f"{registry.host}/made/here:1", record)
    manifest = json.loads(_raw(registry.host, "made/here", "1"))
    assert [layer["mediaType"] for layer in manifest["layers"]] == [OCI["gzip"]]
    layout = _copied(registry.host, "made/here", "1", tmp_path / "layout")
    blob = (layout / "blobs" / manifest["layers"][0]["digest"].replace(":", "/")).read_bytes()
    subprocess.run(["gzip", "-t"], input=blob, check=True)
    unpacked = subprocess.run(["zcat"], input=blob, stdout=subprocess.PIPE, check=True).stdout
    assert "sha256:" + hashlib.sha256(unpacked).hexdigest() == record.layers[0]
    assert done.digest == digest_of(_raw(registry.host, "made/here", "1"))


def test_docker_takes_what_we_push_for_the_same_image(
    registry: RunningRegistry, store: Store, docker: Docker, tmp_path: Path
) -> None:
    record = store.add(tmp_path, {**BASE, **BIG})
    name = f"{registry.host}/for/docker:1"
    done = store.push(name, record)
    docker("pull", "-q", name)
    facts = docker.inspect(name)
    assert facts["Id"] == record.id and facts["RootFS"]["Layers"] == list(record.layers)
    assert facts["RepoDigests"] == [f"{registry.host}/for/docker@{done.digest}"]


def test_two_hosts_push_the_same_image_with_the_same_digest(
    registry: RunningRegistry, store: Store, other_store: Store, tmp_path: Path
) -> None:
    first = store.push(f"{registry.host}/twice/a:1", store.add(tmp_path, BIG))
    second = other_store.push(f"{registry.host}/twice/b:1", other_store.add(tmp_path, BIG))
    assert first.digest == second.digest


def test_layers_that_came_from_a_registry_keep_their_blobs(
    registry: RunningRegistry, store: Store, tmp_path: Path
) -> None:
    """A docker-archive says nothing of compressed forms; one of its layers is known from a pull."""
    base = make_image([BASE])
    store.pull(registry.push("base", "1", base))
    layout = tmp_path / "archive.tar"
    registry.push("both", "1", make_image([BASE, UPPER]))
    source = f"docker://{registry.host}/both:1"
    command = ["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"docker-archive:{layout}:both:1"]
    subprocess.run(command, check=True)
    record = store.load(layout)
    store.push(f"{registry.host}/child:1", record)
    manifest = json.loads(_raw(registry.host, "child", "1"))
    assert manifest["layers"][0]["digest"] == json.loads(base.manifest)["layers"][0]["digest"]
    assert len(store.ends("mounted")) == 1 and len(store.ends("pushed")) == 1


# what is there is not sent again


def test_a_second_push_is_one_head_request(store: Store, tmp_path: Path) -> None:
    with FaultyRegistry(uploads=True) as there:
        name = f"{there.host}/team/app:1"
        record = store.add(tmp_path, BIG, name)
        first = store.push(name, record)
        count = len(there.requests())
        again = store.push(name, record)
        assert not again.changed and again.digest == again.before == first.digest
        assert [(request.method, request.path) for request in there.requests()[count:]] == [
            ("HEAD", "/v2/team/app/manifests/1")
        ]


def test_another_tag_in_the_same_repository_sends_no_blob(store: Store, tmp_path: Path) -> None:
    with FaultyRegistry(uploads=True) as there:
        record = store.add(tmp_path, BIG)
        store.push(f"{there.host}/team/app:1", record)
        count = len(there.requests())
        done = store.push(f"{there.host}/team/app:2", record)
        methods = [request.method for request in there.requests()[count:]]
        assert done.changed and methods == ["HEAD", "HEAD", "HEAD", "PUT"]
        assert len(store.ends("present")) == 1


def test_another_repository_of_the_registry_gets_blobs_by_mount(store: Store, tmp_path: Path) -> None:
    with FaultyRegistry(uploads=True, need_token=True, users={"me": "secret"}) as there:
        config = RegistrySettings().with_credentials("me", "secret")
        record = store.add(tmp_path, BIG)
        store.push(f"{there.host}/team/app:1", record, config=config)
        store.push(f"{there.host}/other/app:1", record, config=config)
        assert len(store.ends("mounted")) == 1 and store.ends("upload") == []
        scopes = [unquote(request.path) for request in there.requests("/token")]
        assert any("repository:other/app:pull,push" in text and "repository:team/app:pull" in text for text in scopes)


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_refused_mount_becomes_an_upload(store: Store, tmp_path: Path, code: int) -> None:
    there = FaultyRegistry(uploads=True)
    there.fault("POST", "mount=", status(code))
    with there:
        record = store.add(tmp_path, BIG)
        store.push(f"{there.host}/team/app:1", record)
        done = store.push(f"{there.host}/other/app:1", record)
        assert done.changed and len(store.ends("pushed")) == 1


def test_blobs_that_a_registry_lost_are_sent_again(store: Store, tmp_path: Path) -> None:
    """What the records say about a registry is a hint, not the truth."""
    with FaultyRegistry(uploads=True) as there:
        record = store.add(tmp_path, BIG)
        store.push(f"{there.host}/team/app:1", record)
        with store.database.transaction():
            (blob,) = store.database.blobs_of(record.layers[0])
            store.database.put_blob_place(blob.digest, f"{there.host}/ghost/app")
            store.database.delete_blob_place(blob.digest, f"{there.host}/team/app")
        done = store.push(f"{there.host}/third/app:1", record)
        assert done.changed and len(store.ends("pushed")) == 1
        assert store.database.blob_places(blob.digest) == [f"{there.host}/third/app"]


def test_the_index_that_an_image_was_pulled_from_is_left_alone(registry: RunningRegistry, store: Store) -> None:
    images = {"linux/amd64": make_image([BASE]), "linux/arm64": make_image([UPPER], platform="linux/arm64")}
    name = registry.push_index("multi/app", "1", images)
    record = store.pull(name, "linux/amd64")
    done = store.push(name, record)
    assert not done.changed
    assert json.loads(_raw(registry.host, "multi/app", "1"))["manifests"]
    assert store.push(name, record, alone=True, check=True).changed
    assert store.push(name, record, alone=True).changed
    assert _raw(registry.host, "multi/app", "1") == images["linux/amd64"].manifest


@pytest.mark.parametrize("how", ["no HEAD", "no digest"])
def test_a_registry_that_does_not_tell_digests_is_asked_for_the_manifest(
    store: Store, tmp_path: Path, how: str
) -> None:
    there = FaultyRegistry(uploads=True)
    fault = status(405) if how == "no HEAD" else header("Docker-Content-Digest", "")
    there.fault("HEAD", "/manifests/", fault)
    with there:
        name = f"{there.host}/team/app:1"
        record = store.add(tmp_path, BIG, name)
        assert store.push(name, record).changed
        assert not store.push(name, record).changed


# check mode


def test_check_mode_tells_and_changes_nothing(store: Store, tmp_path: Path) -> None:
    with FaultyRegistry(uploads=True) as there:
        name = f"{there.host}/team/app:1"
        record = store.add(tmp_path, BIG, name)
        told = store.push(name, record, check=True)
        assert told.changed and told.before == ""
        assert {request.method for request in there.requests()} == {"HEAD"}
        done = store.push(name, record)
        again = store.push(name, record, check=True)
        assert not again.changed and again.digest == done.digest
        assert store.is_tidy()


def test_check_mode_on_another_host_knows_the_digest(
    registry: RunningRegistry, store: Store, other_store: Store, tmp_path: Path
) -> None:
    name = f"{registry.host}/foretold/app:1"
    done = store.push(name, store.add(tmp_path, BIG))
    same = other_store.push(name, other_store.add(tmp_path, BIG), check=True)
    assert not same.changed and same.digest == done.digest
    other = other_store.push(name, other_store.add(tmp_path, UPPER), check=True)
    assert other.changed and other.before == done.digest and other.digest not in ("", done.digest)
    assert other_store.push(name, other_store.add(tmp_path, UPPER)).digest == other.digest


# indexes


def test_several_images_become_one_index(registry: RunningRegistry, store: Store, tmp_path: Path) -> None:
    amd64 = store.add(tmp_path, BASE, platform="linux/amd64")
    arm = store.add(tmp_path, UPPER, platform="linux/arm/v7")
    name = f"{registry.host}/index/app:1"
    assert store.push_index(name, [amd64, arm], check=True).changed
    done = store.push_index(name, [amd64, arm])
    text = _raw(registry.host, "index/app", "1")
    assert done.changed and done.digest == digest_of(text)
    entries = json.loads(text)["manifests"]
    assert [entry["platform"] for entry in entries] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm", "os": "linux", "variant": "v7"},
    ]
    assert not store.push_index(name, [amd64, arm]).changed
    assert not store.push_index(name, [amd64, arm], check=True).changed
    place = tmp_path / "arm"
    command = ["skopeo", "--override-arch", "arm", "--override-variant", "v7", "copy", "-q", "--src-tls-verify=false"]
    subprocess.run([*command, f"docker://{name}", f"oci:{place}:latest"], check=True, timeout=60)


def test_an_index_of_dockers_images_is_of_dockers_kind(registry: RunningRegistry, store: Store) -> None:
    names = [
        registry.push("list/source", tag, make_image([BASE], types=DOCKER, platform=f"linux/{tag}"))
        for tag in ("amd64", "arm64")
    ]
    records = [store.pull(name, f"linux/{name.rpartition(':')[2]}") for name in names]
    store.push_index(f"{registry.host}/list/app:1", records)
    assert json.loads(_raw(registry.host, "list/app", "1"))["mediaType"] == DOCKER["index"]


def test_two_images_for_one_platform_are_no_index(registry: RunningRegistry, store: Store, tmp_path: Path) -> None:
    records = [store.add(tmp_path, BASE), store.add(tmp_path, UPPER)]
    with pytest.raises(Invalid, match="two images are for linux/"):
        store.push_index(f"{registry.host}/index/double:1", records)


# refusals and faults


def test_a_registry_of_docker_types_gets_them(store: Store, other_store: Store, tmp_path: Path) -> None:
    there = FaultyRegistry(uploads=True)
    assert there.uploads
    there.uploads.refused_types = (OCI["manifest"], OCI["index"])
    with there:
        name = f"{there.host}/old/app:1"
        record = store.add(tmp_path, BASE, name)
        done = store.push(name, record)
        manifest = json.loads(_raw(there.host, "old/app", "1"))
        assert manifest["mediaType"] == DOCKER["manifest"] and manifest["layers"][0]["mediaType"] == DOCKER["gzip"]
        assert digest_of(_raw(there.host, "old/app", "1")) == done.digest
        assert not store.push(name, record).changed
        elsewhere = other_store.add(tmp_path, BASE, name)
        assert not other_store.push(name, elsewhere, check=True).changed
        assert not other_store.push(name, elsewhere).changed
        both = [record, store.add(tmp_path, BASE, platform="linux/s390x")]
        assert store.push_index(f"{there.host}/old/both:1", both).changed
        assert not store.push_index(f"{there.host}/old/both:1", both, check=True).changed
        assert json.loads(_raw(there.host, "old/both", "1"))["mediaType"] == DOCKER["index"]


def test_a_pulled_oci_image_is_not_changed_for_a_registry_of_docker_types(
    registry: RunningRegistry, store: Store
) -> None:
    record = store.pull(registry.push("strict/source", "1", make_image([BASE])))
    there = FaultyRegistry(uploads=True)
    assert there.uploads
    there.uploads.refused_types = (OCI["manifest"],)
    with there, pytest.raises(RegistryError, match="may not know OCI images"):
        store.push(f"{there.host}/old/app:1", record)


def test_nothing_is_visible_under_the_tag_before_all_is_there(store: Store, tmp_path: Path) -> None:
    there = FaultyRegistry(uploads=True)
    there.fault("PUT", "/uploads/", status(403, b'{"errors":[{"code":"DENIED"}]}'))
    with there:
        record = store.add(tmp_path, BIG)
        with pytest.raises(HullError, match=f"{there.host}/team/app"):
            store.push(f"{there.host}/team/app:1", record)
        assert [request for request in there.requests("/manifests/") if request.method == "PUT"] == []
    assert store.is_tidy()


def test_a_digest_is_no_name_to_push_to(registry: RunningRegistry, store: Store, tmp_path: Path) -> None:
    record = store.add(tmp_path, BASE)
    with pytest.raises(Invalid, match="a digest is no name to push to"):
        store.push(f"{registry.host}/app@{record.manifest_digest}", record)


def test_an_upload_through_faults_arrives(store: Store, tmp_path: Path) -> None:
    there = FaultyRegistry(uploads=True)
    there.interrupt("PUT", "/uploads/", 400_000, times=1)
    there.interrupt("PATCH", "/uploads/", 400_000, times=1)
    there.fault("PUT", "/manifests/", status(503), times=2)
    there.fault("HEAD", "/blobs/", status(429, Retry_After="0"), times=1)
    with there:
        done = store.push(f"{there.host}/team/app:1", store.add(tmp_path, BIG))
        assert registry_copy(there, "team/app", "1") == done.digest


def _push_in_child(store: Store, name: str, record: ImageRecord) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            database = open_database(store.paths, create=False)
            assert database is not None
            push(store.paths, database, parse_reference(name), record, config=RegistrySettings())
        finally:
            os._exit(0)
    return pid


def _wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.005)


def test_a_killed_push_leaves_nothing_that_is_not_swept(store: Store, tmp_path: Path) -> None:
    there = FaultyRegistry(uploads=True)
    there.interrupt("PUT", "/uploads/", 1_000_000, times=1, answer=lambda answer: signal.pause())
    with there:
        name = f"{there.host}/team/app:1"
        record = store.load(_docker_archive(make_image([BASE, BIG]), tmp_path))
        pid = _push_in_child(store, name, record)
        _wait_for(lambda: len([r for r in there.requests("/uploads/") if r.method == "PUT"]) == 2, "both uploads")
        _wait_for(lambda: len(_children(pid)) == 1, "the end of the first")
        (worker,) = _children(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.kill(worker, signal.SIGKILL)  # alone it would learn of the death at its next report; here none comes
        assert not store.is_tidy()
        _wait_for(lambda: sweep_temporary(store.paths) and store.is_tidy(), "a sweep that finds nobody alive")
        assert there.requests("/manifests/1")[1:] == []
        done = store.push(name, record)
        assert done.changed
        assert len(store.ends("pushed")) == 1
        puts = [request for request in there.requests("/uploads/") if request.method == "PUT"]
        assert len(puts) == 4, "the layer that arrived was not sent again: the other one and the configuration were"


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def test_a_full_disk_is_told_and_leaves_nothing(registry: RunningRegistry, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(place)], check=True)
    store = Store(place)
    try:
        record = store.add(tmp_path, BIG)
        store.push(f"{registry.host}/full/warm:1", store.add(tmp_path, BASE))
        room = os.statvfs(place)
        (place / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize - 1_000_000))
        with pytest.raises(HullError, match="(?i)no space left"):
            store.push(f"{registry.host}/full/app:1", record)
        assert store.is_tidy()
        os.unlink(place / "filler")
        assert store.push(f"{registry.host}/full/app:1", record).changed
    finally:
        store.database.close()
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_many_layers_go_in_parallel_and_all_arrive(registry: RunningRegistry, store: Store, tmp_path: Path) -> None:
    layers = [Layer(tar_of({f"file{number}": random.Random(number).randbytes(50_000)}), "plain") for number in range(8)]
    image = make_image([*layers, layers[0]])
    record = store.load(_docker_archive(image, tmp_path))
    store.push(f"{registry.host}/many/app:1", record)
    _copied(registry.host, "many/app", "1", tmp_path / "layout")
    assert len(store.ends("pushed")) == 8


def _docker_archive(image: Image, place: Path) -> Path:
    """The image as `docker save` would write it."""
    path = place / "docker.tar"
    names = [f"{digest_of(layer.tar).partition(':')[2]}/layer.tar" for layer in image.layers]
    listing = [{"Config": f"{image.id.partition(':')[2]}.json", "RepoTags": ["many:1"], "Layers": names}]
    files = {f"{image.id.partition(':')[2]}.json": image.config, "manifest.json": json.dumps(listing).encode()}
    files.update({name: layer.tar for name, layer in zip(names, image.layers)})
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
