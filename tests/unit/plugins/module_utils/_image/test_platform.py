# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import os

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._image import platform
from ansible_collections.hull.engine.plugins.module_utils._image.platform import (
    Platform,
    accepted_platforms,
    host_platform,
    parse_platform,
    rank,
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/armhf", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("Linux/AMD64/V3", "linux/amd64/v3"),
        ("i686", "linux/386"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_aliases_mean_the_usual_names(text: str, normal: str) -> None:
    assert str(parse_platform(text)) == normal


@pytest.mark.parametrize("text", ["", "/", "linux/", "linux/amd64/v1/x", "linux/pdp11", "plan10/amd64", "a b", "../x"])
def test_unknown_platforms_are_refused_with_the_option(text: str) -> None:
    with pytest.raises(Invalid, match="^platform: "):
        parse_platform(text)


def test_a_system_alone_has_the_architecture_of_the_host() -> None:
    assert parse_platform("linux") == host_platform()


def test_the_host_is_what_uname_says() -> None:
    machines = {"x86_64": "amd64", "aarch64": "arm64"}
    assert host_platform().os == "linux"
    assert host_platform().architecture == machines.get(os.uname().machine, host_platform().architecture)


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "variant"),
    [
        ("armv7l", "", "v7"),
        ("armv6l", "CPU architecture: 7\n", "v6"),
        ("armv7l", "model name : ARMv6-compatible processor rev 7 (v6l)\nCPU architecture: 7\n", "v6"),
        ("armv8l", "CPU architecture: 8\n", "v8"),
        ("arm", "Processor: x\nCPU architecture\t: 5TE\n", "v5"),
        ("arm", "CPU architecture: AArch64\n", "v8"),
        ("arm", "", "v7"),
    ],
)
def test_the_variant_of_32_bit_arm(machine: str, cpuinfo: str, variant: str) -> None:
    assert platform._arm_variant(machine, cpuinfo) == variant


@pytest.mark.parametrize(
    ("wanted", "accepted"),
    [
        ("linux/arm/v7", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]),
        ("linux/amd64", ["linux/amd64"]),
        ("linux/arm64", ["linux/arm64"]),
        ("linux/arm64/v9", ["linux/arm64/v9", "linux/arm64"]),
        ("linux/s390x", ["linux/s390x"]),
    ],
)
def test_lower_variants_are_accepted_after_the_wanted_one(wanted: str, accepted: list[str]) -> None:
    assert [str(found) for found in accepted_platforms(parse_platform(wanted))] == accepted


def test_the_host_also_accepts_its_32_bit_programs_but_a_named_platform_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "host_platform", lambda: Platform("linux", "amd64"))
    assert [str(found) for found in accepted_platforms(None)] == ["linux/amd64", "linux/386"]
    assert [str(found) for found in accepted_platforms(Platform("linux", "amd64"))] == ["linux/amd64"]


def test_rank_normalises_what_is_offered() -> None:
    accepted = accepted_platforms(parse_platform("linux/arm/v7"))
    assert rank(Platform("linux", "arm", ""), accepted) == 0
    assert rank(Platform("linux", "arm", "v6"), accepted) == 1
    assert rank(Platform("linux", "arm", "v8"), accepted) is None
    assert rank(Platform("linux", "arm64", "v8"), accepted_platforms(parse_platform("arm64"))) == 0
