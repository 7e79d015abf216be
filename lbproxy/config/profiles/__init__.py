"""Profiles: each identity provider's demands on its front door, kept as data.

A profile's `pool` section holds defaults for a pool of that provider. The pool's own keys come on
top: sections are merged key by key, lists and single values are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import cast

import yaml

from lbproxy.config.units import parse_duration

NAMES = ("generic", "fusionauth", "keycloak", "keycloak-legacy", "wso2is", "curity")


@dataclass(frozen=True, slots=True)
class ProviderWords:
    """A provider's own names of settings, for advice in one line."""

    address: str
    forwarded: str
    health: str


@dataclass(frozen=True, slots=True)
class Profile:
    """One provider's preset.

    Args: title: the provider's name for a person; defaults: a pool's keys as YAML would hold them;
    node_idle_limit: seconds after which a node closes an idle connection, None if unknown;
    discovery: path of the OpenID configuration; doctor_hints: the settings that nodes need;
    options: the provider's own words for its public address, its trust in proxies, its health.
    """

    name: str
    title: str
    defaults: Mapping[str, object]
    node_idle_limit: float | None
    discovery: str
    doctor_hints: tuple[str, ...]
    options: ProviderWords


@cache
def load_profile(name: str) -> Profile:
    """Return the profile. Args: name: one of NAMES. Raises: KeyError."""
    if name not in NAMES:
        raise KeyError(name)
    text = resources.files(__name__).joinpath(f"{name}.yaml").read_text("utf-8")
    data = cast("dict[str, object]", yaml.safe_load(text))
    limit = data["node_idle_limit"]
    return Profile(
        name=name,
        title=str(data["title"]),
        defaults=cast("dict[str, object]", data["pool"]),
        node_idle_limit=None if limit is None else parse_duration(limit),
        discovery=str(data["discovery"]),
        doctor_hints=tuple(cast("list[str]", data["doctor_hints"])),
        options=ProviderWords(**cast("dict[str, str]", data["options"])),
    )


def with_defaults(
    defaults: Mapping[str, object], settings: Mapping[str, object]
) -> dict[str, object]:
    """Return the settings with the defaults below them, sections merged key by key."""
    merged = dict(defaults)
    for key, value in settings.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            merged[key] = with_defaults(default, value)
        else:
            merged[key] = value
    return merged
