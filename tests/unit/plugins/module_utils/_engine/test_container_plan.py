# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._engine.comparison import Rules, merge
from ansible_collections.hull.engine.plugins.module_utils._engine.container_plan import ContainerRequest, Observed, plan
from ansible_collections.hull.engine.plugins.module_utils._engine.image_facts import ImageConfig
from ansible_collections.hull.engine.plugins.module_utils._engine.images import ImagePlan
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec
from ansible_collections.hull.engine.plugins.module_utils._runtime.state import RunState
from ansible_collections.hull.engine.plugins.module_utils._store.records import ContainerRecord, ImageRecord

IMAGE = ImageRecord("sha256:" + "a" * 64, "{}", "{}", "", (), 0, 0)
OTHER = ImageRecord("sha256:" + "b" * 64, "{}", "{}", "", (), 0, 0)
CONFIG = ImageConfig(env=("PATH=/bin", "LANG=C"), command=("sh",), labels={"maker": "us"}, working_dir="/srv")


def request(state="started", *, task=None, **fields):
    options = {"name": "web", "image": "debian:12", **(task or {})}
    spec = container_spec(options)
    return ContainerRequest(spec=spec, given=frozenset(spec.given), state=state, **fields)


def observed(*, declared=None, running=True, image=IMAGE, fetch=""):
    spec = container_spec({"name": "web", "image": "debian:12", **(declared or {})})
    record = ContainerRecord("c" * 64, "web", IMAGE.id, "debian:12", 1, "", "")
    now = RunState(status="running" if running else "exited", pid=7 if running else 0)
    return Observed(record, spec, CONFIG, now, ImagePlan(image, fetch))


def verbs(planned):
    return [action.verb for action in planned.actions]


NOTHING_THERE = Observed(image=ImagePlan(IMAGE))


@pytest.mark.parametrize(
    ("state", "there", "expected"),
    [
        ("started", NOTHING_THERE, ["created", "started"]),
        ("healthy", NOTHING_THERE, ["created", "started"]),
        ("present", NOTHING_THERE, ["created"]),
        ("stopped", NOTHING_THERE, ["created"]),
        ("absent", NOTHING_THERE, []),
        ("started", observed(), []),
        ("started", observed(running=False), ["started"]),
        ("present", observed(), []),
        ("present", observed(running=False), []),
        ("stopped", observed(), ["stopped"]),
        ("stopped", observed(running=False), []),
        ("absent", observed(), ["stopped", "removed"]),
        ("absent", observed(running=False), ["removed"]),
        ("started", Observed(image=ImagePlan(None, "not here")), ["pulled_image", "created", "started"]),
    ],
)
def test_the_state_decides_the_actions(state, there, expected):
    assert verbs(plan(request(state), there)) == expected


def test_a_recreated_container_of_state_present_stays_stopped():
    planned = plan(request("present", task={"command": "top"}), observed())
    assert verbs(planned) == ["stopped", "recreated"]
    assert planned.before["running"] and not planned.after["running"]


def test_the_same_options_change_nothing():
    options = {
        "env": {"A": "1"},
        "memory": "64M",
        "volumes": ["data:/data", "/srv:/srv:ro"],
        "published_ports": ["8080:80"],
        "labels": {"x": "y"},
        "command": "sleep 1",
        "healthcheck": {"test": "true"},
    }
    assert verbs(plan(request(task=options), observed(declared=options))) == []


@pytest.mark.parametrize(
    "options",
    [{"env": {"LANG": "C"}}, {"command": "sh"}, {"labels": {"maker": "us"}}, {"working_dir": "/srv"}],
)
def test_what_the_image_says_already_is_no_difference(options):
    assert verbs(plan(request(task=options), observed())) == []


@pytest.mark.parametrize(
    ("option", "before", "after"),
    [
        ("env", {"A": "1"}, {"A": "2"}),
        ("command", "sleep 1", "sleep 2"),
        ("volumes", ["data:/data"], ["other:/data"]),
        ("published_ports", ["8080:80"], ["8081:80"]),
        ("privileged", False, True),
        ("capabilities", ["NET_ADMIN"], ["SYS_TIME"]),
        ("hostname", "a", "b"),
        ("tmpfs", ["/run"], ["/run:size=1m"]),
    ],
)
def test_what_cannot_change_live_recreates_and_says_why(option, before, after):
    planned = plan(request(task={option: after}), observed(declared={option: before}))
    assert verbs(planned) == ["stopped", "recreated", "started"]
    assert planned.actions[1].reason == option
    assert planned.before[option] != planned.after[option]


@pytest.mark.parametrize(
    ("option", "before", "after"),
    [
        ("memory", "64M", "128M"),
        ("cpus", 0.5, 1),
        ("pids_limit", 50, 60),
        ("restart_policy", "no", "always"),
        ("labels", {"a": "1"}, {"a": "2"}),
        ("cpuset_cpus", "0", "0-1"),
    ],
)
def test_limits_policy_and_labels_change_live(option, before, after):
    planned = plan(request(task={option: after}), observed(declared={option: before}))
    assert verbs(planned) == ["updated"]
    assert planned.actions[0].reason == option


def test_an_option_that_the_task_leaves_out_is_not_compared():
    assert verbs(plan(request(), observed(declared={"memory": "64M", "env": {"A": "1"}, "privileged": True}))) == []


def test_more_than_wanted_is_no_difference_unless_strict():
    there = observed(declared={"env": {"A": "1", "B": "2"}})
    assert verbs(plan(request(task={"env": {"A": "1"}}), there)) == []
    strict = request(task={"env": {"A": "1"}}, comparisons={"env": "strict"})
    assert "recreated" in verbs(plan(strict, there))


def test_ignored_options_and_star():
    task = {"command": "top", "memory": "1G"}
    assert verbs(plan(request(task=task, comparisons={"*": "ignore"}), observed())) == []
    assert verbs(plan(request(task=task, comparisons={"*": "ignore", "memory": "strict"}), observed())) == ["updated"]


@pytest.mark.parametrize(
    "comparisons",
    [{"nope": "strict"}, {"env": "sometimes"}, {"memory": "allow_more_present"}, {"*": "allow_more_present"}],
)
def test_a_comparison_that_makes_no_sense_is_refused(comparisons):
    with pytest.raises(Invalid, match="comparisons"):
        plan(request(comparisons=comparisons), observed())


def test_another_image_recreates_unless_ignored():
    there = observed(image=OTHER)
    assert plan(request(), there).actions[1].reason == "image"
    assert verbs(plan(request(comparisons={"image": "ignore"}), there)) == []


def test_another_name_of_the_same_image_recreates_unless_ignored():
    there = observed()
    there = replace(there, record=replace(there.record, image_name="debian:bookworm"))
    assert plan(request(), there).actions[1].reason == "image_name"
    assert verbs(plan(request(image_name_mismatch="ignore"), there)) == []


def test_restart_restarts_only_what_was_not_started_anyway():
    assert verbs(plan(request(restart=True), observed())) == ["restarted"]
    assert verbs(plan(request(restart=True), observed(running=False))) == ["started"]
    assert "restarted" not in verbs(plan(request(restart=True, recreate=True), observed()))


def test_who_shares_what_is_nobodys_any_more_is_restarted():
    there = replace(observed(), left_behind=("network_mode",))
    planned = plan(request(), there)
    assert (verbs(planned), planned.actions[0].reason) == (["restarted"], "network_mode")
    assert verbs(plan(request("present"), there)) == []


def test_an_image_that_is_pulled_is_known_where_the_registry_was_asked():
    there = observed(fetch="the registry has another digest")
    assert plan(request(), there).after["image"] == "unknown"
    coming = plan(request(), replace(there, coming=OTHER.id))
    assert verbs(coming) == ["pulled_image", "stopped", "recreated", "started"]
    assert coming.after["image"] == OTHER.id
    assert verbs(plan(request(), replace(there, coming=IMAGE.id))) == []


@pytest.mark.parametrize(
    ("wanted", "actual"),
    [("debian", "debian:latest"), ("debian:12", "docker.io/library/debian:12"), ("docker.io/debian:12", "debian:12")],
)
def test_names_that_mean_the_same_image_are_no_difference(wanted, actual):
    there = observed()
    there = replace(there, record=replace(there.record, image_name=actual))
    assert verbs(plan(request(task={"image": wanted}), there)) == []


def test_the_diff_says_what_forced_a_recreation():
    planned = plan(request(task={"command": "top", "memory": "1G"}, recreate=True), observed())
    assert planned.after["recreated"] == planned.actions[1].reason == "command, recreate"
    assert (planned.before["command"], planned.after["command"]) == (["sh"], ["top"])
    assert (planned.before["memory"], planned.after["memory"]) == (0, 1 << 30)


def test_force_kill_kills():
    assert verbs(plan(request("absent", force_kill=True), observed())) == ["killed", "removed"]


def test_without_an_image_nothing_can_be_created():
    bare = ContainerRequest(spec=container_spec({"name": "web"}), state="started")
    with pytest.raises(Invalid, match="image: container web does not exist"):
        plan(bare, Observed())


EXACT = {"compare": "exact"}


@pytest.mark.parametrize(
    ("before", "after", "verb", "reason"),
    [
        ({"env": {"A": "1", "B": "2"}}, {"env": {"A": "1"}}, "recreated", "env"),
        ({"env": {"A": "1"}}, {}, "recreated", "env"),
        ({"volumes": ["a:/a", "b:/b"]}, {"volumes": ["a:/a"]}, "recreated", "volumes"),
        ({"user": "5"}, {}, "recreated", "user"),
        ({"labels": {"a": "1", "b": "2"}}, {"labels": {"a": "1"}}, "updated", "labels"),
        ({"labels": {"a": "1"}}, {}, "updated", "labels"),
        ({"memory": "64M"}, {}, "updated", "memory"),
        ({"pids_limit": 5}, {}, "updated", "pids_limit"),
        ({"healthcheck": {"test": "true"}}, {}, "updated", "healthcheck"),
        ({"device_read_bps": [{"path": "/dev/sda", "rate": "1M"}]}, {}, "updated", "device_read_bps"),
    ],
)
def test_exact_sees_what_a_task_no_longer_gives_and_declared_does_not(before, after, verb, reason):
    there = observed(declared=before)
    planned = plan(request(task=after, **EXACT), there)
    assert (planned.actions[-1 if verb == "updated" else 1].verb, planned.differences[0].option) == (verb, reason)
    assert reason in planned.before and reason in planned.after
    assert verbs(plan(request(task=after), there)) == []


@pytest.mark.parametrize(
    "task",
    [{}, {"env": {"A": "1"}, "labels": {"a": "1"}}, {"command": "sh"}, {"env": {"LANG": "C"}}, {"working_dir": "/srv"}],
)
def test_exact_does_not_count_what_comes_from_the_image(task):
    assert verbs(plan(request(task=task, **EXACT), observed(declared=task))) == []
    said_by_image = {name: value for name, value in task.items() if name != "labels" and "A" not in str(value)}
    assert verbs(plan(request(task={}, **EXACT), observed(declared=said_by_image))) == []


def test_a_live_change_keeps_what_the_task_does_not_mention_unless_it_is_exact():
    before = container_spec({"name": "web", "image": "i", "labels": {"a": "1", "b": "2"}, "memory": "64M"})
    wanted = container_spec({"name": "web", "image": "i", "labels": {"a": "3"}})
    kept, exact = (
        merge(wanted, before, ["labels"]),
        merge(wanted, before, ["labels", "memory"], Rules(frozenset(wanted.given), exact=True)),
    )
    assert (kept.labels, kept.limits.memory_bytes) == ({"a": "3", "b": "2"}, 64 << 20)
    assert kept.given == ("image", "labels", "memory")
    assert (exact.labels, exact.limits.memory_bytes, exact.given) == ({"a": "3"}, 0, ("image", "labels"))


def test_aliases_in_comparisons():
    there = observed(declared={"log_options": {"max-size": "1m"}})
    wanted = request(task={"log_options": {"max-size": "2m"}})
    assert verbs(plan(wanted, there)) == ["updated"]
    assert verbs(plan(replace(wanted, comparisons={"log_opt": "ignore"}), there)) == []
    with pytest.raises(Invalid, match="same option"):
        plan(replace(wanted, comparisons={"log_opt": "ignore", "log_options": "strict"}), there)
    plan(replace(wanted, comparisons={"networks": "strict", "platform": "ignore"}), there)


def test_log_options_change_live_and_the_driver_does_not():
    there = observed(declared={"log_options": {"max-size": "1m"}})
    assert verbs(plan(request(task={"log_options": {"max-file": 5, "max-size": "1m"}}), there)) == ["updated"]
    assert verbs(plan(request(task={"log_options": {"tag": "x", "max-size": "1m"}}), there)) == ["updated"]
    assert "recreated" in verbs(plan(request(task={"log_driver": "journald"}), there))


@pytest.mark.parametrize(
    ("paused", "now", "state", "last"),
    [
        (True, "running", "started", ["paused"]),
        (True, "paused", "started", []),
        (False, "paused", "started", ["unpaused"]),
        (None, "paused", "started", []),
        (True, "exited", "started", ["started", "paused"]),
        (True, "exited", "present", []),
        (False, "paused", "stopped", ["stopped"]),
    ],
)
def test_paused(paused, now, state, last):
    there = replace(observed(), now=RunState(status=now, pid=7, paused=now == "paused"))
    assert verbs(plan(request(state, paused=paused), there)) == last


def test_labels_of_the_image_can_be_refused():
    strict = {"image_label_mismatch": "fail", "comparisons": {"labels": "strict"}}
    plan(request(task={"labels": {"maker": "us"}}, **strict), observed())
    plan(request(image_label_mismatch="fail"), observed())
    for asked in (strict, {"image_label_mismatch": "fail", "compare": "exact"}):
        with pytest.raises(Conflict, match="maker"):
            plan(request(**asked), observed())


def test_the_current_images_variables_can_complete_the_task():
    there = replace(observed(declared={"env": {"A": "1"}}), desired=ImageConfig(env=("NEW=1",)))
    ignoring = request(task={"env": {"A": "1"}}, comparisons={"image": "ignore", "env": "strict"})
    assert "recreated" in verbs(plan(ignoring, there))
    assert verbs(plan(replace(ignoring, image_comparison="current-image"), there)) == []
