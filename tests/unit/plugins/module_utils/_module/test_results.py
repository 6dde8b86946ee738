# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.hull.engine.plugins.module_utils._base.plan import Action, Outcome
from ansible_collections.hull.engine.plugins.module_utils._module.arguments import given
from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result


def test_an_action_is_told_by_its_verb():
    outcome = Outcome(True, (Action("created", "web", "not here"), Action("started", "web")), {"a": 1}, {"a": 2})
    assert outcome_result(outcome, "container") == {
        "changed": True,
        "actions": [{"created": "web", "reason": "not here"}, {"started": "web"}],
        "diff": {"before": {"a": 1}, "after": {"a": 2}},
    }


def test_facts_stand_under_the_noun_and_warnings_are_told():
    outcome = Outcome(False, facts={"Id": "x"}, warnings=("careful",))
    result = outcome_result(outcome, "image")
    assert result == {"changed": False, "actions": [], "image": {"Id": "x"}, "warnings": ["careful"]}


def test_what_a_task_does_not_give_does_not_reach_the_engine():
    options = {"name": "web", "tty": None, "state": "started", "env": {}, "init": False}
    assert given(options, frozenset({"name", "tty", "env", "init"})) == {"name": "web", "env": {}, "init": False}


def test_suboptions_that_are_not_given_are_left_out():
    options = {"mounts": [{"target": "/a", "source": None}], "device_read_bps": []}
    assert given(options, frozenset(options)) == {"mounts": [{"target": "/a"}], "device_read_bps": []}


def test_a_null_that_the_user_wrote_reaches_the_engine():
    options = {"env": {"A": None}, "labels": {"b": None}}
    assert given(options, frozenset(options)) == options
