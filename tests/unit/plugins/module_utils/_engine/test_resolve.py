# SPDX-License-Identifier: GPL-3.0-or-later
"""From the spec and the image to a plan."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.spec import ContainerSpec
from ansible_collections.hull.engine.plugins.module_utils._engine.image_facts import ImageConfig
from ansible_collections.hull.engine.plugins.module_utils._engine.resolve import _process


def environment_of(*image: str, **task: str) -> list[str]:
    spec = ContainerSpec(name="a", image="b", command=("true",), env=task)
    plan = _process(spec, ImageConfig(env=image), "0123456789abcdef")
    return [entry for entry in plan.env if not entry.startswith(("PATH=", "HOSTNAME="))]


def test_s14_odd_entries_of_an_images_environment_stay_what_they_are() -> None:
    assert environment_of("=x", "A", "B=", "C=1=2", "D\nE=3\n4", "B.C=5") == ["B=", "C=1=2", "D\nE=3\n4", "B.C=5"]


@pytest.mark.parametrize("entry", ["A=x\0y", "A\0B=x"])
def test_s14_a_nul_in_an_environment_is_refused(entry: str) -> None:
    with pytest.raises(Invalid, match="env"):
        environment_of(entry)


def test_s13_the_environment_is_the_images_and_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_CANARY", "1")
    assert environment_of("A=1", A="2", B="3") == ["A=2", "B=3"]
