# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the container_image module decides, on a store of its own, with archives of several images and a registry."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Conflict,
    Denied,
    Invalid,
    NotFound,
    Unsupported,
)
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._base.plan import Outcome
from ansible_collections.hull.engine.plugins.module_utils._engine import containers, image_removal, images, pruning
from ansible_collections.hull.engine.plugins.module_utils._engine.commit_task import ensure_commit
from ansible_collections.hull.engine.plugins.module_utils._engine.committing import CommitRequest
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine, open_engine
from ansible_collections.hull.engine.plugins.module_utils._engine.image_source import ImageRequest
from ansible_collections.hull.engine.plugins.module_utils._engine.image_task import ensure, ensure_tagged
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec

from tests.support.faulty_registry import FaultyRegistry, header
from tests.support.images import busybox_image, busybox_layer, make_image, make_index, write_layout

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(Paths(f"{tmp_path}/root", f"{tmp_path}/run", f"{tmp_path}/etc"))
    yield engine
    engine.close()


@pytest.fixture
def layout(tmp_path: Path) -> str:
    """An OCI layout of two images, one:1 and two:1."""
    path = tmp_path / "layout"
    pair = [make_image([busybox_layer()], config={"Cmd": ["sh"], "Labels": {"n": name}}) for name in ("one", "two")]
    write_layout(pair[0], str(path))
    for digest, data in {**pair[1].blobs, pair[1].digest: pair[1].manifest}.items():
        (path / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(data)
    descriptors = [
        image.descriptor(annotations={"org.opencontainers.image.ref.name": f"{name}:1"})
        for image, name in zip(pair, ("one", "two"))
    ]
    (path / "index.json").write_bytes(make_index(descriptors)[0])
    return str(path)


def load(engine: Engine, layout: str, name: str) -> Outcome:
    return ensure(engine, ImageRequest(name=name, source="load", load_path=layout))


def test_of_an_archive_of_several_images_the_named_one_is_meant(engine: Engine, layout: str) -> None:
    outcome = load(engine, layout, "two:1")
    assert outcome.changed and outcome.facts is not None
    assert outcome.facts["Config"]["Labels"] == {"n": "two"}
    assert not load(engine, layout, "two:1").changed


def test_a_name_that_is_not_among_several_leaves_nothing_behind(engine: Engine, layout: str) -> None:
    with pytest.raises(NotFound, match=r"three:1: not in .*; it holds one:1, two:1"):
        load(engine, layout, "three:1")
    assert images.list_images(engine) == []
    assert not os.path.exists(engine.paths.layers) or os.listdir(engine.paths.layers) == []


def test_a_name_is_never_the_beginning_of_another_images_id(engine: Engine, layout: str) -> None:
    facts = load(engine, layout, "one:1").facts
    assert facts is not None
    digits = facts["Id"].partition(":")[2]
    assert not ensure(engine, ImageRequest(name=digits[:11], state="absent")).changed
    with pytest.raises(NotFound, match=f"image {digits[:11]}: no such image here"):
        ensure_tagged(engine, digits[:11], ("app:1",))
    with pytest.raises(NotFound, match=f"image {digits[:4]}: no such image here"):
        images.plan_pull(engine, digits[:4], "never")
    assert images.plan_pull(engine, digits[:4], "missing").fetch == "not here"
    for text in (digits[:12], digits, facts["Id"], f"sha256:{digits[:12]}"):
        assert images.find(engine, text).id == facts["Id"]
    assert images.lookup(engine, f"sha256:{digits[:11]}") is None
    with open_engine(engine.paths.root, engine.paths.run, engine.paths.config) as typed:
        assert images.find(typed, digits[:4]).id == images.find(typed, f"sha256:{digits[:4]}").id == facts["Id"]
        typed.close()
    assert ensure(engine, ImageRequest(name=digits[:12], state="absent")).changed


def test_what_is_to_be_a_name_is_not_looked_up_as_an_id(engine: Engine, layout: str) -> None:
    facts = load(engine, layout, "one:1").facts
    assert facts is not None
    name = facts["Id"].partition(":")[2][:12]
    request = CommitRequest(name=name)
    record = containers.find(
        engine, containers.create(engine, container_spec({"name": "c", "image": "one:1", "network_mode": "none"}))
    )
    outcome = ensure_commit(engine, record, request, check=True)
    assert outcome.before == {"exists": False, "id": None}
    containers.remove(engine, record)


def test_check_mode_tells_that_an_image_in_use_can_t_be_removed(engine: Engine, layout: str) -> None:
    load(engine, layout, "one:1")
    spec = container_spec({"name": "user", "image": "one:1", "network_mode": "none"})
    record = containers.find(engine, containers.create(engine, spec))
    absent = ImageRequest(name="one:1", state="absent")
    for check in (True, False):
        with pytest.raises(Conflict, match="container user uses it"):
            ensure(engine, absent, check=check)
    containers.remove(engine, record)
    told = ensure(engine, absent, check=True)
    done = ensure(engine, absent)
    assert told.actions == done.actions and [action.verb for action in done.actions] == ["untagged", "deleted"]
    assert not ensure(engine, absent).changed


def asked(server: FaultyRegistry) -> list[str]:
    """The requests that arrived since the last time, without the host's part."""
    return [f"{request.method} {request.path}" for request in server.requests()]


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    """A registry that tells what it was asked, with app:1 and app:2."""
    server = FaultyRegistry()
    for version in ("1", "2"):
        server.add("app", version, busybox_image(Labels={"version": version}))
    with server:
        yield server


def pull(server: FaultyRegistry, tag: str = "1", **options: Any) -> ImageRequest:
    return ImageRequest(name=f"{server.host}/app:{tag}", source="pull", **options)


def test_a_pull_that_changes_nothing_is_one_request_also_in_check_mode(engine: Engine, server: FaultyRegistry) -> None:
    assert ensure(engine, pull(server)).changed
    known = len(asked(server))
    assert not ensure(engine, pull(server)).changed
    assert len(asked(server)) == known
    for count, check in enumerate((True, False, True), 1):
        assert not ensure(engine, pull(server, force_source=True), check=check).changed
        assert asked(server)[known:] == ["HEAD /v2/app/manifests/1"] * count


def test_check_mode_fetches_no_layer_and_tells_what_would_come(engine: Engine, server: FaultyRegistry) -> None:
    told = ensure(engine, pull(server), check=True)
    image = busybox_image(Labels={"version": "1"})
    assert told.after == {"exists": True, "id": image.id, "digest": image.digest} and told.facts is None
    layer = json.loads(image.manifest)["layers"][0]["digest"]
    assert not [request for request in asked(server) if layer in request]
    assert not os.path.exists(engine.paths.layers)
    done = ensure(engine, pull(server))
    assert (told.before, told.after, told.actions) == (done.before, done.after, done.actions)
    assert [request for request in asked(server) if layer in request] == [f"GET /v2/app/blobs/{layer}"]


def test_the_same_digest_under_a_name_that_another_image_had_locally_is_a_change(
    engine: Engine, server: FaultyRegistry
) -> None:
    for tag in ("1", "2"):
        ensure(engine, pull(server, tag))
    second = images.find(engine, f"{server.host}/app:2")
    images.tag(engine, second.id, f"{server.host}/app:1")
    told = ensure(engine, pull(server, force_source=True), check=True)
    done = ensure(engine, pull(server, force_source=True))
    assert done.changed and told.after == done.after and done.before["id"] == second.id


def test_a_load_of_what_a_registry_gave_changes_nothing(engine: Engine, server: FaultyRegistry, tmp_path: Path) -> None:
    ensure(engine, pull(server))
    name = f"{server.host}/app:1"
    write_layout(busybox_image(Labels={"version": "1"}), f"{tmp_path}/same")
    again = ImageRequest(name=name, source="load", load_path=f"{tmp_path}/same", force_source=True)
    for check in (True, False):
        assert not ensure(engine, again, check=check).changed
    tag = images.tag_of(engine, name)
    assert tag is not None and tag.digest == busybox_image(Labels={"version": "1"}).digest


def test_a_name_that_reads_like_the_beginning_of_an_id_is_a_name_when_it_is_given(engine: Engine, layout: str) -> None:
    load(engine, layout, "one:1")
    first, second = (record.id for record, _tags in images.list_images(engine))
    for image_id in (first, second):
        told = ensure_tagged(engine, first, (image_id[7:19],), check=True)
        done = ensure_tagged(engine, first, (image_id[7:19],))
        assert done.changed and told.after == done.after and images.find(engine, image_id[7:19] + ":latest").id == first
        assert not ensure_tagged(engine, first, (image_id[7:19],)).changed


def test_credentials_for_pulling_do_not_reach_the_registry_that_is_pushed_to(engine: Engine, tmp_path: Path) -> None:
    source = FaultyRegistry(users={"user": "secret"}, need_basic=True)
    source.add("app", "1", busybox_image())
    target = FaultyRegistry(uploads=True, users={"user": "secret"}, need_basic=True)
    with source, target:
        request = ImageRequest(
            name=f"{source.host}/app:1",
            source="pull",
            repository=f"{target.host}/copy:1",
            push=True,
            username="user",
            password="secret",
        )
        with pytest.raises(Denied, match="copy"):
            ensure(engine, request)
        assert any("authorization" in request.headers for request in source.requests())
        assert not any("authorization" in request.headers for request in target.requests())
        local = ImageRequest(**{**request.fields(), "source": "local"})
        assert ensure(engine, local).changed and not ensure(engine, local).changed


def test_a_damaged_image_is_mended_by_its_digest_though_the_tag_moved(engine: Engine, tmp_path: Path) -> None:
    server = FaultyRegistry()
    image = busybox_image(Labels={"version": "1"})
    server.add("app", "1", image)
    server.fault("HEAD", "/manifests/1", header("Docker-Content-Digest", "sha256:" + "0" * 64))
    with server:
        ensure(engine, pull(server))
        (layer,) = images.find(engine, f"{server.host}/app:1").layers
        passwd = Path(engine.paths.layer(layer), "fs/etc/passwd")
        content = passwd.read_text()
        passwd.write_text("root::0:0::/:/bin/sh\n")
        verified = pull(server, state="verified")
        told = ensure(engine, verified, check=True)
        assert told.changed and passwd.read_text() != content
        assert ensure(engine, verified).actions == told.actions
        assert passwd.read_text() == content
        assert [tag.reference for tag in engine.records.tags()] == [f"{server.host}/app:1"]
        assert not ensure(engine, verified).changed


def test_a_build_is_refused_unless_the_image_is_there(engine: Engine, layout: str) -> None:
    build = ImageRequest(name="one:1", source="build")
    with pytest.raises(Unsupported, match="build image one:1: this engine does not build images; build it elsewhere"):
        ensure(engine, build)
    load(engine, layout, "one:1")
    assert not ensure(engine, build).changed
    with pytest.raises(Unsupported):
        ensure(engine, ImageRequest(name="one:1", source="build", force_source=True))


def test_an_archive_of_another_image_is_written_anew(engine: Engine, layout: str, tmp_path: Path) -> None:
    load(engine, layout, "two:1")
    path = f"{tmp_path}/one.tar"
    one, two = (ImageRequest(name=name, source="local", archive_path=path) for name in ("one:1", "two:1"))
    for request, reason in ((one, "not there"), (two, "another image"), (one, "another image")):
        told = ensure(engine, request, check=True)
        done = ensure(engine, request)
        assert done.changed and (told.actions, told.after) == (done.actions, done.after)
        assert done.actions[0].reason == reason and not ensure(engine, request).changed
    listed = subprocess.run(["tar", "-xOf", path, "manifest.json"], capture_output=True, check=True).stdout
    (entry,) = json.loads(listed)
    assert [images.familiar(name) for name in entry["RepoTags"]] == ["one:1"]


def test_of_a_repository_the_digest_is_known_as_long_as_a_tag_has_it(engine: Engine, server: FaultyRegistry) -> None:
    ensure(engine, pull(server))
    name, digest = f"{server.host}/app:1", busybox_image(Labels={"version": "1"}).digest
    exact = f"{server.host}/app@{digest}"
    assert images.find(engine, exact) == images.find(engine, name)
    assert images.lookup(engine, f"{server.host}/other@{digest}") is None
    assert images.tag(engine, name, f"{server.host}/app:kept") and images.tag(engine, name, "elsewhere:1")
    image_removal.remove(engine, name)
    assert images.lookup(engine, exact) and images.lookup(engine, f"docker.io/library/elsewhere@{digest}") is None
    removal = image_removal.remove(engine, f"{server.host}/app:kept")
    assert removal.untagged == [f"{server.host}/app:kept", exact] and not removal.delete
    assert images.lookup(engine, exact) is None


@pytest.mark.parametrize("prefix", ["", "sha256:"])
def test_an_id_is_known_by_its_beginning_while_that_fits_one(engine: Engine, tmp_path: Path, prefix: str) -> None:
    typed = open_engine(engine.paths.root, engine.paths.run, engine.paths.config)
    first = ""
    for number in range(17):  # two of seventeen begin with the same digit
        image = make_image([{"file": b"1"}], config={"Labels": {"n": str(number)}})
        write_layout(image, f"{tmp_path}/{number}")
        load(engine, f"{tmp_path}/{number}", f"n:{number}")
        assert images.find(engine, prefix + image.id[7:19]).id == image.id
        if image.id[7] in first:
            break
        first += image.id[7]
        assert images.find(typed, prefix + image.id[7]).id == image.id
    with pytest.raises(Conflict, match="2 images have ids that begin so; give more digits"):
        images.lookup(typed, prefix + image.id[7])
    typed.close()


def test_what_pruning_would_free_is_what_it_frees(engine: Engine, layout: str, tmp_path: Path) -> None:
    load(engine, layout, "one:1")
    write_layout(busybox_image({"mine": b"x" * 300_000}), f"{tmp_path}/more")
    load(engine, f"{tmp_path}/more", "more:1")
    every = [("dangling", "false")]
    for filters in ([], [("until", "1999-01-01")], [("label", "n=one")], every):
        told = pruning.prune_images(engine, filters, check=True)
        before = du(engine.paths.root)
        assert pruning.prune_images(engine, filters) == told
        assert abs(before - du(engine.paths.root) - told.space_bytes) <= 8192  # of directories that stay, empty
    assert images.list_images(engine) == []


def test_containers_that_would_go_do_not_keep_images_in_check_mode(engine: Engine, layout: str) -> None:
    load(engine, layout, "one:1")
    spec = container_spec({"name": "user", "image": "one:1", "network_mode": "none", "volumes": ["/data"]})
    containers.create(engine, spec)
    wanted = {"containers": [], "images": [("dangling", "false")], "volumes": []}
    told = pruning.prune_all(engine, wanted, check=True)
    with pytest.raises(Invalid, match="colour"):
        pruning.prune_all(engine, {**wanted, "networks": [("colour", "red")]})
    assert len(told["containers"].removed) == len(told["volumes"].removed) == 1 and len(told["images"].removed) == 2
    done = pruning.prune_all(engine, wanted)
    assert {kind: found.removed for kind, found in done.items()} == {
        kind: found.removed for kind, found in told.items()
    }


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB, of which 64 are never filled by unpacking."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "small", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_an_image_that_fills_the_disk_can_be_removed(small: Path, tmp_path: Path) -> None:
    write_layout(busybox_image(), f"{tmp_path}/one")
    with contextlib.closing(Engine(Paths(f"{small}/root", f"{small}/run", f"{small}/etc"))) as engine:
        load(engine, f"{tmp_path}/one", "one:1")
        with contextlib.suppress(OSError), open(small / "filler", "wb", buffering=0) as filler:
            while filler.write(bytes(4096)) == 4096:
                pass
        image_removal.remove(engine, "one:1")
        assert images.list_images(engine) == [] and os.listdir(engine.paths.layers) == []
        assert os.listdir(engine.paths.trash) == []


def du(path: str) -> int:
    """The bytes on disk but for the records, as du sees them."""
    command = ["du", "-sB1", "--exclude=hull.db*", path]
    return int(subprocess.run(command, capture_output=True, check=True).stdout.split()[0])


def test_check_mode_keeps_a_policy_against_archives(engine: Engine, layout: str) -> None:
    os.makedirs(engine.paths.config)
    Path(engine.paths.config, "policy.json").write_text('{"default": "reject"}')
    request = ImageRequest(name="one:1", source="load", load_path=layout)
    for check in (True, False):
        with pytest.raises(Denied, match="rejects images that do not come from a registry"):
            ensure(engine, request, check=check)
