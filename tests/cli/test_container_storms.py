# SPDX-License-Identifier: GPL-3.0-or-later
"""Many at once, and a host that misbehaves: no hang, no residue, and only errors that say what is the matter."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.conftest import Hull, engine_in, wait_until
from tests.support import task
from tests.support.images import busybox_layer
from tests.support.registry import RunningRegistry
from tests.support.residue import residue

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
_STORM_S = 8


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, registry: RunningRegistry) -> Iterator[Hull]:
    """An engine with an image and a spawner that runs."""
    yield from engine_with_image(tmp_path_factory.mktemp("engine"), registry)


@pytest.fixture
def own(tmp_path: Path, registry: RunningRegistry) -> Iterator[Hull]:
    """The same, of one test alone."""
    yield from engine_with_image(tmp_path, registry)


def engine_with_image(place: Path, registry: RunningRegistry) -> Iterator[Hull]:
    (place / "box.tar").write_bytes(busybox_layer().tar)
    for hull in engine_in(place, registry):
        hull("import", str(place / "box.tar"), "box")
        yield hull


def _assert_in_order(hull: Hull) -> None:
    names = hull("ps", "-aq").split()
    if names:
        hull("rm", "-f", *names)
    hull("run", "--rm", "--network", "none", "box", "true")
    wait_until(lambda: not residue(hull.paths), "an engine in order")


def test_r13_of_ten_creations_of_one_name_one_wins_and_all_converge(engine: Hull) -> None:
    options = {"name": "one", "image": "box", "pull": "never", "command": "sleep 1000", "init": True}
    running = [
        subprocess.Popen(task.command("container", **options), env=engine.env, stdout=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    results = [task.result_of(process.communicate(timeout=60)[0]) for process in running]
    assert [result.get("msg") for result in results if result.get("failed")] == []
    assert sorted(result["changed"] for result in results) == [False] * 9 + [True]
    assert len({result["container"]["Id"] for result in results}) == 1
    _assert_in_order(engine)


def test_r14_six_workers_doing_anything_to_two_names_leave_nothing(engine: Hull) -> None:
    verbs = (
        ["run", "-d", "--init", "-p", "127.0.0.1::80", "--name"],
        *(
            ["start"],
            ["stop", "-t", "1"],
            ["restart", "-t", "1"],
            ["rm", "-f"],
            ["kill"],
            ["pause"],
            ["unpause"],
            ["rm"],
        ),
    )
    allowed = (
        "no such container",
        "the name is taken",
        "not running",
        "is running",
        "is paused",
        "not paused",
        "already paused",
        "has ended",
        "was removed",
    )
    strange: list[tuple[list[str], str]] = []
    deadline = time.monotonic() + _STORM_S

    def work(seed: int) -> int:
        chance, count = random.Random(seed), 0
        while time.monotonic() < deadline:
            words = [*chance.choice(verbs), chance.choice(("a", "b"))]
            words += ["box", "sleep", "1000"] if words[0] == "run" else []
            done = engine.run(*words)
            count += 1
            message = done.stderr.decode()
            if done.returncode and not any(part in message for part in allowed):
                strange.append((words, message))
        return count

    with ThreadPoolExecutor(6) as pool:
        counts = list(pool.map(work, range(6)))
    assert strange == []
    assert sum(counts) > 20
    _assert_in_order(engine)


def test_r15_twenty_containers_start_at_the_same_time_each_with_an_address_of_its_own(engine: Hull) -> None:
    def start(number: int) -> str:
        return engine("run", "-d", "--init", "--name", f"p{number}", "box", "sleep", "1000").strip()

    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(start, range(20)))
    template = "{{.State.Status}} {{.NetworkSettings.IPAddress}}"
    shown = [engine("inspect", "-f", template, name).split() for name in made]
    assert {status for status, _address in shown} == {"running"}
    assert len({address for _status, address in shown}) == 20
    _assert_in_order(engine)


def test_r30_two_plays_of_the_same_tasks_at_once_both_end_well(engine: Hull) -> None:
    names = ["x", "y", "z"]
    script = [
        {"name": name, "image": "box", "pull": "never", "command": "sleep 1000", "init": True, "env": {"A": value}}
        for value in ("1", "2")
        for name in names
    ]

    def play(_number: int) -> list[str]:
        messages = []
        for options in script:
            done = subprocess.run(
                task.command("container", **options), env=engine.env, stdout=subprocess.PIPE, text=True, timeout=60
            )
            result = task.result_of(done.stdout)
            messages += [result["msg"]] if result.get("failed") else []
        return messages

    with ThreadPoolExecutor(2) as pool:
        assert [message for messages in pool.map(play, range(2)) for message in messages] == []
    for options in script[3:]:
        assert not task.do(engine.env, "container", **options)["changed"]
    _assert_in_order(engine)


@pytest.mark.parametrize("damage", ["", "{", '{"status": 7}', "\0" * 100, '{"status": "running", "pid": "x"}'])
def test_r11_a_damaged_state_file_harms_one_container_which_can_be_removed(damage: str, engine: Hull) -> None:
    for name in ("good", "bad"):
        engine("run", "-d", "--init", "--network", "none", "--name", name, "box", "sleep", "1000")
    identity = engine("inspect", "-f", "{{.Id}}", "bad").strip()
    Path(engine.paths.container(identity), "exit.json").write_text(damage)
    Path(engine.paths.container_run(identity), "state.json").write_text(damage)
    shown = engine("ps", "-a", "--format", "{{.Names}} {{.State}}").splitlines()
    assert "good running" in shown and any(line.startswith("bad ") for line in shown), shown
    assert engine.status("good") == "running"
    engine("rm", "-f", "bad")
    assert engine("ps", "-aq", "--filter", "name=bad") == ""
    _assert_in_order(engine)


def test_r27_a_store_that_became_read_only_is_told_and_running_containers_go_on(
    tmp_path: Path, registry: RunningRegistry
) -> None:
    store = tmp_path / "root"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "store", store], check=True)
    try:
        for hull in engine_with_image(tmp_path, registry):
            hull("run", "-d", "--init", "--network", "none", "--name", "c", "box", "sleep", "1000")
            subprocess.run(["mount", "-o", "remount,bind,ro", store], check=True)
            try:
                message = hull.fails(125, "run", "--network", "none", "--name", "d", "box", "true")
                assert "read-only" in message.lower(), message
                assert hull.status("c") == "running"
            finally:
                subprocess.run(["mount", "-o", "remount,bind,rw", store], check=True)
            hull("stop", "-t", "1", "c")
            assert hull.status("c") == "exited"
            _assert_in_order(hull)
            subprocess.run(["umount", "--lazy", store], check=True)
    finally:
        subprocess.run(["umount", "--lazy", store], check=False, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("limit", ["ulimit -n 12", "ulimit -n 24", "ulimit -v 60000"])
def test_r28_a_command_without_descriptors_or_memory_fails_cleanly(limit: str, engine: Hull) -> None:
    command = " ".join(engine.command)
    script = f"{limit}; exec {command} run -d --network none --name poor box sleep 1000"
    done = subprocess.run(["sh", "-c", script], env=engine.env, capture_output=True, timeout=60)
    assert done.returncode == 0 or b"Traceback" not in done.stderr, done.stderr
    _assert_in_order(engine)


def test_r34_what_is_not_ours_is_neither_used_nor_removed(own: Hull) -> None:
    bridge = f"hull-{own.paths.instance}"
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    try:
        message = own.fails(125, "run", "--rm", "box", "true")
        assert bridge in message
        subprocess.run(["ip", "link", "show", bridge], check=True, stdout=subprocess.DEVNULL)
    finally:
        subprocess.run(["ip", "link", "delete", bridge], check=True)
    own("run", "--rm", "box", "true")
    _assert_in_order(own)
