# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the tests of the command line lean on: a registry with images, an engine of one's own, the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.teardown import tear_down

from tests.support.images import File, Image, busybox_image, busybox_layer, directory, make_image
from tests.support.registry import RunningRegistry, running_registry
from tests.support.terminal import Terminal

HULL = Path(__file__).resolve().parents[2] / "bin" / "hull"
TIMEOUT_S = 60


def host_entries(*programs: str) -> dict[str, File | bytes]:
    """Programs of this machine at their own paths, with the libraries that they load."""
    entries: dict[str, File | bytes] = {}
    for program in programs:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        paths = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
        for path in (program, *paths):
            entries[path.lstrip("/")] = File(Path(path).read_bytes(), 0o755)
    parents = {str(parent) for name in entries for parent in Path(name).parents if str(parent) != "."}
    return {**{name: directory() for name in sorted(parents)}, **entries}


def ubuntu_image() -> Image:
    """bash, echo and a few more, not busybox's."""
    programs = [path for path in map(shutil.which, ("bash", "echo", "cat", "ls", "stty", "sleep")) if path]
    entries = host_entries(*(f"/bin/{os.path.basename(path)}" for path in programs))
    rest: dict[str, File | bytes] = {name: directory() for name in ("proc", "sys", "dev", "etc", "root", "tmp")}
    rest["etc/passwd"] = b"root:x:0:0:root:/root:/bin/bash\n"
    return make_image([{**rest, **entries}], config={"Cmd": ["/bin/bash"], "Env": ["PATH=/bin:/usr/bin"]})


def centos_image() -> Image:
    """busybox with a `top` where the examples look for it."""
    busybox = Path("/bin/busybox").read_bytes()
    usr: dict[str, File | bytes] = {"usr": directory(), "usr/bin": directory(), "usr/bin/top": File(busybox, 0o755)}
    return make_image([busybox_layer(), usr], config={"Cmd": ["sh"], "Env": ["PATH=/bin:/usr/bin"]})


@pytest.fixture(scope="session")
def registry() -> Iterator[RunningRegistry]:
    """A registry that has ubuntu:14.04, centos:latest and busybox:latest."""
    with running_registry() as running:
        for name, tag, image in (
            ("library/ubuntu", "14.04", ubuntu_image()),
            ("library/centos", "latest", centos_image()),
            ("library/busybox", "latest", busybox_image()),
        ):
            running.push(name, tag, image)
            running.push(name.partition("/")[2], tag, image)
        yield running


class Hull:
    """The command, for an engine in directories of its own."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.env = {
            **os.environ,
            "HULL_ROOT": paths.root,
            "HULL_RUN": paths.run,
            "HULL_CONFIG": paths.config,
            "PATH": f"{HULL.parent}:{os.environ['PATH']}",
        }
        # HULL_TEST_PYTHON: another Python than the one that the command names itself.
        python = os.environ.get("HULL_TEST_PYTHON")
        self.command = [python, "-I", "-S", str(HULL)] if python else [str(HULL)]

    def run(
        self, *words: str, stdin: bytes | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command to its end, whatever that is."""
        return subprocess.run(
            [*self.command, *words],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env={**self.env, **(env or {})},
            timeout=TIMEOUT_S,
            check=False,
        )

    def __call__(self, *words: str, stdin: bytes | None = None, env: dict[str, str] | None = None) -> str:
        """What the command prints. Fails the test where it does."""
        done = self.run(*words, stdin=stdin, env=env)
        assert done.returncode == 0, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout.decode()

    def fails(self, code: int, *words: str, stdin: bytes | None = None) -> str:
        """The message of a command that has to end with this code and print nothing else."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stderr.decode()

    def start(self, *words: str, **options: int) -> subprocess.Popen[bytes]:
        """The command, running beside the test."""
        return subprocess.Popen([*self.command, *words], env=self.env, **options)  # type: ignore[call-overload,no-any-return]

    def terminal(self, *words: str, rows: int = 24, columns: int = 80) -> Terminal:
        """The command at a terminal."""
        return Terminal([*self.command, *words], env=self.env, rows=rows, columns=columns)

    def shell(self, script: str) -> str:
        """What a shell script prints in which `hull` is this command, as a user would type it."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=self.env,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, (script, done.returncode, done.stdout, done.stderr)
        return done.stdout.decode()

    def status(self, name: str) -> str:
        """A container's status."""
        return self("inspect", "-f", "{{.State.Status}}", name).strip()


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 20) -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.02)


@pytest.fixture
def hull(tmp_path: Path, registry: RunningRegistry) -> Iterator[Hull]:
    """The command with an engine of its own that knows the registry; everything is removed at the end."""
    yield from engine_in(tmp_path, registry)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, registry: RunningRegistry) -> Iterator[Hull]:
    """An engine for all tests of a file, with the images pulled."""
    for made in engine_in(tmp_path_factory.mktemp("engine"), registry):
        for name in ("busybox", "ubuntu:14.04"):
            made("pull", "-q", name)
        yield made


def engine_in(place: Path, registry: RunningRegistry | None = None) -> Iterator[Hull]:
    """An engine below a directory, which may know a registry; torn down afterwards."""
    paths = Paths(root=str(place / "root"), run=str(place / "run"), config=str(place / "etc"))
    os.mkdir(paths.config)
    if registry is not None:
        Path(paths.config, "registries.json").write_text(json.dumps({"default_registry": registry.host}))
    try:
        yield Hull(paths)
    finally:
        with Engine(paths) as engine:
            tear_down(engine, force=True)
    assert not os.path.exists(paths.root) and not os.path.exists(paths.run)
