# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What `run`, `start`, `attach` and `exec` share: being connected to a process from its start to its end."""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.values import replace
from .detach_keys import DEFAULT, parse_keys
from .flags import switch, text
from .printing import STDIN, STDOUT, is_terminal
from .relay import Relay, Streams
from .terminal import PROXIED, SIGWINCH, RawTerminal, SignalPipe, WindowSize, window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._engine.engine import Engine
    from .._runtime.session import Session
    from .._store.records import ContainerRecord
    from .command import Invocation

DETACH_KEYS = text("detach-keys", "keys that leave the container running [ctrl-p,ctrl-q]")
SIG_PROXY = switch("sig-proxy", "pass signals on to the container [true]")


def detach_keys(invocation: Invocation) -> bytes:
    """The keys of `--detach-keys`. Raises Invalid."""
    given = invocation.text("detach-keys")
    return parse_keys(DEFAULT if given is None else given)


def require_terminal(stdin: bool, tty: bool) -> None:
    """A process with a terminal whose input is the user's needs the user's to be one. Raises Invalid."""
    if stdin and tty and not is_terminal(STDIN):
        raise Invalid("standard input is not a terminal", option="--tty", hint="leave out -t, or -i")


def terminal_size(stdin: bool, tty: bool) -> WindowSize:
    """The size to start a process with; zeros where it has no terminal."""
    return window_size(STDIN if stdin else STDOUT) if tty else WindowSize()


def taken_signals() -> SignalPipe:
    """The signals that are taken from before the start to after the end."""
    return SignalPipe((*PROXIED, SIGWINCH))


def proxy_to(engine: Engine, record: ContainerRecord) -> Callable[[int], None]:
    """A function that sends a signal to a container."""
    from .._engine import containers

    return lambda number: containers.kill(engine, record, number)


def relay(session: Session, signals: SignalPipe, streams: Streams) -> int:
    """Connect the user to a session until it ends. The exit code: the process's, 0 after detaching, 128 and its number
    after a signal to the command line.
    """
    if streams.tty and streams.stdin:
        with RawTerminal(STDIN):
            ending = Relay(session, signals, streams).run()
    else:
        ending = Relay(session, signals, streams).run()
    return 128 + ending.code if ending.why == "signal" else ending.code


def with_proxy(streams: Streams, invocation: Invocation, proxy: Callable[[int], None]) -> Streams:
    """The streams with signals passed on, unless there is a terminal (its keys are the signals) or the user says no."""
    wanted = invocation.values.get("sig-proxy", True) is True
    return replace(streams, proxy=proxy) if wanted and not streams.tty else streams
