# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers under kill -9 at every kind of step of every verb: the same task again converges, and nothing stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Hull, engine_in, wait_until
from tests.support import task
from tests.support.images import busybox_layer
from tests.support.kills import CALLS, count_calls, count_forked_calls, killing_forked, moments, run_killed
from tests.support.registry import RunningRegistry
from tests.support.residue import residue

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("strace"), reason="needs root and strace")

NAME = "c"
TASK: dict[str, Any] = {
    "name": NAME,
    "image": "box",
    "pull": "never",
    "command": "sleep 1000",
    "init": True,
    "env": {"A": "1"},
    "published_ports": ["127.0.0.1::80"],
    "volumes": ["/anonymous", "named:/named"],
    "restart_policy": "always",
    "keep_volumes": False,
}
# The verb: the states that the container has before, and the task that is killed.
VERBS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "create": ([], {"state": "present"}),
    "start": ([{"state": "present"}], {"state": "started"}),
    "create and start": ([], {"state": "started"}),
    "update": ([{"state": "started"}], {"memory": "64M", "labels": {"a": "b"}}),
    "recreate": ([{"state": "started"}], {"env": {"A": "2"}}),
    "stop": ([{"state": "started"}], {"state": "stopped"}),
    "remove": ([{"state": "started"}], {"state": "absent"}),
}
_ENGINE_CALLS = (*CALLS, "connect", "flock")
_LAUNCH_CALLS = (
    *("mkdir", "mkdirat", "rename", "write", "sendto", "sendmsg", "openat2", "open_tree", "fsopen", "fsconfig"),
    *("fsmount", "move_mount", "mount_setattr", "clone3", "unshare", "setsid", "pivot_root", "capset", "execve"),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, registry: RunningRegistry) -> Iterator[Hull]:
    """An engine with an image and a spawner that runs."""
    place = tmp_path_factory.mktemp("engine")
    (place / "box.tar").write_bytes(busybox_layer().tar)
    for hull in engine_in(place, registry):
        hull("import", str(place / "box.tar"), "box")
        hull("run", "--rm", "--network", "none", "box", "true")
        yield hull


def _do(hull: Hull, **options: Any) -> dict[str, Any]:
    return task.do(hull.env, "container", **{**TASK, **options})


def _spawner(hull: Hull) -> int:
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            if Path(f"/proc/{name}/comm").read_text() == "hull-spawner\n" and hull.paths.run.encode() in words:
                return int(name)
        except OSError:
            continue
    raise AssertionError("no spawner runs")


def _assert_nothing_stays(hull: Hull, context: object) -> None:
    _do(hull, state="absent")
    hull("volume", "rm", "-f", "named")
    hull("run", "--rm", "--network", "none", "box", "true")  # creations sweep what killed ones left
    wait_until(lambda: not residue(hull.paths), f"an engine in order after {context}, not {residue(hull.paths)},")
    assert hull("volume", "ls", "-q") == "", context


def _assert_converges(hull: Hull, options: dict[str, Any], context: object) -> None:
    _do(hull, **options)
    again = _do(hull, **options)
    assert not again["changed"], (context, again)
    wanted = options.get("state", "started")
    if wanted != "absent":
        state = again["container"]["State"]
        assert state["Running"] == (wanted == "started"), (context, state)
    if wanted == "started":
        wait_until(lambda: hull.status(NAME) == "running", f"a running container after {context}")
        again = _do(hull, **options)
        port = again["container"]["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
        assert int(port), context


@pytest.mark.parametrize("verb", VERBS)
def test_r01_a_task_killed_at_any_step_converges_the_next_time(verb: str, engine: Hull) -> None:
    before, options = VERBS[verb]

    def prepare() -> None:
        for state in before:
            _do(engine, **state)

    command = task.command("container", **{**TASK, **options})
    prepare()
    counts = count_calls(command, engine.env, _ENGINE_CALLS)
    _assert_nothing_stays(engine, verb)
    assert sum(counts.values()) > 5
    for moment in moments(counts, most=2):
        prepare()
        run_killed(command, engine.env, *moment)
        _assert_converges(engine, options, (verb, moment))
        _assert_nothing_stays(engine, (verb, moment))


def test_r01_a_launch_killed_at_any_step_converges_the_next_time(engine: Hull) -> None:
    def start() -> None:
        task.attempt(engine.env, "container", **TASK)

    counts = count_forked_calls(_spawner(engine), _LAUNCH_CALLS, start)
    _assert_nothing_stays(engine, "counting")
    assert counts.keys() >= {"fsmount", "move_mount", "clone3", "pivot_root", "execve"}
    for moment in moments(counts, most=3):
        with killing_forked(_spawner(engine), *moment):  # it may have been among those killed last
            start()
        _assert_converges(engine, {}, moment)
        _assert_nothing_stays(engine, moment)
