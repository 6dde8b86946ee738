# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What clients may ask of a monitor at monitor.sock: a closed list of requests, each a JSON object with `op`.

stop     signal, timeout_s          answered with the exit record when the container is down and cleaned up
kill     signal                     answered at once
wait                                answered with the exit record
attach   rows, columns              answered, then streams
update   plan, as JSON in a string  answered with the pid of init, 0 while there is none
ping                                answered with the monitor's pid
"""

from __future__ import annotations

import os

from .._base import codec
from .._base.errors import Conflict, HullError, Invalid
from .._base.values import to_record
from .._sys.process_title import set_title
from . import protocol
from .clients import Client
from .health_monitor import HealthMonitor
from .launch_plan import plan_from_record
from .launch_worker import facts_of
from .plan_file import write_plan
from .worker import call

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
        raise Conflict(f"attach to container {monitor.facts['name']}: it is not running")
    client.send(protocol.encode_json(protocol.ANSWER, {"tty": monitor.plan.process.tty}))
    client.attached = True
    rows, columns = int(request.get("rows", 0)), int(request.get("columns", 0))
    if rows and columns:
        monitor.streams.resize(rows, columns)


def _update(monitor: Monitor, _client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """The kernel's part has been done by the client."""
    before, text = monitor.facts, str(request["plan"])
    facts = call(lambda: _keep_plan(before["run_directory"], text))
    trouble = "the process that keeps its plan was killed" if facts is None else facts.get("trouble")
    if trouble:
        raise Conflict(f"update container {before['name']}: {trouble}")
    monitor.facts = {**before, **facts}
    if facts["name"] != before["name"]:
        set_title(f"hull-monitor {facts['name']} {facts['run_directory']}")
    if monitor.log is not None and facts["log"]:
        monitor.log.configure(facts["log"])
    if monitor.run is not None and facts["health"] != before["health"]:
        if monitor.health is not None:
            monitor.health.change()
        else:
            monitor.health = HealthMonitor(monitor)
        monitor.write_state("running")
    monitor.ask_policy()
    return {"pid": monitor.run.pid if monitor.run is not None else 0}


def _keep_plan(run_directory: str, text: str) -> dict[str, Any]:
    """In a child: the plan's file, for restarts and the next monitor. What the monitor needs of it all the time."""
    try:
        plan = plan_from_record(codec.parse(text, source="a plan"))
        write_plan(run_directory, to_record(plan))
    except (HullError, OSError) as error:
        return {"trouble": str(error)}
    return facts_of(plan)


def _ping(_monitor: Monitor, _client: Client, _request: dict[str, Any]) -> dict[str, Any]:
    return {"monitor_pid": os.getpid()}


_OPERATIONS = {"stop": _stop, "kill": _kill, "wait": _wait, "attach": _attach, "update": _update, "ping": _ping}
