# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`pull images tag rmi load import inspect` and `volume`."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest

from tests.support.images import busybox_image, busybox_layer, write_layout

LAYER_DONE = re.compile(r"[0-9a-f]{12}: (Pull complete|Already exists)")


def test_a_pull_without_a_terminal_tells_a_line_per_layer(hull, registry):
    lines = hull("pull", "centos").splitlines()
    name = f"{registry.host}/centos:latest"
    assert lines[0] == f"Pulling {name}"
    assert len([line for line in lines if LAYER_DONE.fullmatch(line)]) == 2
    assert lines[-3].startswith("Digest: sha256:")
    assert lines[-2:] == ["Status: Downloaded newer image for centos", name]
    assert hull("pull", "centos").splitlines()[-2] == "Status: Image is up to date for centos"
    assert hull("pull", "-q", "centos") == name + "\n"


def test_a_pull_at_a_terminal_redraws_its_lines(hull):
    with hull.terminal("pull", "centos") as terminal:
        shown = terminal.wait_for("Status: Downloaded newer image for centos\r\n").decode()
        assert terminal.exit_code() == 0
    assert "\x1b[2K" in shown
    last = shown.rpartition("A\r\x1b[2K")[2]
    assert len(LAYER_DONE.findall(last)) == 2


def test_an_unknown_image_is_named(hull):
    assert "no-such" in hull.fails(1, "pull", "no-such:1")
    assert "not valid" in hull.fails(1, "pull", "UPPER:1")
    assert hull("images", "-q") == ""


def test_images_are_listed_tagged_and_removed(hull, registry):
    hull("pull", "-q", "busybox")
    heading, row = hull("images").splitlines()
    assert heading.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    image = hull("images", "-q").strip()
    assert f"{registry.host}/busybox" in row and image in row and "years ago" in row
    hull("tag", "busybox", "mine:1")
    facts = [json.loads(line) for line in hull("images", "--format", "json").splitlines()]
    assert {fact["Tag"] for fact in facts} == {"latest", "1"} and {fact["ID"] for fact in facts} == {image}
    assert hull("images", "--format", "{{.Tag}}", f"{registry.host}/mine:1") == "1\n"
    assert hull("images", "-f", "reference=*/mine:*", "--format", "{{.Tag}}") == "1\n"
    assert "DIGEST" in hull("images", "--digests") and "sha256:" in hull("images", "--digests")
    assert hull("rmi", "mine:1") == f"Untagged: {registry.host}/mine:1\n"
    assert hull("rmi", image[:6]).splitlines()[-1].startswith(f"Deleted: sha256:{image}")
    assert "no such image here" in hull.fails(1, "rmi", "busybox")


def test_an_image_in_use_stays(hull):
    hull("create", "--name", "user", "busybox")
    assert "container user uses it" in hull.fails(1, "rmi", "busybox")
    hull("rm", "user")
    hull("rmi", "busybox")


@pytest.mark.parametrize("how", ["file", "pipe", "directory"])
def test_load_takes_archives_and_layouts(hull, tmp_path, how):
    write_layout(busybox_image(), str(tmp_path / "layout"))
    if how == "directory":
        shown = hull("load", "-i", str(tmp_path / "layout"))
    else:
        archive = tmp_path / "archive.tar"
        source = f"oci:{tmp_path}/layout:latest"
        subprocess.run(["skopeo", "copy", "-q", source, f"docker-archive:{archive}:loaded:1"], check=True)
        shown = hull("load", "-i", str(archive)) if how == "file" else hull("load", "-q", stdin=archive.read_bytes())
    assert shown.startswith("Loaded image")
    assert len(hull("images", "-q").split()) == 1


def test_a_truncated_archive_is_refused_and_nothing_stays(hull, tmp_path):
    write_layout(busybox_image(), str(tmp_path / "layout"))
    archive = tmp_path / "archive.tar"
    subprocess.run(
        ["skopeo", "copy", "-q", f"oci:{tmp_path}/layout:latest", f"docker-archive:{archive}:loaded:1"], check=True
    )
    message = hull.fails(1, "load", stdin=archive.read_bytes()[:300_000])
    assert message.startswith("hull: ") and "bug" not in message
    assert hull("images", "-q") == ""


def test_import_takes_changes(hull, tmp_path):
    template = tmp_path / "template.tar"
    template.write_bytes(busybox_layer("plain").tar)
    hull("import", "-c", 'CMD ["/bin/echo", "as changed"]', "-m", "made here", str(template), "mine:2")
    assert hull("run", "--rm", "--network", "none", "mine:2") == "as changed\n"
    assert hull("inspect", "--type", "image", "-f", "{{.Comment}}", "mine:2") == "made here\n"


def test_import_and_load_do_not_read_a_terminal(hull):
    for words in (["import", "-"], ["load"]):
        with hull.terminal(*words) as terminal:
            terminal.wait_for("standard input is a terminal, not an archive")
            assert terminal.exit_code() == 1


def test_inspect_finds_any_kind_of_object(hull):
    hull("volume", "create", "data")
    hull("create", "--name", "one", "busybox")
    kinds = json.loads(hull("inspect", "one", "busybox", "data"))
    assert ["State" in kinds[0], "RootFS" in kinds[1], kinds[2]["Name"]] == [True, True, "data"]
    done = hull.run("inspect", "one", "nothing")
    assert done.returncode == 1 and len(json.loads(done.stdout)) == 1
    assert done.stderr == b"hull: object nothing: there is no such container, image or volume\n"
    assert "no such image" in hull.fails(1, "inspect", "--type", "image", "-f", "{{.Id}}", "one")


def test_volumes(hull):
    assert hull("volume", "create", "--label", "a=1", "data") == "data\n"
    anonymous = hull("volume", "create").strip()
    assert len(anonymous) == 64
    assert hull("volume", "ls").splitlines()[0].split() == ["DRIVER", "VOLUME", "NAME"]
    assert set(hull("volume", "ls", "-q").split()) == {"data", anonymous}
    assert hull("volume", "ls", "-q", "-f", "label=a=1") == "data\n"
    facts = json.loads(hull("volume", "inspect", "data"))[0]
    assert facts["Labels"] == {"a": "1"} and facts["Mountpoint"] == f"{hull.paths.root}/volumes/data/_data"
    hull("run", "--rm", "--network", "none", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file")
    assert hull("run", "--rm", "--network", "none", "-v", "data:/data:ro", "busybox", "cat", "/data/file") == "kept\n"
    hull("create", "--name", "user", "-v", "data:/data", "busybox")
    assert "in use by container" in hull.fails(1, "volume", "rm", "data")
    assert hull("volume", "ls", "-q", "-f", "dangling=false") == "data\n"
    assert "nobody to ask" in hull.fails(1, "volume", "prune")
    assert hull("volume", "prune", "-f") == anonymous + "\n"
    hull("rm", "user")
    assert hull("volume", "rm", "data") == "data\n"
    assert "no such volume" in hull.fails(1, "volume", "rm", "data")
    assert hull("volume", "rm", "-f", "data") == "data\n"


def test_prune_asks_at_a_terminal(hull):
    hull("volume", "create")
    with hull.terminal("volume", "prune") as terminal:
        terminal.wait_for("[y/N] ")
        terminal.type("n\r")
        assert terminal.exit_code() == 0
    assert len(hull("volume", "ls", "-q").split()) == 1


def test_info_tells_about_engine_and_host(hull):
    facts = json.loads(hull("info", "--format", "json"))
    assert facts["RootDir"] == hull.paths.root and facts["Containers"] == 0
    assert "KernelVersion: " in hull("info")
    assert hull("version", "--format", "{{.Version}}").count(".") == 2


def test_with_the_last_image_goes_a_layer_that_a_killed_pull_left(hull):
    hull("pull", "-q", "busybox")
    layers = f"{hull.paths.root}/layers"
    os.makedirs(f"{layers}/{'d' * 64}/fs")
    os.makedirs(f"{hull.paths.root}/trash/left-by-a-killed-removal/fs")
    hull("rmi", "busybox")
    assert os.listdir(layers) == os.listdir(f"{hull.paths.root}/trash") == []
