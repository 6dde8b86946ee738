# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What states and lifecycle options of the container module do, where users of docker_container rely on it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import Hull, engine_in
from tests.support import task
from tests.support.images import busybox_image
from tests.support.registry import RunningRegistry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
BASE = {"name": "c", "image": "team/app:1", "network_mode": "none", "command": "sleep 1000", "init": True}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, registry: RunningRegistry) -> Iterator[Hull]:
    """An engine with an image that has a label and a volume."""
    registry.push("team/app", "1", busybox_image(Labels={"maker": "us"}, Volumes={"/data": {}}))
    for hull in engine_in(tmp_path_factory.mktemp("engine"), registry):
        hull("pull", "team/app:1")
        yield hull


class Tasks:
    """Tasks for the container `c`."""

    def __init__(self, engine: Hull) -> None:
        self.engine = engine

    def attempt(self, **options: Any) -> dict[str, Any]:
        """The result; options of None are not given."""
        given = {name: value for name, value in {**BASE, **options}.items() if value is not None}
        return task.attempt(self.engine.env, "container", **given)

    def __call__(self, **options: Any) -> dict[str, Any]:
        """The result of a task that has to succeed."""
        result = self.attempt(**options)
        assert not result.get("failed"), result
        return result

    def fails(self, **options: Any) -> str:
        """The message of a task that has to fail."""
        result = self.attempt(**options)
        assert result.get("failed"), result
        return str(result["msg"])

    def state(self) -> dict[str, Any]:
        """As the command tells it."""
        facts: dict[str, Any] = json.loads(self.engine("inspect", "c"))[0]["State"]
        return facts


@pytest.fixture
def tasks(engine: Hull) -> Iterator[Tasks]:
    """The container is gone afterwards."""
    yield Tasks(engine)
    engine.run("rm", "-fv", "c")
    assert engine("ps", "-aq") == ""


def verbs(result: dict[str, Any]) -> list[str]:
    return [next(iter(action)) for action in result["actions"]]


def test_present_starts_nothing_and_leaves_what_it_made_anew_stopped(tasks: Tasks) -> None:
    assert tasks(state="present")["container"]["State"]["Status"] == "created"
    tasks()
    assert not tasks(state="present")["changed"]
    done = tasks(state="present", env={"A": "1"})
    assert verbs(done) == ["stopped", "recreated"]
    assert (done["diff"]["before"]["running"], done["diff"]["after"]["running"]) == (True, False)
    assert done["container"]["State"]["Status"] == "created"


def test_stopped_makes_what_is_missing_and_stops_what_runs(tasks: Tasks) -> None:
    assert verbs(tasks(state="stopped")) == ["created"]
    tasks()
    done = tasks(state="stopped", stop_timeout=1)
    assert (verbs(done), done["container"]["State"]["Running"]) == (["stopped"], False)
    assert not tasks(state="stopped")["changed"]


def test_restart_restarts_only_what_runs_already(tasks: Tasks) -> None:
    first = tasks(restart=True)
    assert verbs(first) == ["created", "started"]
    done = tasks(restart=True, force_kill=True)
    assert verbs(done) == ["restarted"]
    assert done["diff"]["after"]["restarted"] is True
    assert done["container"]["Id"] == first["container"]["Id"]
    assert done["container"]["State"]["Pid"] != first["container"]["State"]["Pid"]


@pytest.mark.parametrize(("force", "signal", "status"), [(True, None, 137), (True, "SIGHUP", 129), (False, None, 143)])
def test_force_kill_and_its_signal_decide_how_it_ends(tasks: Tasks, force: bool, signal: str, status: int) -> None:
    tasks(init=False, command=["sh", "-c", "trap 'exit 143' TERM; trap 'exit 129' HUP; while :; do sleep 0.02; done"])
    done = tasks(init=None, command=None, image=None, state="stopped", force_kill=force, kill_signal=signal)
    assert verbs(done) == ["killed" if force else "stopped"]
    assert tasks.state()["ExitCode"] == status


def test_paused_is_applied_and_a_paused_container_can_be_stopped_and_made_anew(tasks: Tasks) -> None:
    done = tasks(paused=True)
    assert verbs(done) == ["created", "started", "paused"]
    assert done["container"]["State"]["Status"] == "paused"
    assert not tasks(paused=True)["changed"] and not tasks()["changed"]
    done = tasks(paused=False)
    assert (verbs(done), done["diff"]["before"]["paused"]) == (["unpaused"], True)
    assert verbs(tasks(paused=True)) == ["paused"]
    done = tasks(paused=True, restart=True, stop_timeout=1)
    assert (verbs(done), done["container"]["State"]["Paused"]) == (["restarted", "paused"], True)
    done = tasks(paused=True, env={"A": "1"}, stop_timeout=1)
    assert verbs(done) == ["stopped", "recreated", "started", "paused"]
    assert tasks.state()["Paused"]
    assert verbs(tasks(state="stopped", stop_timeout=1)) == ["stopped"]
    tasks(paused=True)
    assert verbs(tasks(state="absent", force_kill=True)) == ["killed", "removed"]


def test_healthy_waits_for_the_check(tasks: Tasks) -> None:
    check = {"test": "test -e /tmp/well", "interval": "100ms", "retries": 1000}
    command = ["sh", "-c", "sleep 0.5; touch /tmp/well; sleep 1000"]
    done = tasks(state="healthy", command=command, healthcheck=check)
    assert done["container"]["State"]["Health"]["Status"] == "healthy"
    assert not tasks(state="healthy", command=command, healthcheck=check)["changed"]


def test_healthy_is_content_with_a_container_that_runs_where_there_is_no_check(tasks: Tasks) -> None:
    assert tasks(state="healthy")["container"]["State"]["Running"]
    assert not tasks(state="healthy", healthy_wait_timeout=0)["changed"]


def test_healthy_fails_with_the_last_probes_output(tasks: Tasks) -> None:
    check = {"test": "echo it is bad; exit 1", "interval": "50ms", "retries": 2}
    assert tasks.fails(state="healthy", healthcheck=check) == "container c is unhealthy: it is bad"
    check = {"test": "echo not yet; exit 1", "interval": "50ms", "retries": 1000}
    message = tasks.fails(state="healthy", healthcheck=check, healthy_wait_timeout=1)
    assert message == 'Timeout of 1 seconds exceeded while waiting for container "c"; last: not yet'
    began = time.monotonic()
    check = {"test": "echo waiting; exit 1", "interval": "50ms", "retries": 1000}
    message = tasks.fails(state="healthy", healthcheck=check, command=["sh", "-c", "sleep 0.5; exit 7"])
    assert message.startswith("wait for container c: it stopped with status 7")
    assert time.monotonic() - began < 30


SAY = ["sh", "-c", "echo out; echo err >&2; exit $CODE"]


def test_detach_false_gives_status_and_output(tasks: Tasks) -> None:
    done = tasks(detach=False, command=SAY, env={"CODE": "0"})
    assert (done["status"], sorted(done["container"]["Output"].split())) == (0, ["err", "out"])
    assert done["container"]["State"]["ExitCode"] == 0
    assert done["diff"]["after"]["running"] is False
    again = tasks(detach=False, command=SAY, env={"CODE": "0"})
    assert (verbs(again), again["status"]) == (["started"], 0)
    assert again["container"]["Id"] == done["container"]["Id"]


def test_detach_false_fails_with_the_output_where_the_status_is_not_0(tasks: Tasks) -> None:
    result = tasks.attempt(detach=False, command=SAY, env={"CODE": "3"})
    assert (result["failed"], result["status"], result["changed"]) == (True, 3, True)
    assert sorted(result["msg"].split()) == ["err", "out"]
    result = tasks.attempt(detach=False, command=SAY, env={"CODE": "4"}, cleanup=True)
    assert (result["status"], result["container"]["State"]["ExitCode"]) == (4, 4)
    assert tasks.engine("ps", "-aq") == ""


def test_detach_false_does_not_wait_for_what_runs_already(tasks: Tasks) -> None:
    tasks()
    result = tasks(detach=False)
    assert not result["changed"] and "status" not in result


def test_a_container_that_removes_itself_gives_its_output_all_the_same(tasks: Tasks) -> None:
    for driver in (None, "none"):
        options = {"detach": False, "command": SAY, "env": {"CODE": "0"}, "auto_remove": True, "log_driver": driver}
        done = tasks(**options)
        assert sorted(done["container"]["Output"].split()) == ["err", "out"]
        assert done["container"]["State"]["Status"] == "exited"
        assert tasks.engine("ps", "-aq") == ""


def test_keep_volumes(tasks: Tasks) -> None:
    def volumes() -> list[str]:
        return tasks.engine("volume", "ls", "-q").split()

    tasks.engine("volume", "prune", "-af")
    tasks(state="present")
    first = volumes()
    assert len(first) == 1
    tasks(state="present", recreate=True)
    assert len(volumes()) == 2 and set(first) < set(volumes())
    tasks(state="present", recreate=True, keep_volumes=False)
    assert len(volumes()) == 2 and set(first) < set(volumes())
    tasks(state="absent", keep_volumes=False)
    assert volumes() == first
    tasks.engine("volume", "rm", *first)


def test_a_recreation_that_fails_brings_the_old_one_back(tasks: Tasks) -> None:
    first = tasks()
    message = tasks.fails(command="/no/such/program")
    assert "/no/such/program" in message
    again = tasks()
    assert not again["changed"]
    assert (again["container"]["Id"], tasks.state()["Running"]) == (first["container"]["Id"], True)


@pytest.mark.parametrize(
    "options",
    [
        {"devices": ["/dev/no-such-device"]},
        {"volumes_from": ["nobody"]},
        {"mounts": [{"type": "bind", "source": "/no/such/directory", "target": "/y"}]},
        {"security_opts": ["seccomp=/no/such/profile.json"]},
    ],
    ids=lambda options: ",".join(options),
)
def test_a_recreation_that_is_refused_beforehand_leaves_the_old_one_running(
    tasks: Tasks, options: dict[str, Any]
) -> None:
    tasks()
    before = tasks.state()
    tasks.fails(**options)
    assert tasks.state() == before


def test_a_size_of_the_writable_layer_is_warned_of(tasks: Tasks) -> None:
    done = tasks(storage_opts={"size": "1G"})
    assert any("storage_opts: size" in str(warning) for warning in done["warnings"])


def test_recreate_without_an_image_takes_the_one_that_it_has(tasks: Tasks) -> None:
    first = tasks()
    done = tasks(image=None, recreate=True, force_kill=True)
    assert verbs(done) == ["killed", "recreated", "started"]
    assert done["actions"][1] == {"recreated": "c", "reason": "recreate"}
    assert done["container"]["Image"] == first["container"]["Image"]
    assert done["container"]["Config"]["Image"] == "team/app:1"
    assert not tasks()["changed"]


def test_another_name_of_the_image_counts_unless_it_is_ignored(tasks: Tasks) -> None:
    tasks(state="present")
    tasks.engine("tag", "team/app:1", "team/other:1")
    done = tasks(state="present", image="team/other:1")
    assert (verbs(done), done["diff"]["after"]["image_name"]) == (["recreated"], "team/other:1")
    assert not tasks(state="present", image_name_mismatch="ignore")["changed"]
    assert not tasks(state="present", comparisons={"image": "ignore"})["changed"]
    tasks.engine("tag", "team/app:1", "team/other:latest")
    tasks(state="present", image="team/other")
    assert not tasks(state="present", image="team/other:latest")["changed"]
    tasks.engine("rmi", "-f", "team/other:1", "team/other:latest")


def test_labels_that_only_the_image_gives_can_be_refused(tasks: Tasks) -> None:
    strict = {"state": "present", "image_label_mismatch": "fail", "comparisons": {"labels": "strict"}}
    message = tasks.fails(**strict)
    assert "maker" in message and "image_label_mismatch" in message
    assert tasks.engine("ps", "-aq") == ""
    tasks(**strict, labels={"maker": "them"})


def test_what_the_desired_image_says_or_the_current_one(tasks: Tasks, registry: RunningRegistry) -> None:
    registry.push("team/app", "env", busybox_image(Env=["PATH=/bin", "NEW=1"]))
    options = {"state": "present", "env": {"A": "1"}, "comparisons": {"image": "ignore", "env": "strict"}}
    tasks(**options)
    tasks.engine("pull", "team/app:env")
    changed = {**options, "image": "team/app:env"}
    assert not tasks(**changed, image_comparison="current-image")["changed"]
    done = tasks(**changed)
    assert (verbs(done), done["actions"][-1]["reason"]) == (["recreated"], "env")


def test_check_mode_knows_what_a_pull_will_bring(tasks: Tasks, registry: RunningRegistry) -> None:
    registry.push("team/moving", "1", busybox_image(Labels={"version": "1"}))
    options = {"state": "present", "image": "team/moving:1", "pull": "always"}
    check = {**options, "_ansible_check_mode": True}
    foreseen = tasks(**check)
    assert verbs(foreseen) == ["pulled_image", "created"]
    assert tasks.engine("images", "-q", "team/moving") == ""
    tasks(**options)
    assert not tasks(**options)["changed"] and not tasks(**check)["changed"]
    newer = busybox_image(Labels={"version": "2"})
    registry.push("team/moving", "1", newer)
    foreseen, done = tasks(**check), tasks(**options)
    assert verbs(foreseen) == verbs(done) == ["pulled_image", "recreated"]
    assert foreseen["diff"] == done["diff"]
    assert done["diff"]["after"]["image"] == done["container"]["Image"]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    registry.push_index("team/moving", "1", {f"linux/{machine}": newer})  # another digest of the same image
    assert not tasks(**check)["changed"]
    assert not tasks(**options)["changed"]


def test_a_container_for_another_platform_is_made_anew(tasks: Tasks, registry: RunningRegistry) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    other = "arm64" if machine == "amd64" else "amd64"
    images = {f"linux/{name}": busybox_image(Labels={"for": name}) for name in (machine, other)}
    registry.push_index("team/many", "1", images)
    options = {"state": "present", "image": "team/many:1"}
    tasks(**options)
    assert not tasks(**options, platform=machine)["changed"]
    assert not tasks(**options, platform=f"linux/{machine}")["changed"]


def test_who_shares_the_network_of_a_container_that_was_made_anew_is_restarted(tasks: Tasks) -> None:
    def provide(**options: Any) -> int:
        done = tasks(name="provider", force_kill=True, **options)
        return int(done["container"]["State"]["Pid"])

    shared = {"network_mode": "container:provider", "ipc_mode": "container:provider", "force_kill": True}
    provide()
    first = tasks(**shared)
    assert not tasks(**shared)["changed"]
    pid = provide(env={"A": "1"})
    check = tasks(**shared, _ansible_check_mode=True)
    done = tasks(**shared)
    assert check["actions"] == done["actions"] == [{"restarted": "c", "reason": "network_mode, ipc_mode"}]
    assert done["container"]["Id"] == first["container"]["Id"]
    own = done["container"]["State"]["Pid"]
    assert os.readlink(f"/proc/{own}/ns/net") == os.readlink(f"/proc/{pid}/ns/net")
    assert not tasks(**shared)["changed"]
    tasks(name="provider", state="stopped", force_kill=True)
    assert not tasks(**shared)["changed"]
    tasks.engine("rm", "-f", "provider")


def test_a_name_is_never_the_beginning_of_another_containers_id(tasks: Tasks) -> None:
    other = tasks()["container"]
    digits = other["Id"][:4]
    assert not tasks(name=digits, state="absent", image=None)["changed"]
    assert tasks.fails(name="joining", network_mode=f"container:{digits}") == f"container {digits}: no such container"
    joining = tasks(name="joining", network_mode=f"container:{digits}", state="present")["container"]["Id"]
    assert f"container {digits}: no such container" in tasks.engine.fails(1, "start", joining)
    tasks(name="joining", state="absent", image=None)
    assert tasks(name=digits)["actions"] == [{"created": digits}, {"started": digits}]
    assert tasks(name=digits, state="absent", image=None, force_kill=True)["changed"]
    assert tasks.state()["Pid"] == other["State"]["Pid"]
    tasks.engine("kill", digits)  # typed by a person it is the beginning of an id


@pytest.mark.parametrize(
    ("comparisons", "cause"),
    [
        ({"ports": "strict", "published_ports": "ignore"}, "ports and published_ports are the same option"),
        ({"nonsense": "strict"}, "'nonsense' is not an option that is compared"),
        ({"state": "strict"}, "'state' is not an option that is compared"),
        ({"memory": "allow_more_present"}, "memory is a single value"),
        ({"*": "allow_more_present"}, "'*' can be strict or ignore"),
    ],
)
def test_comparisons_that_make_no_sense_change_nothing(tasks: Tasks, comparisons: dict[str, str], cause: str) -> None:
    assert cause in tasks.fails(comparisons=comparisons)
    assert tasks.engine("ps", "-aq") == ""


def test_r13_tasks_that_want_different_things_of_one_name_take_turns(tasks: Tasks) -> None:
    def options(number: int) -> dict[str, Any]:
        return {**BASE, "env": {"TASK": str(number % 3)}, "force_kill": True}

    running = [
        subprocess.Popen(task.command("container", **options(number)), env=tasks.engine.env, stdout=subprocess.PIPE)
        for number in range(6)
    ]
    results = [task.result_of(process.communicate(timeout=120)[0].decode()) for process in running]
    assert [result.get("msg") for result in results if result.get("failed")] == []
    assert sum(verbs(result)[0] == "created" for result in results if result["changed"]) == 1
    assert len(tasks.engine("ps", "-aq").split()) == 1
    last = tasks.engine("inspect", "-f", "{{json .Config.Env}}", "c")
    number = next(entry.partition("=")[2] for entry in json.loads(last) if entry.startswith("TASK="))
    assert not tasks(**options(int(number)))["changed"]
