# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes, mounts and tmpfs as users write them: every form, every error, and what means the same is equal."""

from __future__ import annotations

import os
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import HullError, Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.spec import MountSpec
from ansible_collections.hull.engine.plugins.module_utils._engine.mount_options import (
    parse_mount,
    parse_mounts,
    parse_tmpfs,
    parse_volume,
    parse_volumes_from,
)

HOME = os.path.expanduser("~")


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/data", MountSpec("volume", "/data")),
        ("/data/", MountSpec("volume", "/data")),
        ("cache:/x", MountSpec("volume", "/x", "cache")),
        ("cache:/x:nocopy,ro", MountSpec("volume", "/x", "cache", read_only=True, copy_up=False)),
        ("cache:/x:Z,consistent", MountSpec("volume", "/x", "cache")),
        ("/srv:/x", MountSpec("bind", "/x", "/srv", create_source=True)),
        ("/srv/../etc//:/x/./y:ro", MountSpec("bind", "/x/y", "/etc", read_only=True, create_source=True)),
        ("//srv:/x", MountSpec("bind", "/x", "/srv", create_source=True)),
        ("~/x:/x:delegated", MountSpec("bind", "/x", f"{HOME}/x", create_source=True)),
        (".:/x:cached,rw,z", MountSpec("bind", "/x", os.getcwd(), create_source=True)),
        ("../a:/x", MountSpec("bind", "/x", os.path.normpath(os.getcwd() + "/../a"), create_source=True)),
        *(
            (f"/srv:/x:{mode}", MountSpec("bind", "/x", "/srv", propagation=mode, create_source=True))
            for mode in ("private", "rprivate", "shared", "rshared", "slave", "rslave")
        ),
        ("/sys:/sys:ro", MountSpec("bind", "/sys", "/sys", read_only=True, create_source=True)),
        ("/sys/fs/cgroup:/sys/fs/cgroup", MountSpec("bind", "/sys/fs/cgroup", "/sys/fs/cgroup", create_source=True)),
    ],
)
def test_volumes(text: str, mount: MountSpec) -> None:
    assert parse_volume(text) == mount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a volume"),
        ("a:b:c:d", "is not a volume"),
        (":/x", "is not a volume"),
        ("/a::ro", "is not a volume"),
        ("data", "not an absolute path"),
        ("/a:rw", "not an absolute path"),
        ("a:b", "not an absolute path"),
        ("a/b:/x", "not a valid name"),
        ("-a:/x", "not a valid name"),
        ("a:/x:rrw", "'rrw' in 'a:/x:rrw' is not a mode"),
        ("a:/x:ro,", "'' in 'a:/x:ro,' is not a mode"),
        ("a:/x:ro,rw", "'ro' and 'rw' in 'a:/x:ro,rw' don't go together"),
        ("/a:/x:shared,rslave", "don't go together"),
        ("/a:/x:z,Z", "don't go together"),
        ("/a:/x:nocopy", "is for volumes"),
        ("a:/x:rshared", "is for paths of the host"),
        ("a:/", "can't be covered"),
        ("a:/..", "can't be covered"),
        ("a:/proc/../dev", "can't be covered"),
        ("/a:/proc", "can't be covered"),
        ("/a:/proc/self", "can't be covered"),
        ("a:/sys", "can't be covered"),
        ("a:/sys/fs/cgroup", "can't be covered"),
    ],
)
def test_volumes_that_are_none(text: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse_volume(text)


T = "/t"


@pytest.mark.parametrize(
    ("entry", "mount"),
    [
        ({}, MountSpec("volume", T)),
        ({"source": "v"}, MountSpec("volume", T, "v")),
        ({"source": "v", "read_only": True, "no_copy": True}, MountSpec("volume", T, "v", True, copy_up=False)),
        ({"source": "v", "subpath": "./a//b/"}, MountSpec("volume", T, "v", subpath="a/b")),
        ({"source": "v", "subpath": "."}, MountSpec("volume", T, "v")),
        (
            {
                "labels": {"b": 1, "a": None},
                "volume_driver": "local",
                "volume_options": {"type": "tmpfs", "device": "x"},
            },
            MountSpec(
                "volume",
                T,
                volume_labels=(("a", ""), ("b", "1")),
                volume_options=(("device", "x"), ("type", "tmpfs")),
            ),
        ),
        ({"type": "bind", "source": "/srv/"}, MountSpec("bind", T, "/srv")),
        ({"type": "bind", "source": "~"}, MountSpec("bind", T, HOME)),
        ({"type": "bind", "source": "./a"}, MountSpec("bind", T, os.getcwd() + "/a")),
        ({"type": "bind", "source": "/s", "consistency": "delegated"}, MountSpec("bind", T, "/s")),
        ({"type": "bind", "source": "/s", "create_mountpoint": True}, MountSpec("bind", T, "/s", create_source=True)),
        ({"type": "bind", "source": "/s", "non_recursive": True}, MountSpec("bind", T, "/s", recursive=False)),
        ({"type": "bind", "source": "/s", "propagation": "rslave"}, MountSpec("bind", T, "/s", propagation="rslave")),
        (
            {"type": "bind", "source": "/s", "read_only": True, "read_only_non_recursive": True},
            MountSpec("bind", T, "/s", True, read_only_recursive=False),
        ),
        (
            {"type": "bind", "source": "/s", "read_only": True, "read_only_force_recursive": True},
            MountSpec("bind", T, "/s", True),
        ),
        (
            {"type": "bind", "source": "/s", "read_only": True, "read_only_non_recursive": True, "non_recursive": True},
            MountSpec("bind", T, "/s", True, recursive=False),
        ),
        ({"type": "image", "source": "debian:12"}, MountSpec("image", T, "debian:12", True)),
        ({"type": "image", "source": "a", "subpath": "etc"}, MountSpec("image", T, "a", True, subpath="etc")),
        ({"type": "tmpfs"}, MountSpec("tmpfs", T)),
        (
            {"type": "tmpfs", "tmpfs_size": "1M", "tmpfs_mode": "0700", "read_only": True},
            MountSpec("tmpfs", T, read_only=True, size_bytes=1 << 20, mode=0o700),
        ),
        (
            {"type": "tmpfs", "tmpfs_options": [{"exec": None}, {"uid": "7"}, {"noexec": None}]},
            MountSpec("tmpfs", T, options=("uid=7",)),
        ),
    ],
)
def test_mounts(entry: dict[str, Any], mount: MountSpec) -> None:
    assert parse_mount({"target": "/t/", **entry}) == mount


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"target": ""}, "not an absolute path"),
        ({"type": "npipe"}, "type 'npipe' is not possible here: named pipes are Windows's"),
        ({"type": "cluster"}, "type 'cluster' is not possible here: cluster volumes are Docker Swarm's"),
        ({"type": "other"}, "type 'other' is not possible here; use bind, volume, tmpfs, image"),
        ({"type": "bind"}, "needs a path of the host"),
        ({"type": "bind", "source": "data"}, "needs a path of the host"),
        ({"type": "bind", "source": "/s", "propagation": "rpublic"}, "propagation 'rpublic' of /t is not known"),
        ({"type": "bind", "source": "/s", "consistency": "odd"}, "consistency 'odd' of /t is not known"),
        ({"type": "bind", "source": "/s", "read_only_non_recursive": True}, "says how, but not that it is read-only"),
        ({"type": "bind", "source": "/s", "read_only_force_recursive": True}, "says how, but not that it is read-only"),
        (
            {"type": "bind", "source": "/s", "read_only": 1, "read_only_force_recursive": 1, "propagation": "rslave"},
            "goes with neither",
        ),
        (
            {"type": "bind", "source": "/s", "read_only": 1, "read_only_force_recursive": 1, "non_recursive": 1},
            "goes with neither",
        ),
        ({"type": "tmpfs", "source": "x"}, "takes no source"),
        ({"type": "tmpfs", "tmpfs_mode": "8"}, "not an octal mode"),
        ({"type": "tmpfs", "tmpfs_mode": "17777"}, "not an octal mode"),
        ({"type": "tmpfs", "tmpfs_size": "much"}, "not a size"),
        ({"type": "tmpfs", "tmpfs_options": [{"a": 1, "b": 2}]}, "not one key"),
        ({"type": "tmpfs", "tmpfs_options": [{"lowerdir": "/"}]}, "not a tmpfs option"),
        ({"type": "image"}, "needs its name as source"),
        ({"type": "image", "source": "x", "no_copy": True}, "no_copy of /t is for type volume, not for image"),
        ({"type": "image", "source": "x", "subpath": "/etc"}, "not a path inside"),
        ({"type": "image", "source": "x", "subpath": "a/../../b"}, "not a path inside"),
        ({"subpath": "a"}, "needs a volume with a name"),
        ({"read_only": True}, "needs a volume with a name"),
        ({"source": "a b"}, "not a valid name"),
        ({"source": "v", "propagation": "shared"}, "propagation of /t is for type bind, not for volume"),
        ({"source": "v", "tmpfs_size": "1M"}, "tmpfs_size of /t is for type tmpfs, not for volume"),
        ({"source": "v", "volume_driver": "rclone"}, "no volume driver 'rclone'"),
        ({"source": "v", "volume_options": {"size": "1G"}}, "a directory has no size of its own"),
        ({"source": "v", "volume_options": {"colour": "red"}}, "'colour' is not an option of the driver local"),
        ({"source": "v", "volume_options": {"type": "nfs"}}, "device is missing"),
        ({"source": "v", "volume_options": {"device": "/dev/x"}}, "type is missing"),
        ({"source": "v", "volume_options": {"type": "none", "device": "/x"}}, "add o: bind"),
        ({"source": "v", "volume_options": {"type": "none", "device": "x", "o": "bind"}}, "not an absolute path"),
        ({"source": "v", "volume_options": {"type": "none", "device": "/x", "o": "bind,size=1"}}, "option of a bind"),
        ({"source": "v", "volume_options": {"type": "nfs", "device": ":/x", "o": "addr=nas"}}, "numeric address"),
        ({"source": "v", "volume_options": {"type": "a/b", "device": "x"}}, "not a type of file system"),
    ],
)
def test_mounts_that_are_none(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(HullError, match=message) as caught:
        parse_mount({"target": "/t", **entry})
    assert str(caught.value).startswith("mounts: ")


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("", MountSpec("tmpfs", T)),
        ("rw,nosuid,nodev,noexec,relatime,defaults", MountSpec("tmpfs", T)),
        ("size=64m,mode=755", MountSpec("tmpfs", T, size_bytes=64 << 20, mode=0o755)),
        ("exec,dev,suid", MountSpec("tmpfs", T, options=("dev", "exec", "suid"))),
        ("suid,exec,nosuid,dev", MountSpec("tmpfs", T, options=("dev", "exec"))),
        ("size=50%", MountSpec("tmpfs", T, options=("size=50%",))),
        ("size=50%,size=4096", MountSpec("tmpfs", T, size_bytes=4096)),
        ("uid=01000,gid=7,nr_inodes=2k", MountSpec("tmpfs", T, options=("gid=7", "nr_inodes=2048", "uid=1000"))),
        ("ro,noatime", MountSpec("tmpfs", T, read_only=True, options=("noatime",))),
    ],
)
def test_tmpfs(text: str, mount: MountSpec) -> None:
    assert parse_tmpfs("/t", text) == mount


@pytest.mark.parametrize(
    "text", ["bind", "uid=root", "size=", "size=x%", "size=-1", "mode=9", "uid=", "exec=1", "nr_inodes=some", "a=b"]
)
def test_tmpfs_options_that_are_none(text: str) -> None:
    with pytest.raises(Invalid, match="^tmpfs: "):
        parse_tmpfs("/t", text)


def test_a_tmpfs_is_written_as_list_or_dictionary_or_alone() -> None:
    one = (MountSpec("tmpfs", "/t", size_bytes=1024),)
    for written in (["/t:size=1k"], {"/t": "size=1k"}, "/t:size=1k"):
        assert parse_mounts({"tmpfs": written}) == one
    assert parse_mounts({"tmpfs": {"/t": None}}) == (MountSpec("tmpfs", "/t"),)


def test_the_same_mounts_in_other_words_are_equal() -> None:
    short = parse_mounts({"volumes": ["v:/v:rw,z", "/a/:/b/:rprivate"], "tmpfs": ["/t:exec,size=1k"]})
    long = parse_mounts(
        {
            "tmpfs": {"/t/": "size=1024,noexec,exec"},
            "mounts": [{"target": "/v/", "source": "v", "consistency": "cached"}],
            "volumes": ["/x/../a:/b"],
        }
    )
    assert short == long


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"volumes": ["a:/x", "b:/x/"]}, "/x is mounted twice, in volumes"),
        ({"volumes": ["a:/x"], "mounts": [{"target": "/x"}]}, "/x is mounted twice, in volumes and mounts"),
        ({"tmpfs": ["/x"], "mounts": [{"target": "/x"}]}, "/x is mounted twice, in mounts and tmpfs"),
        ({"volumes": ["/x"], "volume_driver": "nfs"}, "volume_driver: there is no volume driver 'nfs'"),
    ],
)
def test_what_does_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse_mounts(options)


def test_volumes_from() -> None:
    assert parse_volumes_from(["a", "b:ro", "a:rw", "c:z", "d:ro,Z"]) == ("a", "b:ro", "c", "d:ro")
    for entry in ("", ":ro", "a:", "a:nocopy", "a:rshared", "a:ro,rw", "a:b"):
        with pytest.raises(Invalid, match="^volumes_from: "):
            parse_volumes_from([entry])
