# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The part of a LaunchPlan that a running container takes over when its options change; `resolve.py` makes the rest.

Pure, except that a receiver of logs is looked up by its name.
"""

from __future__ import annotations

from .._base.spec import to_record
from .._base.values import replace
from .._runtime.launch_plan import HealthPlan, LaunchPlan, RestartPlan
from .confinement import device_rules
from .health_options import complete_health
from .isolation import RLIMITS
from .log_plan import log_plan
from .options import signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec, HealthSpec
    from .image_facts import ImageConfig

DEFAULT_STOP_TIMEOUT_S = 10


def live_fields(spec: ContainerSpec, config: ImageConfig, container_id: str, directory: str) -> dict[str, Any]:
    """Fields of a LaunchPlan; `directory` is the container's."""
    return {
        "name": spec.name,
        "limits": to_record(spec.limits),
        "device_rules": device_rules(spec.device_rules),
        "stop_signal": signal_number(spec.stop_signal or config.stop_signal or "SIGTERM", option="stop_signal"),
        "stop_timeout_s": DEFAULT_STOP_TIMEOUT_S if spec.stop_timeout_s is None else spec.stop_timeout_s,
        "restart": RestartPlan(spec.restart_policy, spec.restart_retries),
        "health": _health(complete_health(spec.health, config.health)),
        "log": log_plan(spec, container_id, directory),
    }


def live_process_fields(spec: ContainerSpec) -> dict[str, Any]:
    """Fields of the plan's ProcessPlan."""
    limits = {**RLIMITS, **spec.ulimits}
    return {
        "rlimits": tuple((name, soft, hard) for name, (soft, hard) in limits.items()),
        "oom_score_adj": spec.oom_score_adj,
    }


def live_plan(plan: LaunchPlan, spec: ContainerSpec, config: ImageConfig) -> LaunchPlan:
    """The plan of a container after a change of its spec in nothing but what can change live. Raises Invalid."""
    process = replace(plan.process, **live_process_fields(spec))
    return replace(plan, process=process, **live_fields(spec, config, plan.container_id, plan.root_directory))


def _health(spec: HealthSpec | None) -> HealthPlan | None:
    if spec is None or spec.test[:1] == ("NONE",) or len(spec.test) < 2:
        return None
    args = ("/bin/sh", "-c", spec.test[1]) if spec.test[0] == "CMD-SHELL" else spec.test[1:]
    return HealthPlan(
        args, spec.interval_ns, spec.timeout_ns, spec.start_period_ns, spec.start_interval_ns, spec.retries
    )
