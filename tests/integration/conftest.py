# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the playbooks lean on: images made by other tools, a registry that serves them, an engine of one's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.teardown import tear_down

from tests.support.faulty_registry import FaultyRegistry
from tests.support.images import DOCKER, make_image
from tests.support.registry import RunningRegistry, running_registry

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".collections"
PATIENCE_S = 3600  # one playbook takes half an hour in a machine that is emulated
CONFIG = {
    "created": "2026-01-01T00:00:00Z",
    "config.env": ["GREETING=hello", "PATH=/bin"],
    "config.cmd": ["/bin/sleep", "10000"],
    "config.label": ["origin=umoci"],
}


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}"


class Images:
    """One small image in the forms that users have: archives, a layout, tarballs of its root file system."""

    def __init__(self, directory: Path) -> None:
        self.layout = directory / "layout"
        self.docker_archive = directory / "docker-archive.tar"
        self.oci_archive = directory / "oci-archive.tar"
        self.rootfs = {name: directory / f"rootfs.tar{name}" for name in ("", ".gz", ".bz2", ".xz", ".zst")}

    def variables(self) -> dict[str, object]:
        """As the playbooks know them."""
        return {
            "image_layout": str(self.layout),
            "image_docker_archive": str(self.docker_archive),
            "image_oci_archive": str(self.oci_archive),
            "image_rootfs": [str(path) for path in self.rootfs.values()],
        }


def _pack_rootfs(images: Images, directory: Path) -> Path:
    _run(sys.executable, ROOT / "playbooks/files/pack_rootfs.py", images.rootfs[".gz"])
    tree = directory / "tree"
    tree.mkdir()
    _run("tar", "-xpf", images.rootfs[".gz"], "-C", tree)
    (tree / "data").mkdir()
    (tree / "data/of-the-image").write_text("from the image\n")
    for name, compressor in (("", None), (".gz", "gzip"), (".bz2", "bzip2"), (".xz", "xz"), (".zst", "zstd")):
        options = ["-I", compressor] if compressor else []
        _run("tar", *options, "--numeric-owner", "-cf", images.rootfs[name], "-C", tree, ".")
    return tree


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """The image, made by umoci and converted by skopeo."""
    directory = tmp_path_factory.mktemp("images")
    made = Images(directory)
    tree = _pack_rootfs(made, directory)
    _run("umoci", "init", "--layout", made.layout)
    _run("umoci", "new", "--image", f"{made.layout}:small")
    _run("umoci", "insert", "--image", f"{made.layout}:small", tree, "/")
    options = [f"--config.env={variable}" for variable in CONFIG["config.env"]]
    options += [f"--config.cmd={word}" for word in CONFIG["config.cmd"]]
    _run("umoci", "config", "--image", f"{made.layout}:small", *options, "--config.label=origin=umoci")
    _run("skopeo", "copy", "-q", f"oci:{made.layout}:small", f"docker-archive:{made.docker_archive}:small:1")
    _run("skopeo", "copy", "-q", f"oci:{made.layout}:small", f"oci-archive:{made.oci_archive}:small")
    shutil.rmtree(tree)
    return made


@pytest.fixture(scope="session")
def registry(images: Images) -> Iterator[RunningRegistry]:
    """A registry that has the image as `small:1` and, with another command and label, as `small:2`."""
    with running_registry() as running:
        second = f"{images.layout}:second"
        _run("umoci", "tag", "--image", f"{images.layout}:small", "second")
        _run("umoci", "config", "--image", second, "--config.label=version=2")
        for source, tag in ((f"{images.layout}:small", "1"), (second, "2")):
            target = f"docker://{running.host}/team/small:{tag}"
            _run("skopeo", "copy", "-q", "--dest-tls-verify=false", "--format=v2s2", f"oci:{source}", target)
        _run("umoci", "rm", "--image", second)
        yield running


@pytest.fixture(scope="session")
def closed_registry() -> Iterator[FaultyRegistry]:
    """A registry that lets only the user `ci` in, with an image that is not for running."""
    server = FaultyRegistry(need_basic=True, users={"ci": "s3cret-word"})
    server.add("team/closed", "1", make_image([{"file": b"content"}], types=DOCKER))
    server.add_page("/v2/team/closed/tags/list?n=1000", {"name": "team/closed", "tags": ["1"]})
    with server:
        yield server


class Playbooks:
    """Runs playbooks against an engine with directories of its own."""

    def __init__(self, directory: Path, packed_modules: Path, variables: dict[str, object]) -> None:
        self.packed_modules = packed_modules
        self.paths = Paths(root=str(directory / "root"), run=str(directory / "run"), config=str(directory / "config"))
        self.directory = directory
        self.variables = {
            "hull_root": self.paths.root,
            "hull_run": self.paths.run,
            "hull_config": self.paths.config,
            "scratch": str(directory / "scratch"),
            "fingerprint_script": str(ROOT / "tests/support/fingerprint.py"),
            **variables,
        }
        (directory / "scratch").mkdir()

    def run(self, playbook: Path, *arguments: str, collections: Path = COLLECTIONS, fails: bool = False) -> str:
        """Run one to its end; its output. Fails the test where the playbook does, or with `fails` where it does not."""
        command = [os.path.join(os.path.dirname(sys.executable), "ansible-playbook")]
        if collections == COLLECTIONS:
            command = [sys.executable, f"{ROOT}/tests/support/ansible_playbook.py", str(self.packed_modules)]
        command += ["-i", f"{ROOT}/playbooks/inventory"]
        done = subprocess.run(
            [*command, str(playbook), "-e", json.dumps(self.variables), *arguments],
            env={**os.environ, **self._environment(collections)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE_S,
        )
        assert (done.returncode != 0) == fails, done.stdout[-20000:]
        return done.stdout

    def _environment(self, collections: Path) -> dict[str, str]:
        return {
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_HOME": str(self.directory / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_DEPRECATION_WARNINGS": "0",
            "ANSIBLE_LOCALHOST_WARNING": "0",
        }


@pytest.fixture(scope="session")
def packed_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of a session keep the modules that Ansible has packed for the first of them."""
    return tmp_path_factory.mktemp("packed")


@pytest.fixture
def playbooks(
    tmp_path: Path, packed_modules: Path, images: Images, registry: RunningRegistry, closed_registry: FaultyRegistry
) -> Iterator[Playbooks]:
    """A runner; whatever its engine has at the end is removed, also after a failure."""
    runner = Playbooks(
        tmp_path,
        packed_modules,
        {**images.variables(), "registry": registry.host, "closed_registry": closed_registry.host},
    )
    try:
        yield runner
    finally:
        with Engine(runner.paths) as engine:
            tear_down(engine, force=True)
    assert not os.path.exists(runner.paths.root) and not os.path.exists(runner.paths.run)
