# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What users write about a container's log, as fields of a ContainerSpec. Pure."""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.units import parse_size
from .limit_options import integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DRIVERS = ("json-file", "none", "journald", "syslog")
_SAME = {"local": "json-file"}  # Docker's other way to keep files
_MODES = ("non-blocking", "blocking")
_FACILITIES = "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp".split()
_FACILITIES += [f"local{number}" for number in range(8)]
_KNOWN = "max-size max-file tag mode max-buffer-size syslog-address syslog-facility syslog-format".split()


def parse_log(driver: str | None, options: dict[str, Any] | None) -> dict[str, Any]:
    """Fields of the spec from `log_driver` and `log_options`. Raises Invalid, naming the option."""
    name = _SAME.get(str(driver or "json-file"), str(driver or "json-file"))
    if name not in DRIVERS:
        raise Invalid(f"{driver!r} is not known", option="log_driver", hint=f"use {', '.join(DRIVERS)}")
    given = {str(key): "" if value is None else str(value) for key, value in (options or {}).items()}
    for key in given:
        if key not in _KNOWN:
            raise Invalid(f"{key!r} is not known", option="log_options", hint=", ".join(_KNOWN))
        if key.startswith("syslog-") and name != "syslog":
            raise Invalid(f"{key} needs log_driver syslog", option="log_options")
    return {"log_driver": name, **_sizes(given), **_rest(given)}


def _sizes(given: dict[str, str]) -> dict[str, int]:
    """Sizes and numbers."""
    fields = {}
    try:
        if "max-size" in given:
            fields["log_max_size_bytes"] = max(parse_size(given["max-size"], option="max-size"), 0)
        if "max-file" in given:
            fields["log_max_files"] = integer(given, "max-file", 3, 1, 1000)
        if "max-buffer-size" in given:
            fields["log_buffer_bytes"] = max(parse_size(given["max-buffer-size"], option="max-buffer-size"), 1)
    except Invalid as error:
        raise Invalid(error.message, option="log_options", hint=error.hint) from error
    return fields


def _rest(given: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "tag" in given:
        fields["log_tag"] = given["tag"]
    if "mode" in given:
        if given["mode"] not in _MODES:
            raise Invalid(f"mode {given['mode']!r} is not known", option="log_options", hint=" or ".join(_MODES))
        fields["log_blocking"] = given["mode"] == "blocking"
    if "syslog-facility" in given:
        if given["syslog-facility"] not in _FACILITIES:
            hint = f"use {', '.join(_FACILITIES)}"
            raise Invalid(f"syslog-facility {given['syslog-facility']!r} is not known", option="log_options", hint=hint)
        fields["log_facility"] = given["syslog-facility"]
    if "syslog-format" in given:
        if given["syslog-format"] not in ("rfc3164", "rfc5424", "rfc5424micro"):
            raise Invalid("syslog-format is rfc3164 or rfc5424", option="log_options")
        fields["log_format"] = given["syslog-format"].replace("micro", "")  # with microseconds in any case
    if "syslog-address" in given:
        fields["log_address"] = _address(given["syslog-address"])
    return fields


def _address(text: str) -> str:
    scheme, separator, place = text.partition("://")
    if not separator or scheme not in ("unixgram", "unix", "udp", "tcp") or not place or "\0" in place:
        raise Invalid(
            f"{text!r} is not an address",
            option="log_options",
            hint="unixgram:///dev/log, udp://host:514, tcp://host:514",
        )
    return text
