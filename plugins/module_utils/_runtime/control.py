# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What clients may ask of a monitor at monitor.sock: a closed list of requests, each a JSON object with `op`.

stop     signal, timeout_s          answered with the exit record when the container is down and cleaned up
kill     signal                     answered at once
wait                                answered with the exit record
attach   rows, columns              answered, then streams
update   limits, restart, log, ...  answered with the kernel's warnings
ping                                answered with the monitor's pid
"""

from __future__ import annotations

import os

from .._base import codec
from .._base.errors import Conflict, HullError, Invalid
from .._base.values import replace
from . import protocol
from .clients import Client
from .launch_plan import LogPlan, RestartPlan, from_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .monitor import Monitor


def handle(monitor: Monitor, client: Client, payload: bytes) -> None:
    """Serve one request; what goes wrong is the client's answer."""
    try:
        request = codec.parse(payload, source="a request")
        operation = _OPERATIONS.get(str(request.get("op"))) if isinstance(request, dict) else None
        if operation is None:
            raise Invalid("the monitor does not know this request", hint="stop the container and start it again")
        answer = operation(monitor, client, request)
    except (HullError, OSError, ValueError, TypeError, KeyError) as error:
        client.send(protocol.encode_json(protocol.FAILURE, protocol.failure_payload(error)))
        return
    if answer is not None:
        client.send(protocol.encode_json(protocol.ANSWER, answer))


def _stop(monitor: Monitor, client: Client, request: dict[str, Any]) -> None:
    client.wants = "exit"
    monitor.ask_stop(int(request["signal"]), int(float(request["timeout_s"]) * 10**9))


def _kill(monitor: Monitor, _client: Client, request: dict[str, Any]) -> dict[str, Any]:
    monitor.ask_kill(int(request["signal"]))
    return {}


def _wait(_monitor: Monitor, client: Client, _request: dict[str, Any]) -> None:
    client.wants = "exit"


def _attach(monitor: Monitor, client: Client, request: dict[str, Any]) -> None:
    if monitor.streams is None:
        raise Conflict(f"attach to container {monitor.plan.name}: it is not running")
    client.send(protocol.encode_json(protocol.ANSWER, {"tty": monitor.plan.process.tty}))
    client.attached = True
    rows, columns = int(request.get("rows", 0)), int(request.get("columns", 0))
    if rows and columns:
        monitor.streams.resize(rows, columns)


def _update(monitor: Monitor, _client: Client, request: dict[str, Any]) -> dict[str, Any]:
    warnings: tuple[str, ...] = ()
    plan = monitor.plan
    limits = request.get("limits")
    if limits is not None:
        if monitor.run is not None:
            changed = {name: value for name, value in limits.items() if plan.limits.get(name) != value}
            warnings = monitor.run.cgroup.set(changed) if changed else ()
        plan = replace(plan, limits={**plan.limits, **limits})
    if request.get("restart") is not None:
        plan = replace(plan, restart=from_record(RestartPlan, request["restart"]))
    if request.get("log") is not None and monitor.log is not None:
        plan = replace(plan, log=from_record(LogPlan, request["log"]))
        assert plan.log is not None
        monitor.log.configure(plan, plan.log)
    plan = replace(
        plan,
        name=str(request.get("name", plan.name)),
        stop_signal=int(request.get("stop_signal", plan.stop_signal)),
        stop_timeout_s=int(request.get("stop_timeout_s", plan.stop_timeout_s)),
    )
    monitor.plan = plan
    return {"warnings": list(warnings)}


def _ping(_monitor: Monitor, _client: Client, _request: dict[str, Any]) -> dict[str, Any]:
    return {"monitor_pid": os.getpid()}


_OPERATIONS = {"stop": _stop, "kill": _kill, "wait": _wait, "attach": _attach, "update": _update, "ping": _ping}
