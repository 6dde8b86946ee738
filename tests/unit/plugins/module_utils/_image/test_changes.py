# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Instructions that change an image's configuration."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._image.changes import apply_changes, split_words

_SHELL = ["/bin/sh", "-c"]
_DATA: dict[str, Any] = {"Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], {}),
        (['CMD ["/bin/sh", "-l"]'], {"Cmd": ["/bin/sh", "-l"]}),
        (["cmd echo $HOME"], {"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
        (["CMD [broken"], {"Cmd": ["/bin/sh", "-c", "[broken"]}),
        (['ENTRYPOINT ["/init"]', "CMD []"], {"Entrypoint": ["/init"], "Cmd": []}),
        (
            ["ENV A=1 B='two words'", 'ENV A="x y"', "ENV OLD the rest"],
            {"Env": ["B=two words", "A=x y", "OLD=the rest"]},
        ),
        (["ENV A=b=c", r"ENV B=a\ b"], {"Env": ["A=b=c", "B=a b"]}),
        (["LABEL a=1 b=2", "LABEL a=3"], {"Labels": {"a": "3", "b": "2"}}),
        (
            ["EXPOSE 80 53/UDP 8000-8001"],
            {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}}},
        ),
        (['VOLUME ["/data", "/a b"]', "VOLUME /x /y"], {"Volumes": {"/data": {}, "/a b": {}, "/x": {}, "/y": {}}}),
        (["USER 1000:1000", "STOPSIGNAL SIGINT"], {"User": "1000:1000", "StopSignal": "SIGINT"}),
        (["WORKDIR /a", "WORKDIR b/../c"], {"WorkingDir": "/a/c"}),
        (["ONBUILD RUN make"], {"OnBuild": ["RUN make"]}),
        (["HEALTHCHECK NONE"], {"Healthcheck": {"Test": ["NONE"]}}),
        (
            ["HEALTHCHECK --interval=5s --retries=2 CMD curl localhost"],
            {"Healthcheck": {"Test": ["CMD-SHELL", "curl localhost"], "Interval": 5 * 10**9, "Retries": 2}},
        ),
        (['HEALTHCHECK CMD ["true"]'], {"Healthcheck": {"Test": ["CMD", "true"]}}),
        (["ENV A=1", "ENV A=2 B=$A C='$A' D=\\$A"], {"Env": ["A=2", "B=1", "C=$A", "D=$A"]}),
        (
            ["ENV A=1", 'ENV X=${A}b Y="${A}"', "ENV P=${NO:-x} Q=${A:-x} R=${A:+y} S=${NO:+y} T=$NO"],
            {"Env": ["A=1", "X=1b", "Y=1", "P=x", "Q=1", "R=y", "S=", "T="]},
        ),
        (["ENV D=/data P=80", "VOLUME $D", "EXPOSE $P"], {"Env": ["D=/data", "P=80"], **_DATA}),
        (["ENV U=me", "USER $U", "WORKDIR /home/$U"], {"Env": ["U=me"], "User": "me", "WorkingDir": "/home/me"}),
        (["ENV A=1", "LABEL a=$A", "CMD echo $A"], {"Env": ["A=1"], "Labels": {"a": "1"}, "Cmd": [*_SHELL, "echo $A"]}),
    ],
)
def test_an_instruction_does_what_it_does_in_a_dockerfile(changes: list[str], expected: dict[str, Any]) -> None:
    config: dict[str, Any] = {}
    apply_changes(config, changes)
    assert config == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("RUN make", "'RUN make' is not allowed; use one of CMD"),
        ("", "is not allowed"),
        ("CMD", "CMD needs an argument"),
        ("ENV A", "lacks a value"),
        ("ENV A=1 B", "not a list of key=value"),
        ("ENV =1", "not a list of key=value"),
        ("LABEL a='x", "quote without an end"),
        ("EXPOSE http", "not a port"),
        ("EXPOSE 70000", "not a port"),
        ("EXPOSE 90-80", "not a port"),
        ("EXPOSE 80/icmp", "not a port"),
        ("VOLUME data", "not an absolute path"),
        ("USER a b", "takes one argument"),
        ("HEALTHCHECK --interval=0s CMD x", "less than a millisecond"),
        ("ONBUILD FROM x", "ONBUILD FROM is not allowed"),
        ("ONBUILD ONBUILD RUN x", "ONBUILD ONBUILD is not allowed"),
        ("ENV A=${B", "not a variable"),
        ("ENV A=${B:?x}", "not a variable"),
        ("ENV A=${}", "not a variable"),
        ("HEALTHCHECK curl", "takes CMD command or NONE"),
        ("HEALTHCHECK --often=1 CMD x", "no option"),
        ("HEALTHCHECK --interval=soon CMD x", "not a duration"),
    ],
)
def test_a_wrong_instruction_is_refused_with_its_option(change: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        apply_changes({}, [change])
    assert caught.value.option == "changes"


def test_words_are_split_as_in_a_dockerfile() -> None:
    assert split_words(r"""a "b c" 'd\e' f\ g "" h"i"j""") == ["a", "b c", r"d\e", "f g", "", "hij"]
