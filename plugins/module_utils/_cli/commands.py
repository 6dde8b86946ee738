# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which command is where. Only the file of the command that was typed is loaded."""

from __future__ import annotations

from .flags import UsageError
from .printing import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .command import Command

    Home = Callable[[], tuple[Command, ...]]
    Topic = tuple[str, str]  # a word and what it is


def _running() -> tuple[Command, ...]:
    from .run import COMMANDS

    return COMMANDS


def _lifecycle() -> tuple[Command, ...]:
    from .lifecycle import COMMANDS

    return COMMANDS


def _updating() -> tuple[Command, ...]:
    from .updating import COMMANDS

    return COMMANDS


def _execution() -> tuple[Command, ...]:
    from .execution import COMMANDS

    return COMMANDS


def _copying() -> tuple[Command, ...]:
    from .copying import COMMANDS

    return COMMANDS


def _stats() -> tuple[Command, ...]:
    from .stats import COMMANDS

    return COMMANDS


def _listing() -> tuple[Command, ...]:
    from .listing import COMMANDS

    return COMMANDS


def _logging() -> tuple[Command, ...]:
    from .log_output import COMMANDS

    return COMMANDS


def _images() -> tuple[Command, ...]:
    from .images import COMMANDS

    return COMMANDS


def _pruning() -> tuple[Command, ...]:
    from .pruning import COMMANDS

    return COMMANDS


def _pushing() -> tuple[Command, ...]:
    from .pushing import COMMANDS

    return COMMANDS


def _archives() -> tuple[Command, ...]:
    from .archives import COMMANDS

    return COMMANDS


def _committing() -> tuple[Command, ...]:
    from .committing import COMMANDS

    return COMMANDS


def _registries() -> tuple[Command, ...]:
    from .registries import COMMANDS

    return COMMANDS


def _volumes() -> tuple[Command, ...]:
    from .volumes import COMMANDS

    return COMMANDS


def _verification() -> tuple[Command, ...]:
    from .verification import COMMANDS

    return COMMANDS


def _booting() -> tuple[Command, ...]:
    from .booting import COMMANDS

    return COMMANDS


def _doctoring() -> tuple[Command, ...]:
    from .doctor import COMMANDS

    return COMMANDS


def _firewalls() -> tuple[Command, ...]:
    from .firewall import COMMANDS

    return COMMANDS


def _system() -> tuple[Command, ...]:
    from .system import COMMANDS

    return COMMANDS


def _guides() -> tuple[Command, ...]:
    from .guides import COMMANDS

    return COMMANDS


HOMES: dict[str, Home] = {
    "run": _running,
    "create": _running,
    "start": _running,
    "attach": _running,
    "exec": _execution,
    "cp": _copying,
    "stop": _lifecycle,
    "restart": _lifecycle,
    "kill": _lifecycle,
    "rm": _lifecycle,
    "pause": _lifecycle,
    "unpause": _lifecycle,
    "wait": _lifecycle,
    "update": _updating,
    "rename": _lifecycle,
    "ps": _listing,
    "port": _listing,
    "top": _listing,
    "stats": _stats,
    "logs": _logging,
    "pull": _images,
    "images": _images,
    "push": _pushing,
    "rmi": _images,
    "load": _archives,
    "save": _archives,
    "import": _archives,
    "tag": _images,
    "commit": _committing,
    "diff": _committing,
    "export": _committing,
    "history": _committing,
    "squash": _committing,
    "image diff": _committing,
    "image inspect": _images,
    "image prune": _pruning,
    "container prune": _pruning,
    "system df": _pruning,
    "system prune": _pruning,
    "login": _registries,
    "logout": _registries,
    "search": _registries,
    "tags": _registries,
    "volume ls": _volumes,
    "volume create": _volumes,
    "volume inspect": _volumes,
    "volume rm": _volumes,
    "volume prune": _pruning,
    "verify": _verification,
    "boot": _booting,
    "firewall": _firewalls,
    "inspect": _system,
    "info": _system,
    "doctor": _doctoring,
    "version": _system,
    "completion": _guides,
    "complete": _guides,
    "manual": _guides,
}
_GROUPS = {"volume": "Volumes", "container": "Containers", "image": "Images", "system": "The host"}
_LONG_FORMS = {
    "container ls": "ps",
    "container list": "ps",
    "container ps": "ps",
    "container inspect": "inspect",
    "image ls": "images",
    "image list": "images",
    "image rm": "rmi",
    "image remove": "rmi",
    "image pull": "pull",
    "image push": "push",
    "image verify": "verify",
    "image load": "load",
    "image save": "save",
    "image import": "import",
    "image tag": "tag",
    "image history": "history",
    "image squash": "squash",
    "system info": "info",
    "volume list": "volume ls",
    "volume remove": "volume rm",
}
_SECTIONS = (
    (
        "Containers",
        ("run create start stop restart kill rm pause unpause wait update rename exec attach cp commit").split()
        + ["container prune"],
    ),
    ("Looking at them", "ps logs top stats port inspect diff export".split()),
    (
        "Images",
        "pull push images tag rmi load save import history squash verify".split()
        + ["image inspect", "image diff", "image prune"],
    ),
    ("Volumes", [f"volume {verb}" for verb in "create ls inspect rm prune".split()]),
    ("Registries", "login logout search tags".split()),
    ("Host", ["boot", "firewall", "info", "doctor", "version", "system df", "system prune", "completion", "manual"]),
)
_ASKS = ("--help", "help")
_CONTAINER_VERBS = frozenset((*_SECTIONS[0][1], *_SECTIONS[1][1]))


def _canonical(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The command's name and the words after it: `image ls -q` is `images` with `-q`."""
    name, rest = words[0], words[1:]
    if name not in _GROUPS or not rest or rest[0] in _ASKS:
        return name, rest
    long = f"{name} {rest[0]}"
    if name == "container" and rest[0] in _CONTAINER_VERBS:
        return rest[0], rest[1:]
    return _LONG_FORMS.get(long, long), rest[1:]


def find_command(words: Sequence[str]) -> tuple[Command | None, Sequence[str]]:
    """The command that the words begin with, and the words after it; None for a group such as `volume` alone.

    Raises UsageError for one that does not exist.
    """
    name, rest = _canonical(words)
    if name in _GROUPS:
        return None, rest
    home = HOMES.get(name)
    if home is None:
        raise UsageError(f"{name!r} is not a command", hint=_suggestion(name))
    return _one(name, home), rest


def _one(name: str, home: Home) -> Command:
    return next(command for command in home() if command.name == name)


def _suggestion(name: str) -> str:
    from difflib import get_close_matches  # only on the way to an error

    close = get_close_matches(name, list(HOMES), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def show_help(words: Sequence[str]) -> int:
    """Print the help of a command, of a group or of everything. Raises UsageError for what does not exist."""
    from . import help as texts
    from .main import GLOBAL_FLAGS

    if not words:
        put(texts.overview(GLOBAL_FLAGS, [(title, _topics(names)) for title, names in _SECTIONS]))
        return 0
    command, _ = find_command([words[0]] if len(words) > 1 and words[1].startswith("-") else words)
    if command is not None:
        put(texts.command_help(command))
        return 0
    put(texts.group_help(words[0], _GROUPS[words[0]], group_topics(words[0])))
    return 0


def sections() -> list[tuple[str, list[Command]]]:
    """All commands under the titles that the help has."""
    return [(title, [_one(name, HOMES[name]) for name in names]) for title, names in _SECTIONS]


def command_topics() -> list[Topic]:
    """The commands that are one word, and what each does."""
    return [topic for _, names in _SECTIONS for topic in _topics(name for name in names if " " not in name)]


def group_topics(group: str = "") -> list[Topic]:
    """The commands of a group as they follow its name, nothing where it is no group; without a name the groups."""
    if not group:
        return list(_GROUPS.items())
    titled = {"container": [*_SECTIONS[0][1], *_SECTIONS[1][1]], "image": _SECTIONS[2][1]}.get(group, [])
    names = [name for name in titled if " " not in name]
    names += (name for name in HOMES if name.startswith(group + " "))
    return [(_name_in_group(group, name), about) for name, about in _topics(names)]


def _topics(names: Iterable[str]) -> list[Topic]:
    return [(name, _one(name, HOMES[name]).summary) for name in names]


def _name_in_group(group: str, name: str) -> str:
    """What stands after the group's name where the command is typed with it: `ls` for `images`."""
    forms = (long for long, short in _LONG_FORMS.items() if short == name)
    return next((form for form in forms if form.startswith(f"{group} ")), name).rpartition(" ")[2]
