# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.spec import HealthSpec
from ansible_collections.hull.engine.plugins.module_utils._engine.health_options import (
    changed_health,
    complete_health,
    parse_health,
)

SECOND = 10**9
NONE = HealthSpec(("NONE",))
IMAGES = HealthSpec(("CMD", "check"), interval_ns=5 * SECOND, retries=7)


def check(*test, **given):
    """A check in which what is not named is not given."""
    names = ("interval_ns", "timeout_ns", "start_period_ns", "start_interval_ns", "retries")
    return HealthSpec(test, **{**dict.fromkeys(names, -1), **given})


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        (None, None),
        ({"test": "curl localhost"}, check("CMD-SHELL", "curl localhost")),
        ({"test": ["CMD-SHELL", "a | b"]}, check("CMD-SHELL", "a | b")),
        ({"test": ["CMD", "a", 5]}, check("CMD", "a", "5")),
        ({"test": ["NONE"]}, NONE),
        ({"test": "NONE"}, NONE),
        ({"test": ["NONE"], "interval": "5s"}, NONE),
        (
            {"test": "x", "interval": "1m30s", "timeout": "500ms", "start_period": "1h", "start_interval": "2s"},
            check(
                *("CMD-SHELL", "x"),
                interval_ns=90 * SECOND,
                timeout_ns=SECOND // 2,
                start_period_ns=3600 * SECOND,
                start_interval_ns=2 * SECOND,
            ),
        ),
        ({"test": "x", "retries": 2}, check("CMD-SHELL", "x", retries=2)),
        ({"test": "x", "retries": 0, "interval": "0s", "timeout": None}, check("CMD-SHELL", "x")),
        ({"test_cli_compatible": True, "interval": "5s"}, check(interval_ns=5 * SECOND)),
        ({"test_cli_compatible": False, "interval": "5s"}, NONE),
        ({"test_cli_compatible": True, "test": ""}, NONE),
        ({}, NONE),
    ],
)
def test_health_checks_as_users_write_them(given, spec):
    assert parse_health(given) == spec


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"test": ["curl", "localhost"]}, "healthcheck"),
        ({"test": ["CMD"]}, "healthcheck"),
        ({"test": ["CMD-SHELL", "a", "b"]}, "healthcheck"),
        ({"test": ["NONE", "x"]}, "healthcheck"),
        ({"test": {"a": 1}}, "healthcheck"),
        ({"test": "x", "interval": "soon"}, "healthcheck.interval"),
        ({"test": "x", "timeout": "1us"}, "healthcheck.timeout"),
        ({"test": "x", "start_period": "-1s"}, "healthcheck.start_period"),
        ({"test": "x", "retries": -1}, "healthcheck.retries"),
        ({"test": "x", "retries": "few"}, "healthcheck.retries"),
    ],
)
def test_what_is_no_health_check_is_refused(given, option):
    with pytest.raises(Invalid) as caught:
        parse_health(given)
    assert caught.value.option == option


@pytest.mark.parametrize(
    ("own", "whole"),
    [
        (None, IMAGES),
        (NONE, NONE),
        (check(retries=3), HealthSpec(("CMD", "check"), interval_ns=5 * SECOND, retries=3)),
        (check("CMD", "mine"), HealthSpec(("CMD", "mine"), interval_ns=5 * SECOND, retries=7)),
        (check(interval_ns=30 * SECOND), HealthSpec(("CMD", "check"), interval_ns=30 * SECOND, retries=7)),
    ],
)
def test_the_image_completes_a_health_check(own, whole):
    assert complete_health(own, IMAGES) == whole


def test_without_an_images_check_the_engines_defaults_complete_it():
    assert complete_health(check("CMD", "mine"), None) == HealthSpec(("CMD", "mine"))
    assert complete_health(check("CMD", "mine"), NONE) == HealthSpec(("CMD", "mine"))
    assert complete_health(None, None) is None


@pytest.mark.parametrize(
    ("new", "old", "after"),
    [
        (
            check(interval_ns=SECOND),
            check("CMD", "mine", retries=2),
            check("CMD", "mine", interval_ns=SECOND, retries=2),
        ),
        (check("CMD", "new"), check("CMD", "mine", retries=2), check("CMD", "new", retries=2)),
        (check(retries=1), NONE, NONE),
        (check("CMD", "new"), NONE, check("CMD", "new")),
        (NONE, check("CMD", "mine"), NONE),
        (check(retries=1), None, check(retries=1)),
    ],
)
def test_a_change_keeps_what_it_does_not_speak_of(new, old, after):
    assert changed_health(new, old) == after
