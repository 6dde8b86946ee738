# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`verify`: whether images are still what they were."""

from __future__ import annotations

from .command import Command
from .flags import UsageError, switch
from .printing import put_error, put_line, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._engine.verification import LayerFinding
    from .command import Invocation


def _verify(invocation: Invocation) -> int:
    from .._engine.verification import LAYER, UNKNOWN, verify

    names, everything = invocation.arguments, invocation.is_on("all")
    if bool(names) == everything:
        raise UsageError("name the images, or say --all" if not names else "--all goes without names of images")
    with invocation.engine() as engine:
        findings = verify(engine, names)
    quiet = invocation.is_on("quiet")
    for finding in findings:
        if finding.is_bad or not quiet:
            _show(finding)
    bad = [finding for finding in findings if finding.is_bad]
    broken = dict.fromkeys(name for finding in bad if finding.kind == LAYER for name in finding.images)
    if broken:
        put_error(f"hull verify: {', '.join(map(visible, broken))}: damaged; pull or load again, that repairs in place")
    if any(finding.state == UNKNOWN for finding in findings):
        put_error("hull verify: of what is unknown nobody can tell: remove the image and pull it again")
    return 1 if bad else 0


def _show(finding: LayerFinding) -> None:
    put_line(f"{finding.state:<8} {finding.kind} {finding.id} ({', '.join(map(visible, finding.images))})")
    for detail in finding.details:
        put_line(f"    {visible(detail)}")


COMMANDS = (
    Command(
        "verify",
        "[OPTIONS] IMAGE [IMAGE...] | --all",
        "Look at every byte of images; exit 1 if anything is damaged",
        _verify,
        (
            switch("all", "all images", short="a"),
            switch("quiet", "only what is damaged or missing", short="q"),
        ),
    ),
)
