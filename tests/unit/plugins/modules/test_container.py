# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The options of the container module, from what stands in a task to what the engine gets."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid, NotFound
from ansible_collections.hull.engine.plugins.module_utils._engine.comparison import FIELDS
from ansible_collections.hull.engine.plugins.module_utils._module.docker_connection import DOCKER_ARGUMENTS
from ansible_collections.hull.engine.plugins.modules import container

from tests.support import task

ARGUMENTS = {**container.ARGUMENTS, **DOCKER_ARGUMENTS}


def request(**options: Any) -> Any:
    """The request of a task with these options, a container's name beside them."""
    checked = ModuleArgumentSpecValidator(ARGUMENTS).validate({"name": "web", **options})
    assert not checked.error_messages
    return container.request_of(checked.validated_parameters)


def test_a_task_that_says_nothing_gives_nothing_to_compare() -> None:
    made = request(image="debian:12")
    assert made.given == {"image"}
    assert made.spec.given == ("image",)
    assert (made.state, made.pull, made.detach, made.keep_volumes, made.paused) == (
        "started",
        "missing",
        True,
        True,
        None,
    )
    assert (made.compare, made.image_comparison, made.kill_signal) == ("declared", "desired-image", 9)


def test_every_option_that_describes_a_container_is_compared() -> None:
    not_described = {"name", "image", "env_file", "device_requests", "volume_driver"}
    assert set(container.SPEC_ARGUMENTS) - not_described <= set(FIELDS)


def test_what_is_given_is_known_by_name_and_by_part(tmp_path: Any) -> None:
    file = tmp_path / "env"
    file.write_text("A=1\n")
    made = request(env_file=str(file), healthcheck={"test": "x", "retries": 2}, log_opt={"max-file": 2}, ports=["80"])
    assert made.spec.given == (
        *("env", "healthcheck", "healthcheck.retries", "healthcheck.test"),
        *("log_options", "log_options.max-file", "published_ports"),
    )


def test_variables_of_the_task_win_over_those_of_a_file(tmp_path: Any) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\n\nA=1\nB=x=y # kept\r\n  C=\n")
    assert request(env_file=str(file), env={"A": "2"}).spec.env == {"A": "2", "B": "x=y # kept", "C": ""}


def test_a_file_of_variables_must_be_there_and_set_some(tmp_path: Any) -> None:
    with pytest.raises(NotFound, match="env_file: /nowhere: no such file"):
        request(env_file="/nowhere")
    file = tmp_path / "env"
    file.write_text("LONELY\n")
    with pytest.raises(Invalid, match="env_file: 'LONELY' in .* sets no variable; write NAME=value"):
        request(env_file=str(file))


@pytest.mark.parametrize("value", [5, 1.5, True, None, ["a"], {"a": "b"}])
def test_a_variable_that_is_no_string_is_refused(value: object) -> None:
    with pytest.raises(Invalid, match="env: the value of A is not a string; put it into quotes"):
        request(env={"A": value})


@pytest.mark.parametrize(("value", "label"), [("1", "1"), (1, "1"), ("", ""), (None, "")])
def test_labels_are_strings_and_integers(value: object, label: str) -> None:
    assert request(labels={"a": value}).spec.labels == {"a": label}


@pytest.mark.parametrize("value", [True, 1.5, ["a"], {"a": "b"}])
def test_a_label_that_could_be_written_in_two_ways_is_refused(value: object) -> None:
    with pytest.raises(Invalid, match="labels: the value of a is not a string"):
        request(labels={"a": value})


@pytest.mark.parametrize(
    ("handling", "command", "words"),
    [
        ("correct", ["a b", "c"], ("a b", "c")),
        ("correct", "'a b' c", ("a b", "c")),
        ("correct", ["sleep", 5], ("sleep", "5")),
        ("correct", [], ()),
        ("correct", "", ()),
        ("compatibility", ["a b", "c"], ("a", "b", "c")),
        ("compatibility", "'a b' c", ("a b", "c")),
        ("compatibility", [], None),
    ],
)
def test_command_handling(handling: str, command: object, words: object) -> None:
    spec = request(command=command, command_handling=handling).spec
    assert spec.command == words
    if isinstance(command, list):
        assert request(entrypoint=command, command_handling=handling).spec.entrypoint == words


@pytest.mark.parametrize("command", [{"a": "b"}, [["a"]], [{"a": "b"}], [None], "'open"])
def test_a_command_that_is_no_list_of_words_is_refused(command: object) -> None:
    with pytest.raises(Invalid, match="^command: "):
        request(command=command)


@pytest.mark.parametrize(
    ("pull", "meant"),
    [("missing", "missing"), ("always", "always"), ("never", "never"), (True, "always"), (False, "missing")],
)
def test_forms_of_pull(pull: object, meant: str) -> None:
    assert request(pull=pull).pull == meant


def test_compatibility_fills_in_what_docker_container_once_did() -> None:
    made = request(container_default_behavior="compatibility", tty=True)
    assert made.given == {"auto_remove", "init", "interactive", "memory", "privileged", "read_only", "tty"}
    assert (made.spec.tty, made.paused, made.detach) == (True, False, True)


@pytest.mark.parametrize("option", ["image", "user", "working_dir", "hostname", "domainname", "stop_signal", "runtime"])
def test_an_empty_string_is_no_value(option: str) -> None:
    assert request(**{option: ""}).spec == request().spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "runc"}, "runtime: 'runc' is not a container format here; use native"),
        (
            {"device_requests": [{"count": -1}]},
            "device_requests: there is no driver .*; name the device nodes in devices",
        ),
        ({"sysctls": {"net.core.somaxconn": True}}, "sysctls: True can't be the value of net.core.somaxconn"),
        ({"cgroup_parent": "/a/../b"}, "cgroup_parent: '/a/../b' is not the path of a control group"),
        ({"domainname": "a b"}, "domainname: 'a b' can't be a name of a host"),
        ({"hostname": "x" * 65}, "hostname: "),
        ({"oom_score_adj": 1001}, "oom_score_adj: 1001 is not between -1000 and 1000"),
        ({"stop_timeout": -2}, "stop_timeout: "),
        ({"kill_signal": "SIGNOPE"}, "kill_signal: 'SIGNOPE' is not a signal"),
        (
            {"restart_policy": "always", "restart_retries": 3},
            "restart_retries: counts only with restart_policy on-failure",
        ),
        ({"restart_policy": "always", "auto_remove": True}, "restart_policy: can't be combined with auto_remove"),
        ({"userns_mode": "auto", "privileged": True}, "userns_mode: auto does not go with privileged; use host"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_cure(options: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=f"^{message}"):
        request(**options)


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        ({"state": "restarted"}, "use state: started with restart: true"),
        ({"ignore_image": True}, "use comparisons: {image: ignore}"),
        ({"purge_networks": True}, "leave it out, a container has the one network"),
        ({"trust_image_content": True}, "leave it out, signatures are checked"),
    ],
)
def test_options_of_old_releases_are_refused_with_their_cure(options: dict[str, Any], cure: str, tmp_path: Any) -> None:
    env = {"HULL_ROOT": str(tmp_path / "root"), "HULL_RUN": str(tmp_path / "run"), "PATH": os.environ["PATH"]}
    result = task.attempt(env, "container", name="web", image="debian:12", **options)
    assert result["failed"] and cure in result["msg"]
    assert os.listdir(tmp_path) == []


def test_reading_options_loads_little() -> None:
    """A task's options are read on every run: what only some of them need is not imported for the others."""
    base = "ansible_collections.hull.engine.plugins.module_utils"
    code = (
        f"import sys; from {base}._engine.options import container_spec;"
        "container_spec({'name': 'web', 'image': 'debian:12', 'env': {'A': 'b'}, 'memory': '64M', 'ports': ['80']});"
        "print(*sys.modules)"
    )
    path = f"{task.ROOT}/.collections"
    result = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert not loaded & {"shlex", "re", "json", "typing", f"{base}._kernel.capabilities", f"{base}._sys.sched_flags"}
