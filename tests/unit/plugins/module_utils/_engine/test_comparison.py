# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.spec import ContainerSpec, HealthSpec
from ansible_collections.hull.engine.plugins.module_utils._engine.comparison import (
    ALIASES,
    Rules,
    check_comparisons,
    compare,
    matches,
    merge,
)
from ansible_collections.hull.engine.plugins.module_utils._engine.image_facts import ImageConfig
from ansible_collections.hull.engine.plugins.module_utils._engine.option_fields import FIELDS, get, view
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec
from ansible_collections.hull.engine.plugins.modules.container import SPEC_ARGUMENTS

NO_IMAGE = ImageConfig()
IMAGE = ImageConfig(
    env=("PATH=/bin", "LANG=C"),
    command=("serve",),
    entrypoint=("/init",),
    labels={"maker": "us"},
    user="5",
    working_dir="/srv",
    stop_signal="SIGQUIT",
    volumes=("/data",),
    health=HealthSpec(("CMD", "probe"), interval_ns=7 * 10**9),
)


def spec(**options):
    return container_spec({"name": "web", "image": "i", **options})


def differences(wanted, actual, *, image=NO_IMAGE, exact=False, **comparisons):
    want, have = spec(**wanted), spec(**actual)
    return compare(want, have, image, image, Rules(frozenset(want.given), comparisons, exact))


def differing(wanted, actual, **how):
    return [difference.option for difference in differences(wanted, actual, **how)]


@pytest.mark.parametrize(
    ("kind", "mode", "wanted", "actual", "expected"),
    [
        ("value", "strict", 1, 1, True),
        ("value", "strict", 1, 2, False),
        ("value", "strict", None, "", False),
        ("list", "strict", ("a", "b"), ("a", "b"), True),
        ("list", "strict", ("a", "b"), ("b", "a"), False),
        ("list", "strict", None, (), True),
        ("list", "strict", ("a",), None, False),
        ("list", "allow_more_present", ("a", "c"), ("a", "b", "c"), True),
        ("list", "allow_more_present", ("c", "a"), ("a", "b", "c"), False),
        ("list", "allow_more_present", (), ("a",), True),
        ("set", "strict", ("a", "b"), ("b", "a"), True),
        ("set", "strict", ("a",), ("a", "b"), False),
        ("set", "strict", (), ("a",), False),
        ("set", "allow_more_present", ("a",), ("a", "b"), True),
        ("set", "allow_more_present", ("a", "c"), ("a", "b"), False),
        ("dict", "strict", {"a": 1}, {"a": 1}, True),
        ("dict", "strict", {"a": 1}, {"a": 1, "b": 2}, False),
        ("dict", "strict", None, {"b": 2}, False),
        ("dict", "strict", {}, None, True),
        ("dict", "allow_more_present", {"a": 1}, {"a": 1, "b": 2}, True),
        ("dict", "allow_more_present", {"a": 1}, {"a": 2, "b": 2}, False),
        ("dict", "allow_more_present", {"a": 1}, None, False),
    ],
)
def test_kinds_and_modes(kind, mode, wanted, actual, expected):
    assert matches(wanted, actual, kind, mode) is expected


@pytest.mark.parametrize(
    ("wanted", "actual"),
    [
        ({"command": "serve"}, {}),
        ({"command": []}, {}),
        ({"entrypoint": ["/init"]}, {}),
        ({"env": {"LANG": "C"}}, {}),
        ({"labels": {"maker": "us"}}, {}),
        ({"user": "5"}, {}),
        ({"working_dir": "/srv"}, {}),
        ({"stop_signal": "QUIT"}, {}),
        ({"volumes": ["/data"]}, {}),
        ({"healthcheck": {"test": ["CMD", "probe"], "interval": "7s"}}, {}),
        ({"cpus": 0.5}, {"cpu_period": 20000, "cpu_quota": 10000}),
        ({"stop_signal": "sigterm"}, {"stop_signal": "TERM"}),
        ({"ulimits": ["nofile=100"]}, {"ulimits": ["nofile:100:100"]}),
        ({"security_opts": []}, {"security_opts": ["seccomp=unconfined"]}),
        ({"security_opts": ["no-new-privileges:true"]}, {}),
        ({"log_options": {"max-file": 3}}, {"log_options": {"max-size": "1m"}}),
        ({"healthcheck": {"retries": 3, "test": "x"}}, {"healthcheck": {"test": "x", "interval": "9s"}}),
        ({"device_cgroup_rules": ["c 1:2 mwr"]}, {"device_cgroup_rules": ["c 1:2 rwm"]}),
        ({"network_mode": "default"}, {"network_mode": "bridge"}),
        ({"stop_timeout": 3}, {"stop_timeout": 4}),
    ],
)
def test_what_comes_to_the_same_is_no_difference(wanted, actual):
    assert differing(wanted, actual, image=IMAGE) == []


@pytest.mark.parametrize(
    ("option", "wanted", "actual"),
    [
        ("command", {"command": []}, {"command": "sh"}),
        ("command", {"command": "serve"}, {"entrypoint": ["/other"]}),
        ("entrypoint", {"entrypoint": []}, {}),
        ("user", {"user": "0"}, {}),
        ("stop_signal", {"stop_signal": "TERM"}, {}),
        ("security_opts", {"security_opts": ["seccomp=unconfined"]}, {}),
        ("security_opts", {"security_opts": ["mask=/a"]}, {"security_opts": ["mask=/b"]}),
        ("security_opts", {"security_opts": ["mask=/a"]}, {"security_opts": ["mask=/a", "no-new-privileges:false"]}),
        ("log_options", {"log_options": {"max-size": "10m"}}, {"log_options": {"max-size": "1m"}}),
        ("healthcheck", {"healthcheck": {"test": "x"}}, {"healthcheck": {"test": "y"}}),
        ("healthcheck", {"healthcheck": {"test": "x", "retries": 3}}, {"healthcheck": {"test": "x", "retries": 4}}),
        ("mounts", {"mounts": [{"type": "tmpfs", "target": "/t", "tmpfs_size": "1m"}]}, {"tmpfs": ["/t"]}),
        ("cpus", {"cpus": 0.5}, {"cpu_period": 20000, "cpu_quota": 20000}),
    ],
)
def test_what_comes_to_something_else_is_one(option, wanted, actual):
    assert differing(wanted, actual, image=IMAGE) == [option]


@pytest.mark.parametrize(
    ("actual", "option"),
    [
        ({"security_opts": ["seccomp=unconfined"]}, "security_opts"),
        ({"log_options": {"max-size": "1m"}}, "log_options"),
        ({"healthcheck": {"test": "x"}}, "healthcheck"),
        ({"stop_timeout": 4}, "stop_timeout"),
        ({"user": "0"}, "user"),
        ({"tmpfs": ["/t"]}, "tmpfs"),
        ({"entrypoint": []}, "entrypoint"),
        ({"cpus": 0.5}, "cpus"),
    ],
)
def test_exact_takes_back_what_is_given_no_more(actual, option):
    assert differing({}, actual, image=IMAGE, exact=True) == [option]
    assert differing({}, actual, image=IMAGE, exact=True, **{option: "ignore"}) == []
    assert differing({}, actual, image=IMAGE) == []


def test_exact_leaves_an_option_alone_that_neither_gives():
    old_default = spec()
    old_default = type(old_default)(**{**old_default.fields(), "shm_size_bytes": 1})
    assert compare(spec(), old_default, IMAGE, IMAGE, Rules(frozenset(), exact=True)) == []


def test_a_difference_shows_what_each_comes_to():
    found = differences({"env": {"B": "2"}}, {"env": {"A": "1"}}, image=IMAGE)[0]
    assert found.before == {"A": "1", "LANG": "C", "PATH": "/bin"}
    assert list(found.after) == ["B", "LANG", "PATH"]
    found = differences({"security_opts": ["mask=/a"]}, {})[0]
    assert (found.before, found.after) == (["no-new-privileges:true"], ["mask=/a", "no-new-privileges:true"])
    assert differences({"log_options": {"max-file": 5}}, {})[0].after == {"max-file": 5}
    found = differences({"volumes": ["a:/a:ro"]}, {"volumes": ["/srv:/srv"]})[0]
    assert found.before == [{"kind": "bind", "source": "/srv", "target": "/srv"}]
    assert found.after == [{"kind": "volume", "read_only": True, "source": "a", "target": "/a"}]


def test_a_strict_comparison_counts_the_image_on_both_sides():
    assert differing({"env": {"A": "1"}}, {"env": {"A": "1"}}, image=IMAGE, env="strict") == []
    assert differing({"env": {"A": "1"}}, {"env": {"A": "1", "B": "2"}}, image=IMAGE, env="strict") == ["env"]
    assert differing({"volumes": ["a:/a"]}, {"volumes": ["a:/a"], "tmpfs": ["/t"]}, volumes="strict") == []


def test_the_comparisons_of_docker_container():
    kinds = {option: field.comparison for option, field in FIELDS.items()}
    assert {option for option, mode in kinds.items() if mode == "ignore"} == {"stop_timeout"}
    more = set(
        "env labels groups volumes mounts tmpfs volumes_from published_ports etc_hosts capabilities cap_drop devices "
        "security_opts device_cgroup_rules device_read_bps device_read_iops device_write_bps device_write_iops sysctls "
        "ulimits log_options healthcheck storage_opts".split()
    )
    assert {option for option, mode in kinds.items() if mode == "allow_more_present"} == more


def test_every_option_of_the_module_that_describes_a_container_is_in_the_table():
    not_compared = {"name", "image", "env_file", "device_requests", "volume_driver"}
    assert SPEC_ARGUMENTS.keys() - FIELDS.keys() == not_compared
    aliases = {alias: option for option, rule in SPEC_ARGUMENTS.items() for alias in rule.get("aliases", ())}
    assert {**aliases, "env_file": "env"} == ALIASES


def test_every_field_of_the_spec_belongs_to_an_option():
    known = {name.partition(".")[0] for field in FIELDS.values() for name in field.names}
    assert set(ContainerSpec._fields) - known == {"name", "image", "given"}
    for option, field in FIELDS.items():
        assert all(get(spec(), name) is not Ellipsis for name in field.names)
        view(option, spec(), IMAGE)


def test_comparisons_by_alias():
    assert check_comparisons({"ports": "strict", "log_opt": "ignore"}) == {
        "published_ports": "strict",
        "log_options": "ignore",
    }
    everything = check_comparisons({"*": "ignore", "env": "strict"})
    assert everything.keys() >= FIELDS.keys() | {"image", "platform"}
    assert (everything["env"], everything["user"]) == ("strict", "ignore")
    with pytest.raises(Invalid, match="log_options and log_opt are the same option"):
        check_comparisons({"log_options": "strict", "log_opt": "strict"})
    for option in ("security_opts", "log_options", "healthcheck", "command"):
        check_comparisons({option: "allow_more_present"})


@pytest.mark.parametrize("comparisons", [{"state": "strict"}, {"pull": "ignore"}, {"image": "allow_more_present"}])
def test_what_can_not_be_compared(comparisons):
    with pytest.raises(Invalid, match="comparisons"):
        check_comparisons(comparisons)


def test_merging_keeps_what_may_be_more_and_replaces_what_is_strict():
    actual = spec(ulimits=["nofile:1:2"], device_read_bps=[{"path": "/dev/a", "rate": 1}], log_options={"tag": "x"})
    wanted = spec(ulimits=["core:0:0"], device_read_bps=[{"path": "/dev/b", "rate": 2}], log_options={"max-size": "1m"})
    options = ["ulimits", "device_read_bps", "log_options"]
    more = merge(wanted, actual, options)
    assert more.ulimits == {"nofile": (1, 2), "core": (0, 0)}
    assert more.limits.read_bps == {"/dev/a": 1, "/dev/b": 2}
    assert (more.log_tag, more.log_max_size_bytes) == ("x", 1 << 20)
    rules = Rules(frozenset(wanted.given), dict.fromkeys(options, "strict"))
    strict = merge(wanted, actual, options, rules)
    assert (strict.ulimits, strict.limits.read_bps, strict.log_tag) == ({"core": (0, 0)}, {"/dev/b": 2}, "")


def test_merging_processors_sets_both_of_what_they_are_made_of():
    actual = spec(cpu_period=20000, cpu_quota=10000)
    limits = merge(spec(cpus=0.7), actual, ["cpus"]).limits
    assert (limits.cpu_quota_us, limits.cpu_period_us) == (70000, 100000)


def test_merging_a_policy_forgets_the_retries_of_the_old_one():
    actual = spec(restart_policy="on-failure", restart_retries=3)
    merged = merge(spec(restart_policy="always"), actual, ["restart_policy"])
    assert (merged.restart_policy, merged.restart_retries) == ("always", 0)


def test_what_was_given_after_a_change():
    actual = spec(memory="64M", env={"A": "1"}, log_options={"tag": "x"})
    wanted = spec(memory="96M", log_options={"max-size": "1m"})
    assert merge(wanted, actual, ["memory", "log_options"]).given == (
        *("env", "image", "log_options", "log_options.max-size", "log_options.tag", "memory"),
    )
    exact = Rules(frozenset(wanted.given), {"env": "ignore"}, exact=True)
    assert merge(wanted, actual, ["memory"], exact).given == (
        *("env", "image", "log_options", "log_options.max-size", "memory"),
    )
