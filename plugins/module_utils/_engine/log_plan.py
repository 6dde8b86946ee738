# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""From what was asked about a container's log to its LogPlan: tag written out, the receiver's address in numbers."""

from __future__ import annotations

from .._base.errors import Invalid, NotFound
from .._runtime.launch_plan import LogPlan
from .._runtime.logs import FILE_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.spec import ContainerSpec

JOURNAL = "unixgram:///run/systemd/journal/socket"
LOCAL_SYSLOG = "unixgram:///dev/log"
_SYSLOG_PORT = 514
_LONGEST_SOCKET_PATH = 107
_FACILITIES = "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp".split()
_FIRST_LOCAL_FACILITY = 16


def log_plan(spec: ContainerSpec, container_id: str, directory: str) -> LogPlan:
    """The plan of a container's log; `directory` is the container's. A name in syslog-address is looked up here, since
    a monitor must not wait for an answer. Raises Invalid, NotFound.
    """
    values = {".ID": container_id[:12], ".FullID": container_id, ".Name": spec.name, ".ImageName": spec.image}
    address = {"journald": JOURNAL, "syslog": _numeric(spec.log_address or LOCAL_SYSLOG)}.get(spec.log_driver, "")
    return LogPlan(
        f"{directory}/{FILE_NAME}" if spec.log_driver != "none" else "",
        spec.log_max_size_bytes,
        spec.log_max_files,
        driver=spec.log_driver,
        tag=expand(spec.log_tag or "{{.ID}}", values),
        blocking=spec.log_blocking,
        address=address,
        facility=facility_number(spec.log_facility),
        format=spec.log_format,
        image=spec.image,
        buffer_bytes=spec.log_buffer_bytes,
    )


def facility_number(name: str) -> int:
    """The number of a syslog facility. Source: syslog(3)."""
    if name.startswith("local"):
        return _FIRST_LOCAL_FACILITY + int(name[len("local") :])
    return _FACILITIES.index(name)


def expand(template: str, values: dict[str, str]) -> str:
    """A tag with each `{{.Name}}` replaced by its value. Raises Invalid."""
    text, *parts = template.split("{{")
    for part in parts:
        name, closed, rest = part.partition("}}")
        if not closed or name.strip() not in values:
            known = ", ".join("{{" + each + "}}" for each in values)
            raise Invalid(f"tag {template!r} has no known name after '{{{{'", option="log_options", hint=f"use {known}")
        text += values[name.strip()] + rest
    return text


def _numeric(address: str) -> str:
    """The address of a receiver with its host's name looked up and its port written out."""
    kind, _, place = address.partition("://")
    if kind.startswith("unix"):
        if len(place.encode()) > _LONGEST_SOCKET_PATH:
            raise Invalid(
                f"syslog-address {address}: a socket's path has {_LONGEST_SOCKET_PATH} bytes at most",
                option="log_options",
            )
        return address
    from _socket import SOCK_DGRAM, SOCK_STREAM, gaierror, getaddrinfo

    host, colon, port = place.rpartition(":")
    if not colon or port.endswith("]"):  # [::1] without a port
        host, port = place, str(_SYSLOG_PORT)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Invalid(f"syslog-address {address}: {port!r} is not a port", option="log_options")
    try:
        style = SOCK_STREAM if kind == "tcp" else SOCK_DGRAM
        number = getaddrinfo(host.strip("[]"), int(port), 0, style)[0][4][0]
    except (gaierror, UnicodeError) as error:
        raise NotFound(
            f"log_options: syslog-address {address}: {error}", hint="write it like udp://192.0.2.7:514"
        ) from error
    return f"{kind}://[{number}]:{port}" if ":" in str(number) else f"{kind}://{number}:{port}"
