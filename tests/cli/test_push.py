# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`push`, as people type it, and what skopeo then finds in the registry."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.support.images import busybox_layer

DIGEST = re.compile(r"1: digest: (sha256:[0-9a-f]{64}) size: [0-9]+")


def _digest(name: str) -> str:
    command = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{name}"]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode().strip()


@pytest.fixture
def made(hull, registry, tmp_path):
    """An image of this engine's own, under a name in the registry."""
    template = tmp_path / "template.tar"
    template.write_bytes(busybox_layer("plain").tar)
    name = f"{registry.host}/cli/made:1"
    hull("import", str(template), name)
    return name


def test_a_push_without_a_terminal_tells_a_line_per_layer(hull, registry):
    hull("pull", "-q", "centos")
    hull("tag", "centos", "cli/centos:1")
    first, *layers, last = hull("push", "cli/centos:1").splitlines()
    assert first == f"The push refers to repository [{registry.host}/cli/centos]"
    assert len(layers) == 2 and all(line.endswith(": Mounted from another repository") for line in layers)
    match = DIGEST.fullmatch(last)
    assert match and match[1] == _digest(f"{registry.host}/cli/centos:1") == _digest(f"{registry.host}/centos:latest")
    assert hull("push", "cli/centos:1").splitlines() == [first, last]
    assert hull("push", "-q", "cli/centos:1") == f"{registry.host}/cli/centos:1\n"


def test_what_was_made_here_is_pushed_and_runs_elsewhere(hull, made):
    lines = hull("image", "push", made).splitlines()
    assert lines[1].endswith(": Pushed")
    hull("rmi", made)
    assert hull("run", "--rm", "--network", "none", made, "/bin/echo", "back") == "back\n"


def test_a_push_at_a_terminal_draws_bars(hull, registry, tmp_path):
    template = tmp_path / "template.tar"
    template.write_bytes(busybox_layer("plain").tar)
    hull("import", "-m", "another", str(template), f"{registry.host}/cli/drawn:1")
    with hull.terminal("push", f"{registry.host}/cli/drawn:1") as terminal:
        shown = terminal.wait_for("1: digest: sha256:").decode()
        assert terminal.exit_code() == 0
    assert "\x1b[2K" in shown and ": Pushed" in shown


def test_without_a_tag_it_is_latest(hull, registry, made):
    hull("tag", made, "cli/untagged")
    lines = hull("push", "cli/untagged").splitlines()
    assert lines[0] == "Using default tag: latest" and lines[-1].startswith("latest: digest: sha256:")
    assert _digest(f"{registry.host}/cli/untagged:latest")


def test_all_tags_of_a_repository(hull, registry, made):
    for tag in ("a", "b"):
        hull("tag", made, f"cli/many:{tag}")
    lines = hull("push", "--all-tags", "cli/many").splitlines()
    assert [line[:9] for line in lines if ": digest: " in line] == ["a: digest", "b: digest"]
    assert _digest(f"{registry.host}/cli/many:a") == _digest(f"{registry.host}/cli/many:b")
    assert "does not go with --all-tags" in hull.fails(1, "push", "-a", "cli/many:a")
    assert "no image here has a name in it" in hull.fails(1, "push", "-a", "cli/none")


def test_several_images_as_one(hull, registry, made, tmp_path):
    hull("import", "--platform", "linux/s390x", str(tmp_path / "template.tar"), "far:1")
    hull("push", "-q", "--index", made, "--index", "far:1", "cli/index:1")
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/cli/index:1"],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    assert [entry["platform"]["architecture"] for entry in json.loads(raw)["manifests"]][1] == "s390x"
    assert "two images are for" in hull.fails(1, "push", "--index", made, "--index", made, "cli/index:2")


def test_errors_name_what_is_wrong(hull, registry, made):
    assert "no image here has this name" in hull.fails(1, "push", "no/such:1")
    assert "a digest is no name to push to" in hull.fails(1, "push", f"{registry.host}/cli/x@sha256:{'0' * 64}")
    assert "not for linux/arm64" in hull.fails(1, "push", "--platform", "linux/arm64", made)
    hull("tag", made, "127.0.0.1:1/gone:1")
    assert "127.0.0.1:1" in hull.fails(1, "push", "127.0.0.1:1/gone:1")
