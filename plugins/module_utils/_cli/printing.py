# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Text to the standard streams, always UTF-8 and unbuffered, and untrusted text made harmless.

The interpreter's own stream objects are not used: they encode by locale, and a broken pipe would show up at exit.
A reader that went away is a BrokenPipeError for the caller; the command line's `main` ends silently on it.
"""

from __future__ import annotations

import os

STDIN, STDOUT, STDERR = 0, 1, 2


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, also to a pipe or terminal that somebody made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            from select import POLLOUT, poll

            waiter = poll()
            waiter.register(fd, POLLOUT)
            waiter.poll()


def put(text: str) -> None:
    """Write text to standard output."""
    if text:
        write_all(STDOUT, text.encode("utf-8", "surrogateescape"))


def put_line(text: str) -> None:
    """Write a line to standard output."""
    put(text + "\n")


def put_untrusted(text: str) -> None:
    """Write text that others chose (labels, names in a template's lines); on a terminal it can't steer that."""
    put(visible(text, keep="\n\t") if is_terminal(STDOUT) else text)


def put_error(text: str) -> None:
    """Write a line to standard error, with control characters escaped; one that is closed is nobody's concern."""
    try:
        write_all(STDERR, (visible(text, keep="\n") + "\n").encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def visible(text: str, *, keep: str = "") -> str:
    """The text with everything that could steer a terminal (control, format and bidirectional characters) escaped."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def is_terminal(fd: int) -> bool:
    """Whether the descriptor is open and a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def open_standard_streams() -> None:
    """Have something behind descriptors 0 to 2: a socket or file that took the number of a closed one would get what
    is meant for the user.
    """
    for fd in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(fd)
        except OSError:
            os.open("/dev/null", os.O_RDWR)
