"""What differs between two configurations, in the words of the file.

Pure. Listeners, pools, nodes and certificates are known by their names, routes by host and path:
one that moves in its list is not removed and added. Only the order of routes has a meaning, so a
change of it is a difference, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from lbproxy.config.schema import Config

# Lists of sections, and by what each of their members is known.
_KNOWN_BY: Mapping[str, tuple[str, ...]] = {
    "listeners": ("name",),
    "nodes": ("name",),
    "certificates": ("cert",),
    "routes": ("host", "path"),
}
# How one member of these is called.
_ONE = {
    "listeners": "listener",
    "pools": "pool",
    "nodes": "node",
    "certificates": "certificate",
    "routes": "route",
}
_ORDER = "order"  # of routes


class ChangeKind(Enum):
    """How something differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One difference.

    Args: place: the way to it in the file, such as ("pools", "idp", "sticky", "cookie"), members of
    lists by name; kind; before, after: values as the file would say them, "" if there is none.
    """

    place: tuple[str, ...]
    kind: ChangeKind
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        owners, keys = _owners(self.place)
        head = " ".join(f"{owner}:" for owner in owners)
        if self.kind is ChangeKind.CHANGED:
            said = f"{'.'.join(keys)} {self.before} -> {self.after}"
        elif keys:
            said = f"{'.'.join(keys)} {self.kind.value}"
        else:  # a member itself
            head = " ".join(f"{owner}:" for owner in owners[:-1])
            said = f"{owners[-1]} {self.kind.value}"
        return f"{head} {said}".strip()


def differences(before: Config, after: Config) -> tuple[ConfigChange, ...]:
    """Return what differs, in the order of the file; nothing if both say the same.

    A section that is switched on or off is one difference, not one for each of its keys.
    """
    return tuple(_compare((), before.model_dump(mode="json"), after.model_dump(mode="json")))


def _owners(place: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return whose difference it is, from the outside in, and the keys behind the last owner."""
    owners: list[str] = []
    keys: list[str] = []
    parts = iter(place)
    for part in parts:
        member = next(parts, None) if part in _ONE else None
        if member is None or (part == "routes" and member == _ORDER):
            keys += [part] if member is None else [part, member]
        else:
            # What led to it (`tls.certificates`) is clear from its kind.
            keys = []
            owners.append(f"{_ONE[part]} {member}")
    return owners, keys


def _compare(place: tuple[str, ...], before: object, after: object) -> Iterator[ConfigChange]:
    if before == after:
        return
    key = place[-1] if place else ""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in (*before, *(name for name in after if name not in before)):
            yield from _compare_member(place, name, before, after)
    elif key in _KNOWN_BY and isinstance(before, list) and isinstance(after, list):
        old, new = _by_name(key, before), _by_name(key, after)
        for name in (*old, *(name for name in new if name not in old)):
            yield from _compare_member(place, name, old, new)
        ways, now = _common(old, new), _common(new, old)
        if key == "routes" and ways != now:
            order = (*place, _ORDER)
            yield ConfigChange(order, ChangeKind.CHANGED, ", ".join(ways), ", ".join(now))
    else:
        yield ConfigChange(place, ChangeKind.CHANGED, _in_words(before), _in_words(after))


def _compare_member(
    place: tuple[str, ...], name: str, before: Mapping[str, object], after: Mapping[str, object]
) -> Iterator[ConfigChange]:
    there = (*place, name)
    if name not in before:
        yield ConfigChange(there, ChangeKind.ADDED)
    elif name not in after:
        yield ConfigChange(there, ChangeKind.REMOVED)
    else:
        yield from _compare(there, before[name], after[name])


def _by_name(key: str, members: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Return the members of a list by what they are known by; later twins get a number."""
    named: dict[str, object] = {}
    for member in members:
        name = "".join(str(member[part] or "*") for part in _KNOWN_BY[key])
        twins = 1
        while name in named:
            twins += 1
            name = f"{name.partition(' (')[0]} ({twins})"
        named[name] = member
    return named


def _common(first: Mapping[str, object], second: Mapping[str, object]) -> list[str]:
    """Return the names that both have, in the order of the first."""
    return [name for name in first if name in second]


def _in_words(value: object) -> str:
    """Return a value as the file says it, a section that is switched on as `on`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return "on"
    if isinstance(value, list):
        return "[" + ", ".join(_in_words(each) for each in value) + "]"
    return str(value)
