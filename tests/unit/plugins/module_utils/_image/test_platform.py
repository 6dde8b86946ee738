# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import os
import subprocess

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

ARMV8 = [*(f"linux/arm64/v8.{minor}" for minor in (6, 5, 4, 3, 2, 1)), "linux/arm64"]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("linux/arm64/v8.2", "linux/arm64/v8.2"),
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
        ("linux/amd64/v4", ["linux/amd64/v4", "linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]),
        ("linux/arm/v8", ["linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64/v8.2", ["linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64"]),
        (
            "linux/arm64/v9",
            ["linux/arm64/v9", *(f"linux/arm64/v8.{minor}" for minor in range(5, 0, -1)), "linux/arm64"],
        ),
        (
            "linux/arm64/v9.1",
            ["linux/arm64/v9.1", "linux/arm64/v9"]
            + [f"linux/arm64/v8.{minor}" for minor in range(6, 0, -1)]
            + ["linux/arm64"],
        ),
        ("linux/arm64/v9.999", ["linux/arm64/v9.999"]),
        ("linux/amd64/vx", ["linux/amd64/vx"]),
        ("linux/s390x", ["linux/s390x"]),
    ],
)
def test_lower_variants_are_accepted_after_the_wanted_one(wanted: str, accepted: list[str]) -> None:
    assert [str(found) for found in accepted_platforms(parse_platform(wanted))] == accepted


LEVELS = {
    2: "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
    3: "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
    4: "avx512f avx512bw avx512cd avx512dq avx512vl",
}


def _cpuinfo(*levels: int) -> str:
    flags = " ".join(LEVELS[level] for level in levels)
    return f"processor\t: 0\nflags\t\t: fpu sse sse2 {flags}\nbugs\t: x\n\nprocessor\t: 1\nflags\t: fpu\n"


@pytest.mark.parametrize(
    ("cpuinfo", "level"),
    [
        ("", 1),
        (_cpuinfo(), 1),
        (_cpuinfo(2), 2),
        (_cpuinfo(3), 1),
        (_cpuinfo(2, 3), 3),
        (_cpuinfo(2, 4), 2),
        (_cpuinfo(2, 3, 4), 4),
        (_cpuinfo(2, 3, 4).replace("avx512cd", ""), 3),
    ],
)
def test_the_level_of_an_amd64_processor_has_all_that_is_below_it(cpuinfo: str, level: int) -> None:
    assert platform._amd64_level(cpuinfo) == level


def test_the_level_is_what_the_dynamic_linker_says() -> None:
    linker = "/lib64/ld-linux-x86-64.so.2"
    if not os.path.exists(linker):
        pytest.skip("not an amd64 host with glibc")
    text = subprocess.run([linker, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    supported = [level for level in (2, 3, 4) if f"x86-64-v{level} (supported" in text]
    assert platform._amd64_level(platform._read_cpuinfo()) == max(supported, default=1)


@pytest.mark.parametrize(
    ("host", "levels", "accepted"),
    [
        (Platform("linux", "amd64"), (), ["linux/amd64", "linux/386"]),
        (Platform("linux", "amd64"), (2, 3), ["linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/386"]),
        (
            Platform("linux", "arm64"),
            (),
            ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"],
        ),
        (Platform("linux", "s390x"), (), ["linux/s390x"]),
    ],
)
def test_the_host_accepts_its_baseline_then_what_its_processor_runs_too(
    monkeypatch: pytest.MonkeyPatch, host: Platform, levels: tuple[int, ...], accepted: list[str]
) -> None:
    monkeypatch.setattr(platform, "host_platform", lambda: host)
    monkeypatch.setattr(platform, "_read_cpuinfo", lambda: _cpuinfo(*levels))
    assert [str(found) for found in accepted_platforms(None)] == accepted
    assert [str(found) for found in accepted_platforms(host)] == accepted[:1]


def test_rank_normalises_what_is_offered() -> None:
    accepted = accepted_platforms(parse_platform("linux/arm/v7"))
    assert rank(Platform("linux", "arm", ""), accepted) == 0
    assert rank(Platform("linux", "arm", "v6"), accepted) == 1
    assert rank(Platform("linux", "arm", "v8"), accepted) is None
    assert rank(Platform("linux", "arm64", "v8"), accepted_platforms(parse_platform("arm64"))) == 0
