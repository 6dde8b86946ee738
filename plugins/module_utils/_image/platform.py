# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Operating system and processor that an image is made for, and which of those on offer suits best.

Not for emulation: what binfmt_misc could run is only chosen where the user names that platform.

Source: OCI image specification, image-index.md ("platform", "variant"); Go's GOOS and GOARCH names.
"""

from __future__ import annotations

import os
import sys

from .._base.errors import Invalid
from .._base.values import Value

_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "x86": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "loongarch64": ("loong64", ""),
}
_ARCHITECTURES = frozenset(
    "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm".split()
)
_SYSTEMS = frozenset("linux windows darwin freebsd openbsd netbsd solaris illumos android wasip1".split())
_DEFAULT_VARIANTS = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
_COMPATIBLE = {"amd64": (("386", ""),), "arm64": (("arm", "v8"),)}
_AMD64_LEVELS = (  # v2, v3, v4: what each needs besides the level before it
    frozenset("cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3".split()),
    frozenset("avx avx2 bmi1 bmi2 f16c fma abm movbe xsave".split()),
    frozenset("avx512f avx512bw avx512cd avx512dq avx512vl".split()),
)
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
_CPUINFO = "/proc/cpuinfo"


class Platform(Value):
    """What an image runs on. The variant is empty for an architecture's baseline: amd64 v1 and arm64 v8."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def normal_platform(system: str, architecture: str, variant: str = "") -> Platform:
    """The platform with the names that Go uses, whatever alias was written."""
    architecture = architecture.lower()
    architecture, implied = _ALIASES.get(architecture, (architecture, ""))
    variant = variant.lower() or implied
    if variant and variant[0].isdigit():
        variant = "v" + variant
    if architecture == "arm64" and variant.endswith(".0"):
        variant = variant[:-2]
    if (architecture, variant) in (("amd64", "v1"), ("arm64", "v8")):
        variant = ""
    return Platform(system.lower(), architecture, variant)


def parse_platform(text: str) -> Platform:
    """The platform in `linux/arm64/v8`, `linux/amd64`, or an architecture alone. Raises Invalid.

    A system alone (`linux`) means the host's architecture.
    """
    parts = text.lower().split("/")
    if not 1 <= len(parts) <= 3 or not all(part and _ALLOWED.issuperset(part) for part in parts):
        raise Invalid(
            f"{text[:100]!r} is not a platform", option="platform", hint="write it like linux/amd64 or linux/arm64/v8"
        )
    if len(parts) == 1 and parts[0] in _SYSTEMS:
        host = host_platform()
        return Platform(parts[0], host.architecture, host.variant)
    if len(parts) == 1:
        parts = ["linux", *parts]
    platform = normal_platform(*parts)
    if platform.architecture not in _ARCHITECTURES or platform.os not in _SYSTEMS:
        raise Invalid(
            f"{text[:100]!r} is not a known platform",
            option="platform",
            hint="architectures are " + ", ".join(sorted(_ARCHITECTURES)),
        )
    return platform


def host_platform() -> Platform:
    """The platform of this host: Linux, the kernel's machine name, and for 32-bit ARM the processor's variant.

    The variant of amd64 stays empty, so that hosts with different processors choose equal images where they can; what
    else this processor runs is in `accepted_platforms`.
    """
    machine = os.uname().machine
    if machine.startswith("arm") and machine != "arm64":
        return Platform("linux", "arm", _arm_variant(machine, _read_cpuinfo()))
    platform = normal_platform("linux", machine)
    if platform.architecture in ("mips", "mips64") and sys.byteorder == "little":
        return Platform("linux", platform.architecture + "le")
    return platform


def _read_cpuinfo() -> str:
    try:
        fd = os.open(_CPUINFO, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 8192).decode("ascii", "replace")
    finally:
        os.close(fd)


def _arm_variant(machine: str, cpuinfo: str) -> str:
    """`v5` to `v8` from the machine name (armv7l), corrected by /proc/cpuinfo.

    A Raspberry Pi Zero says architecture 7 in /proc/cpuinfo although its model name says ARMv6-compatible.
    """
    if "ARMv6-compatible" in cpuinfo:
        return "v6"
    if machine.startswith("armv") and machine[4:5] in ("5", "6", "7", "8"):
        return "v" + machine[4]
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "CPU architecture":
            digit = value.strip()[:1]
            return "v8" if value.strip().lower() == "aarch64" else f"v{digit}" if digit in "5678" else "v7"
    return "v7"


def accepted_platforms(wanted: Platform | None) -> tuple[Platform, ...]:
    """The platforms that suit, best first. None is the host, which also runs the 32-bit programs of its family.

    An amd64 host prefers the baseline, as other engines do, and takes v2 to v4, lowest first, where its processor has
    them and there is nothing else; a variant that is named is taken, or the next lower one.
    """
    first = wanted or host_platform()
    result = _variants(first)
    if wanted is None:
        if first.architecture == "amd64":
            highest = _amd64_level(_read_cpuinfo())
            result += tuple(Platform(first.os, "amd64", f"v{level}") for level in range(2, highest + 1))
        for architecture, variant in _COMPATIBLE.get(first.architecture, ()):
            result += _variants(Platform(first.os, architecture, variant))
    return result


def _amd64_level(cpuinfo: str) -> int:
    """The highest level of the x86-64 ABI of which the processor in /proc/cpuinfo has all instructions.

    Source: System V ABI, AMD64 supplement, table 3.1; names of flags: arch/x86/include/asm/cpufeatures.h.
    """
    flags: frozenset[str] = frozenset()
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            flags = frozenset(value.split())
            break
    level = 1
    for needed in _AMD64_LEVELS:
        if not flags.issuperset(needed):
            break
        level += 1
    return level


def _variants(platform: Platform) -> tuple[Platform, ...]:
    """The platform and the lower variants that its processor runs too."""
    architecture = platform.architecture
    variant = platform.variant or _DEFAULT_VARIANTS.get(architecture, "")
    major, _, minor = variant[1:].partition(".")
    if architecture not in _DEFAULT_VARIANTS or not _is_number(major) or (minor and not _is_number(minor)):
        return (platform,)
    if architecture == "arm64":
        names = _arm64_variants(int(major), int(minor or 0))
    else:
        names = [f"v{number}" for number in range(int(major), {"arm": 5, "amd64": 1}[architecture] - 1, -1)]
    return tuple(dict.fromkeys(normal_platform(platform.os, architecture, name) for name in [variant, *names]))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 2


def _arm64_variants(major: int, minor: int) -> list[str]:
    """Armv9.n has all of Armv8.(n+5); every version has all of those before it.

    Source: Arm Architecture Reference Manual for A-profile, "Armv9-A architecture extensions".
    """
    if major == 9:
        return [f"v9.{number}" for number in range(minor, -1, -1)] + _arm64_variants(8, minor + 5)
    return [f"v8.{number}" for number in range(minor, -1, -1)] if major == 8 else []


def rank(offered: Platform, accepted: tuple[Platform, ...]) -> int | None:
    """The place of an offered platform among the accepted ones, 0 is best; None where it does not suit."""
    variant = offered.variant or ("v7" if offered.architecture == "arm" else "")
    offered = normal_platform(offered.os, offered.architecture, variant)
    return accepted.index(offered) if offered in accepted else None
