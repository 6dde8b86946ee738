# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the modules accept is what their documentation says, and the collection lists every module."""

from __future__ import annotations

import glob
import importlib
import os
from typing import Any

import pytest
import yaml
from ansible_collections.hull.engine.plugins.doc_fragments.docker import ModuleDocFragment as DockerFragment
from ansible_collections.hull.engine.plugins.doc_fragments.engine import ModuleDocFragment
from ansible_collections.hull.engine.plugins.module_utils._module.arguments import ENGINE_ARGUMENTS
from ansible_collections.hull.engine.plugins.module_utils._module.docker_connection import DOCKER_ARGUMENTS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODULES = sorted(os.path.basename(path)[:-3] for path in glob.glob(f"{ROOT}/plugins/modules/*.py"))
FRAGMENT = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)


def _module(name: str) -> Any:
    return importlib.import_module(f"ansible_collections.hull.engine.plugins.modules.{name}")


def _documented(options: dict[str, Any]) -> dict[str, Any]:
    """The part of documented options that an argument spec has too."""
    return {name: _comparable(option, option.get("suboptions")) for name, option in options.items()}


def _accepted(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: _comparable(argument, argument.get("options")) for name, argument in arguments.items()}


def _comparable(option: dict[str, Any], suboptions: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "type": option["type"],
        "elements": option.get("elements"),
        "required": bool(option.get("required")),
        "default": option.get("default"),
        "choices": sorted(map(str, option.get("choices") or [])),
        "aliases": sorted(option.get("aliases") or []),
        "suboptions": {name: _comparable(sub, None) for name, sub in (suboptions or {}).items()},
    }


@pytest.mark.parametrize("name", MODULES)
def test_documented_options_are_the_accepted_ones(name: str) -> None:
    module = _module(name)
    assert _documented(yaml.safe_load(module.DOCUMENTATION)["options"]) == _accepted(module.ARGUMENTS)


def test_the_options_of_all_modules_are_the_accepted_ones() -> None:
    assert _documented(FRAGMENT["options"]) == _accepted(ENGINE_ARGUMENTS)


def test_the_options_of_a_connection_to_a_daemon_are_the_accepted_ones() -> None:
    assert _documented(yaml.safe_load(DockerFragment.DOCUMENTATION)["options"]) == _accepted(DOCKER_ARGUMENTS)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_documents_the_options_of_a_connection_if_it_accepts_them(name: str) -> None:
    fragments = yaml.safe_load(_module(name).DOCUMENTATION)["extends_documentation_fragment"]
    assert ("hull.engine.docker" in fragments) == hasattr(_module(name), "DOCKER_ARGUMENTS")


@pytest.mark.parametrize("name", MODULES)
def test_a_module_names_itself_and_says_what_it_is_for(name: str) -> None:
    documentation = yaml.safe_load(_module(name).DOCUMENTATION)
    assert documentation["module"] == name
    assert documentation["short_description"] and documentation["description"] and documentation["author"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_named_tasks_with_full_module_names(name: str) -> None:
    tasks = yaml.safe_load(_module(name).EXAMPLES)
    for task in tasks:
        modules = [key for key in task if "." in key]
        assert task["name"] and len(modules) == 1 and modules[0].count(".") == 2
    assert any(f"hull.engine.{name}" in task for task in tasks)


@pytest.mark.parametrize("name", MODULES)
def test_examples_use_options_that_exist(name: str) -> None:
    known = set()
    for option, argument in {**_module(name).ARGUMENTS, **ENGINE_ARGUMENTS}.items():
        known |= {option, *argument.get("aliases", [])}
    for task in yaml.safe_load(_module(name).EXAMPLES):
        assert known.issuperset(task.get(f"hull.engine.{name}") or {})


@pytest.mark.parametrize("name", MODULES)
def test_returned_values_say_when_and_what(name: str) -> None:
    for value in yaml.safe_load(_module(name).RETURN).values():
        assert value["description"] and value["returned"] and value["type"]


def test_the_action_group_has_every_module() -> None:
    with open(f"{ROOT}/meta/runtime.yml", encoding="utf-8") as file:
        assert sorted(yaml.safe_load(file)["action_groups"]["hull"]) == MODULES


def test_secrets_are_not_logged() -> None:
    for name in MODULES:
        for option, argument in _module(name).ARGUMENTS.items():
            if "password" in option or "token" in option:
                assert argument["no_log"] is True
