# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.spec import MountSpec, PortSpec
from ansible_collections.hull.engine.plugins.module_utils._engine.mount_options import parse_mounts, parse_volume
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec, signal_number
from ansible_collections.hull.engine.plugins.module_utils._engine.port_options import parse_port, parse_ports


def spec(**options):
    return container_spec({"name": "web", "image": "debian:12", **options})


def test_nothing_given_leaves_the_decision_to_the_image():
    bare = spec()
    assert (bare.command, bare.entrypoint, bare.user, bare.working_dir, bare.stop_signal) == (None,) * 5
    assert bare.limits.pids == 2048
    assert bare.no_new_privileges


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("/bin/echo 'Hello world'", ("/bin/echo", "Hello world")),
        (["/bin/echo", "Hello world"], ("/bin/echo", "Hello world")),
        ([], ()),
    ],
)
def test_a_command_is_a_list_or_a_string_that_is_split_as_a_shell_would(given, words):
    assert spec(command=given).command == words


def test_limits_are_bytes_and_microseconds():
    limits = spec(memory="64M", memory_swap="128m", memory_reservation="32M", cpus=0.5, pids_limit=50).limits
    assert (limits.memory_bytes, limits.memory_swap_bytes) == (64 << 20, 128 << 20)
    assert (limits.memory_reservation_bytes, limits.cpu_quota_us, limits.pids) == (32 << 20, 50_000, 50)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"memory": "64X"}, "memory"),
        ({"memory": "1M"}, "memory"),
        ({"memory": "64M", "memory_swap": "32M"}, "memory_swap"),
        ({"memory_swap": "32M"}, "memory_swap"),
        ({"memory": "64M", "memory_reservation": "1G"}, "memory_reservation"),
        ({"cpus": "many"}, "cpus"),
        ({"cpus": 0.001}, "cpus"),
        ({"cpu_shares": 1}, "cpu_shares"),
        ({"cpuset_cpus": "0-"}, "cpuset_cpus"),
        ({"cpuset_cpus": "3-1"}, "cpuset_cpus"),
        ({"pids_limit": -2}, "pids_limit"),
        ({"env": {"A": 1}}, "env"),
        ({"env": {"A=B": "1"}}, "env"),
        ({"restart_policy": "sometimes"}, "restart_policy"),
        ({"restart_policy": "always", "auto_remove": True}, "restart_policy"),
        ({"restart_retries": 3}, "restart_retries"),
        ({"stop_signal": "SIGNOPE"}, "stop_signal"),
        ({"network_mode": "nope"}, "network_mode"),
        ({"published_ports": ["80:80:80:80"]}, "published_ports"),
        ({"published_ports": ["0"]}, "published_ports"),
        ({"published_ports": ["80/icmp"]}, "published_ports"),
        ({"published_ports": ["8080:80", "8080:81"]}, "published_ports"),
        ({"published_ports": ["999.0.0.1:80:80"]}, "published_ports"),
        ({"volumes": ["data:relative"]}, "volumes"),
        ({"volumes": ["/a:/b:sometimes"]}, "volumes"),
        ({"volumes": ["/a:/proc"]}, "volumes"),
        ({"volumes": ["/a:/b", "/c:/b/"]}, "volumes"),
        ({"volumes": ["da ta:/b"]}, "volumes"),
        ({"mounts": [{"type": "bind", "target": "/a", "source": "rel"}]}, "mounts"),
        ({"mounts": [{"type": "npipe", "target": "/a"}]}, "mounts"),
        ({"tmpfs": ["/run:size=lots"]}, "tmpfs"),
        ({"working_dir": "relative"}, "working_dir"),
        ({"hostname": "a b"}, "hostname"),
        ({"security_opts": ["magic"]}, "security_opts"),
        ({"ulimits": ["nofile"]}, "ulimits"),
        ({"devices": ["null"]}, "devices"),
        ({"userns_mode": "keep-id"}, "userns_mode"),
        ({"userns_mode": "auto", "privileged": True}, "userns_mode"),
        ({"userns_mode": "auto", "network_mode": "host"}, "userns_mode"),
        ({"userns_mode": "auto", "network_mode": "container:x"}, "userns_mode"),
        ({"userns_mode": "auto", "pid_mode": "host"}, "userns_mode"),
        ({"userns_mode": "auto", "ipc_mode": "host"}, "userns_mode"),
        ({"command": "'open"}, "command"),
    ],
)
def test_what_cannot_be_used_is_refused_by_the_name_of_its_option(options, option):
    with pytest.raises(Invalid) as caught:
        spec(**options)
    assert caught.value.option == option
    assert str(caught.value).startswith(option + ": ")


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a b", "a" * 65, "../x", "a\n"])
def test_a_name_that_could_be_something_else_is_refused(name):
    with pytest.raises(Invalid, match="not a valid name"):
        container_spec({"name": name, "image": "x"})


def test_ports_as_users_write_them():
    assert parse_port("80") == [PortSpec(80)]
    assert parse_port("8080:80/udp") == [PortSpec(80, 8080, protocol="udp")]
    assert parse_port("127.0.0.1:8080:80") == [PortSpec(80, 8080, "127.0.0.1")]
    assert parse_port("127.0.0.1::80") == [PortSpec(80, 0, "127.0.0.1")]
    assert parse_port("[::1]:8080:80") == [PortSpec(80, 8080, "::1")]
    assert parse_port("8000-8001:80-81") == [PortSpec(80, 8000), PortSpec(81, 8001)]
    assert parse_ports(["80", "80"]) == (PortSpec(80),)


def test_volumes_as_users_write_them():
    assert parse_volume("/data") == MountSpec("volume", "/data")
    assert parse_volume("cache:/var/cache/:ro,nocopy") == MountSpec(
        "volume", "/var/cache", "cache", read_only=True, copy_up=False
    )
    assert parse_volume("/srv//x:/x:rshared,Z") == MountSpec(
        "bind", "/x", "/srv/x", propagation="rshared", create_source=True
    )


def test_a_tmpfs_and_a_mount_of_the_long_form():
    mounts = parse_mounts(
        {
            "tmpfs": {"/run": "size=64k,mode=755,noexec"},
            "mounts": [{"type": "bind", "source": "/srv", "target": "/a", "read_only": True, "propagation": "rslave"}],
        }
    )
    assert mounts == (
        MountSpec("bind", "/a", "/srv", read_only=True, propagation="rslave"),
        MountSpec("tmpfs", "/run", size_bytes=65536, mode=0o755),
    )


@pytest.mark.parametrize(("name", "number"), [("TERM", 15), ("SIGKILL", 9), ("9", 9), (15, 15), ("SIGRTMIN+3", 37)])
def test_signals_by_name_and_number(name, number):
    assert signal_number(name, option="stop_signal") == number
