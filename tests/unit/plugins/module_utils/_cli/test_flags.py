# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._cli.flags import UsageError, many, parse_flags, switch, text

FLAGS = (
    switch("detach", "", short="d"),
    switch("interactive", "", short="i"),
    switch("tty", "", short="t"),
    text("name", ""),
    text("network", "", alias="net"),
    text("user", "", short="u"),
    many("publish", "", short="p"),
    many("env", "", short="e"),
)


def parse(*words, stop=False):
    return parse_flags(FLAGS, words, stop_at_argument=stop)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["-it"], {"interactive": True, "tty": True}),
        (["-d=false"], {"detach": False}),
        (["--detach=TRUE"], {"detach": True}),
        (["-p8080:80"], {"publish": ["8080:80"]}),
        (["-p", "8080:80"], {"publish": ["8080:80"]}),
        (["-p=8080:80"], {"publish": ["8080:80"]}),
        (["-itp80"], {"interactive": True, "tty": True, "publish": ["80"]}),
        (["--name", "web"], {"name": "web"}),
        (["--name=web"], {"name": "web"}),
        (["--name="], {"name": ""}),
        (["--name", "-x"], {"name": "-x"}),
        (["--net", "host"], {"network": "host"}),
        (["-e", "A=1", "--env=B=2"], {"env": ["A=1", "B=2"]}),
        (["--name", "a", "--name", "b"], {"name": "b"}),
    ],
)
def test_forms_that_users_of_docker_type(words, values):
    parsed = parse(*words)
    assert parsed.values == values
    assert parsed.arguments == ()


def test_flags_and_arguments_mix_where_a_command_takes_no_foreign_flags():
    parsed = parse("web", "-d", "db", "--", "-d", "--name")
    assert parsed.arguments == ("web", "db", "-d", "--name")
    assert parsed.values == {"detach": True}


def test_the_first_argument_ends_the_flags_of_run():
    parsed = parse("-i", "debian", "ls", "-d", "--", "--name", stop=True)
    assert parsed.arguments == ("debian", "ls", "-d", "--", "--name")
    assert parsed.values == {"interactive": True}


def test_two_dashes_may_stand_before_the_first_argument():
    assert parse("-i", "--", "-odd", stop=True).arguments == ("-odd",)


def test_a_lone_dash_is_an_argument():
    assert parse("-", "x").arguments == ("-", "x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nmae", "x"], "unknown flag --nmae; did you mean --name?"),
        (["--zzz"], "unknown flag --zzz"),
        (["-x"], "unknown flag -x"),
        (["-ix"], "unknown flag -x in -ix"),
        (["--name"], "flag --name needs a value"),
        (["-itp"], "flag -p needs a value"),
        (["--detach=maybe"], "flag --detach: 'maybe' is neither true nor false"),
    ],
)
def test_errors_name_what_was_typed(words, message):
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert str(caught.value) == message


def test_what_was_not_given_is_off_none_and_empty():
    parsed = parse()
    assert (parsed.is_on("tty"), parsed.text("name"), parsed.items("env")) == (False, None, [])
