# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.spec import DeviceRuleSpec, DeviceSpec
from ansible_collections.hull.engine.plugins.module_utils._engine.security_options import (
    parse_capabilities,
    parse_device_rules,
    parse_devices,
    parse_namespaces,
    parse_security,
)

PROFILE = '{"defaultAction": "SCMP_ACT_ALLOW"}'


@pytest.mark.parametrize(
    ("entry", "fields"),
    [
        ("no-new-privileges", {"no_new_privileges": True}),
        ("no-new-privileges:true", {"no_new_privileges": True}),
        ("no-new-privileges=false", {"no_new_privileges": False}),
        ("no-new-privileges:False", {"no_new_privileges": False}),
        ("seccomp=unconfined", {"seccomp": "unconfined"}),
        ("seccomp:unconfined", {"seccomp": "unconfined"}),
        ("seccomp=default", {"seccomp": "default"}),
        ("seccomp=builtin", {"seccomp": "default"}),
        ("seccomp=/etc/a:b=c.json", {"seccomp": "/etc/a:b=c.json"}),
        (f"seccomp={PROFILE}", {"seccomp": PROFILE}),
        ("seccomp-compat", {"seccomp_compat": True}),
        ("apparmor=unconfined", {"apparmor": "unconfined"}),
        ("apparmor:my-profile", {"apparmor": "my-profile"}),
        ("label=disable", {"selinux": ("disable",)}),
        ("label:type:svirt_t", {"selinux": ("type:svirt_t",)}),
        ("label:level=s0:c1", {"selinux": ("level=s0:c1",)}),
        ("systempaths=unconfined", {"unmask": ("ALL",)}),
        ("unmask=all", {"unmask": ("ALL",)}),
        ("unmask=/proc/kcore:/proc/keys", {"unmask": ("/proc/kcore", "/proc/keys")}),
        ("mask=/a:/b", {"mask": ("/a", "/b")}),
    ],
)
def test_security_options_as_users_write_them(entry, fields):
    assert parse_security([entry]) == fields


def test_labels_and_paths_of_several_entries_add_up():
    fields = parse_security(["label=user:a", "label=role:b", "mask=/a", "mask=/b"])
    assert fields == {"selinux": ("user:a", "role:b"), "mask": ("/a", "/b")}


@pytest.mark.parametrize(
    "entry",
    [
        "magic",
        "",
        "no-new-privileges:maybe",
        "seccomp",
        "seccomp=",
        "seccomp=profile.json",
        "seccomp-compat=perhaps",
        "apparmor",
        "label=",
        "systempaths=confined",
        "mask=relative",
        "mask=/a::/b",
        "unmask=/proc/../etc",
    ],
)
def test_what_is_no_security_option_is_refused(entry):
    with pytest.raises(Invalid, match="^security_opts: "):
        parse_security([entry])


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (None, ()),
        (["NET_ADMIN", "net_admin", "CAP_NET_ADMIN"], ("CAP_NET_ADMIN",)),
        (["all", "sys_time"], ("ALL", "CAP_SYS_TIME")),
    ],
)
def test_capabilities_are_stored_in_one_form(given, stored):
    assert parse_capabilities({"capabilities": given}, "capabilities") == stored


@pytest.mark.parametrize("option", ["capabilities", "cap_drop"])
def test_an_unknown_capability_is_refused(option):
    with pytest.raises(Invalid, match=f"{option}: 'FLY' is not a capability"):
        parse_capabilities({option: ["FLY"]}, option)


@pytest.mark.parametrize(
    ("entry", "device"),
    [
        ("/dev/fuse", DeviceSpec("/dev/fuse", "/dev/fuse", "rwm")),
        ("/dev/fuse:r", DeviceSpec("/dev/fuse", "/dev/fuse", "r")),
        ("/dev/sda:/dev/xvda", DeviceSpec("/dev/sda", "/dev/xvda", "rwm")),
        ("/dev/sda:/dev/xvda:wr", DeviceSpec("/dev/sda", "/dev/xvda", "rw")),
        ("/dev/bus/usb/001/002:mwr", DeviceSpec("/dev/bus/usb/001/002", "/dev/bus/usb/001/002", "rwm")),
    ],
)
def test_devices_as_users_write_them(entry, device):
    assert parse_devices([entry]) == (device,)


@pytest.mark.parametrize(
    "entry",
    [
        "fuse",
        "/etc/passwd",
        "/dev/../etc/shadow",
        "/dev/sda:/etc/x",
        "/dev/sda:/dev/..",
        "/dev/sda:x",
        "/dev/sda:",
        "/dev/sda:/dev/b:",
        "/dev/sda:/dev/b:rwx",
        "/dev/sda:/dev/b:r:w",
        "nvidia.com/gpu=all",
    ],
)
def test_what_is_no_device_is_refused(entry):
    with pytest.raises(Invalid, match="^devices: "):
        parse_devices([entry])


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("c 42:* rmw", DeviceRuleSpec("c", 42, -1, "rwm")),
        ("b 8:0 r", DeviceRuleSpec("b", 8, 0, "r")),
        ("a *:* rwm", DeviceRuleSpec("a", -1, -1, "rwm")),
    ],
)
def test_device_rules_as_users_write_them(entry, rule):
    assert parse_device_rules([entry]) == (rule,)


@pytest.mark.parametrize(
    "entry", ["", "c", "c 1:2", "c 1:2 x", "d 1:2 r", "c 1 r", "c 4096:0 r", "c 1:-1 r", "c 1:2 r w"]
)
def test_what_is_no_device_rule_is_refused(entry):
    with pytest.raises(Invalid, match="^device_cgroup_rules: "):
        parse_device_rules([entry])


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"network_mode": "default"}, {"network_mode": "bridge"}),
        ({"network_mode": "container:web"}, {"network_mode": "container:web"}),
        ({"pid_mode": "host"}, {"pid_mode": "host"}),
        ({"pid_mode": "private"}, {"pid_mode": ""}),
        ({"pid_mode": "container:web"}, {"pid_mode": "container:web"}),
        ({"ipc_mode": "none"}, {"ipc_mode": "none"}),
        ({"ipc_mode": "private"}, {"ipc_mode": ""}),
        ({"ipc_mode": "container:web"}, {"ipc_mode": "container:web"}),
        ({"uts": "host"}, {"uts_mode": "host"}),
        ({"cgroupns_mode": "host"}, {"cgroupns_mode": "host"}),
        ({"userns_mode": "auto"}, {"userns_mode": "auto"}),
    ],
)
def test_namespaces_as_users_write_them(options, fields):
    found = parse_namespaces(options)
    assert {name: found[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"network_mode": "container:"}, "network_mode"),
        ({"pid_mode": "container:"}, "pid_mode"),
        ({"pid_mode": "none"}, "pid_mode"),
        ({"ipc_mode": "nobody"}, "ipc_mode"),
        ({"uts": "container:web"}, "uts"),
        ({"uts": "host", "hostname": "box"}, "uts"),
        ({"uts": "host", "domainname": "lan"}, "uts"),
        ({"cgroupns_mode": "container:web"}, "cgroupns_mode"),
        ({"userns_mode": "keep-id"}, "userns_mode"),
    ],
)
def test_what_is_no_namespace_is_refused_by_the_name_of_its_option(options, option):
    with pytest.raises(Invalid) as caught:
        parse_namespaces(options)
    assert caught.value.option == option
