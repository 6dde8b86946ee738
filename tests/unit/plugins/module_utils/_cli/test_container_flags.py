# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid, NotFound
from ansible_collections.hull.engine.plugins.module_utils._base.spec import MountSpec, PortSpec
from ansible_collections.hull.engine.plugins.module_utils._cli.container_flags import (
    CREATE_FLAGS,
    UPDATE_FLAGS,
    container_options,
    update_options,
)
from ansible_collections.hull.engine.plugins.module_utils._cli.flags import parse_flags
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec


def options(*words, name="web"):
    return container_options(parse_flags(CREATE_FLAGS, words, stop_at_argument=True), name=name)


def spec(*words):
    return container_spec(options(*words, "debian:12"))


def test_image_and_command_are_the_arguments():
    given = options("debian:12", "ls", "-l", "--all")
    assert (given["image"], given["command"]) == ("debian:12", ["ls", "-l", "--all"])
    assert options("debian:12")["command"] is None


def test_every_flag_of_a_plain_shape_reaches_the_spec():
    made = spec(
        *"-t -i --init --read-only --privileged --rm -u 5:6 -w /srv -h box --domainname lan".split(),
        *"-m 64M --memory-swap 128M --memory-reservation 32M --cpus 0.5 -c 512".split(),
        *"--cpuset-cpus 0-1 --pids-limit 50".split(),
        *"--stop-signal INT --stop-timeout 3 --shm-size 1M --net none --cap-add NET_ADMIN --cap-drop ALL".split(),
        *"--group-add 7 --dns 10.0.0.1 --device /dev/null --ulimit nofile=10:20 --sysctl net.ipv4.ip_forward=1".split(),
        *"--security-opt seccomp=unconfined --pid host --ipc host --volumes-from other --log-opt max-file=5".split(),
    )
    assert (made.tty, made.interactive, made.init, made.read_only, made.privileged, made.auto_remove) == (True,) * 6
    assert (made.user, made.working_dir, made.hostname, made.domainname) == ("5:6", "/srv", "box", "lan")
    assert (made.limits.memory_bytes, made.limits.memory_swap_bytes) == (64 << 20, 128 << 20)
    assert (made.limits.memory_reservation_bytes, made.limits.cpu_quota_us) == (32 << 20, 50_000)
    assert (made.limits.cpu_shares, made.limits.cpuset_cpus, made.limits.pids) == (512, "0-1", 50)
    assert (made.stop_signal, made.stop_timeout_s, made.shm_size_bytes, made.network_mode) == (
        "INT",
        3,
        1 << 20,
        "none",
    )
    assert (made.cap_add, made.cap_drop, made.groups) == (("CAP_NET_ADMIN",), ("ALL",), ("7",))
    assert (made.dns_servers, made.devices[0].host_path, made.ulimits) == (
        ("10.0.0.1",),
        "/dev/null",
        {"nofile": (10, 20)},
    )
    assert (made.sysctls, made.seccomp) == ({"net.ipv4.ip_forward": "1"}, "unconfined")
    assert (made.pid_mode, made.ipc_mode, made.volumes_from, made.log_max_files) == ("host", "host", ("other",), 5)


def test_labels_come_from_files_and_flags_and_may_lack_a_value(tmp_path):
    path = tmp_path / "labels"
    path.write_text("# comment\n\na=from file\nb=2\n")
    assert spec("--label-file", str(path), "-l", "a=1", "--label", "c").labels == {"a": "1", "b": "2", "c": ""}


def test_environment_flags_win_over_files_and_bare_names_take_the_own_value(tmp_path, monkeypatch):
    path = tmp_path / "env"
    path.write_text("A=1\nOWN\nGONE\nC=x=y # kept\n")
    monkeypatch.setenv("OWN", "mine")
    monkeypatch.delenv("GONE", raising=False)
    assert spec("--env-file", str(path), "-e", "A=2").env == {"A": "2", "OWN": "mine", "C": "x=y # kept"}


def test_a_missing_environment_file_is_named():
    with pytest.raises(NotFound, match="--env-file: /nowhere: no such file"):
        options("--env-file", "/nowhere", "x")


def test_an_empty_entrypoint_removes_the_images():
    assert spec("--entrypoint", "").entrypoint == ()
    assert spec("--entrypoint", "/bin/a b").entrypoint == ("/bin/a b",)
    assert spec().entrypoint is None


def test_volumes_mounts_and_tmpfs():
    made = spec(
        *("-v", "data:/data:ro", "--mount", "type=bind,src=/etc,dst=/conf,readonly,bind-propagation=rslave"),
        *("--tmpfs", "/tmp:size=1m,mode=700"),
    )
    assert made.mounts == (
        MountSpec("bind", "/conf", "/etc", read_only=True, propagation="rslave"),
        MountSpec("volume", "/data", "data", read_only=True),
        MountSpec("tmpfs", "/tmp", size_bytes=1 << 20, mode=0o700),
    )


def test_an_unknown_key_of_a_mount_is_named():
    with pytest.raises(Invalid, match="--mount: 'sorce' in 'sorce=/a' is not known"):
        options("--mount", "sorce=/a", "x")


def test_published_ports():
    assert spec("-p8080:80", "-p", "127.0.0.1:53:53/udp").ports == (
        PortSpec(80, 8080),
        PortSpec(53, 53, "127.0.0.1", "udp"),
    )


def test_health_flags_become_one_check():
    health = spec("--health-cmd", "true || false", "--health-interval", "5s", "--health-retries", "2").health
    assert health is not None
    assert (health.test, health.interval_ns, health.retries) == (("CMD-SHELL", "true || false"), 5 * 10**9, 2)
    disabled = spec("--no-healthcheck").health
    assert disabled is not None and disabled.test == ("NONE",)


def test_health_flags_without_a_command_change_the_images_check():
    health = spec("--health-interval", "5s").health
    assert health is not None
    assert (health.test, health.interval_ns) == ((), 5 * 10**9)


@pytest.mark.parametrize("words", [["--health-cmd", "x"], ["--health-retries", "1"]])
def test_health_flags_that_contradict(words):
    with pytest.raises(Invalid, match="--no-healthcheck: can't be used together"):
        options("--no-healthcheck", *words, "x")


def test_restart_policies():
    made = spec("--restart", "on-failure:3")
    assert (made.restart_policy, made.restart_retries) == ("on-failure", 3)


def test_every_option_that_a_flag_names_is_one_that_the_engine_reads():
    import os

    from ansible_collections.hull.engine.plugins.module_utils._engine import options as engine_options

    directory = os.path.dirname(engine_options.__file__)
    names = [name for name in os.listdir(directory) if name.endswith("options.py")]
    source = "".join(open(f"{directory}/{name}").read() for name in names)
    assert [
        flag.name for flag in CREATE_FLAGS if flag.option and f'"{flag.option.rpartition(".")[2]}"' not in source
    ] == []


def test_an_update_has_the_options_that_were_given():
    parsed = parse_flags(
        UPDATE_FLAGS, ["--memory", "64m", "--label", "a=b", "--ulimit", "nofile=5", "--health-retries", "2", "c"]
    )
    assert update_options(parsed) == {
        "memory": "64m",
        "labels": {"a": "b"},
        "ulimits": ["nofile=5"],
        "healthcheck": {"test_cli_compatible": True, "retries": "2"},
    }
