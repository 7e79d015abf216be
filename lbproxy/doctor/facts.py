"""The paths of each identity provider: discovery, login pages, those that must stay hidden.

Discovery, hidden paths and hints come from the profiles (`lbproxy.config.profiles`), so that the
doctor expects what lbproxy would do. This module adds only what a proxy does not need to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from lbproxy.config.profiles import NAMES, ProviderWords, load_profile

# Paths that a proxy or its exporter shows by default; no identity provider needs them in public.
_ANYWHERE = ("/metrics", "/livez", "/readyz", "/api/v1/nodes")


@dataclass(frozen=True, slots=True)
class _Extra:
    """Additions to a profile. Args: as in ProviderFacts; hidden: beside the profile's."""

    pages: tuple[str, ...] = ()
    observability: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


_EXTRAS: Mapping[str, _Extra] = {
    "keycloak": _Extra(("/realms/master/account/",), ("/health", "/health/ready", "/metrics")),
    "keycloak-legacy": _Extra(
        ("/auth/realms/master/account/",),
        ("/health", "/auth/metrics", "/auth/realms/master/metrics"),
    ),
    "wso2is": _Extra(
        ("/authenticationendpoint/", "/myaccount"), ("/api/health-check/v1.0/health",)
    ),
    "curity": _Extra(("/authn/authentication",), ("/serving", "/status"), ("/admin",)),
    "fusionauth": _Extra(
        ("/oauth2/authorize", "/account/"),
        ("/api/status", "/api/health", "/api/prometheus/metrics"),
    ),
    "generic": _Extra((), ("/health", "/api/status")),
}


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """One provider.

    Args: discovery: path of the metadata; pages: those that a browser opens; hidden: prefixes that
    nobody outside may reach; observability: health and metrics; tenants: prefixes that lead to the
    same pages; hints: what to set at the provider; options: its own words for that.
    """

    name: str
    title: str
    discovery: str
    pages: tuple[str, ...]
    hidden: tuple[str, ...]
    observability: tuple[str, ...]
    tenants: tuple[str, ...]
    hints: tuple[str, ...]
    options: ProviderWords


def facts_of(name: str) -> ProviderFacts:
    """Return the facts about a profile's provider. Args: name: one of NAMES."""
    profile, extra = load_profile(name), _EXTRAS[name]
    hide = cast("list[str]", profile.defaults.get("hide", []))
    prefixes = cast("list[str]", profile.defaults.get("tenant_prefixes", []))
    tenants = [prefix.replace("*", "x") for prefix in prefixes]
    observability = tuple(dict.fromkeys((*extra.observability, *_ANYWHERE)))
    return ProviderFacts(
        name=name,
        title=profile.title,
        discovery=profile.discovery,
        pages=extra.pages,
        hidden=tuple(path for path in (*hide, *extra.hidden) if path not in observability),
        observability=observability,
        tenants=(*tenants, "".join(tenants[:2])) if len(tenants) > 1 else tuple(tenants),
        hints=profile.doctor_hints,
        options=profile.options,
    )


PROFILES = {name: facts_of(name) for name in NAMES}

# The discovery document that answers tells the provider. Everybody has the one at the root.
DETECTABLE = tuple(
    facts for facts in PROFILES.values() if facts.discovery != PROFILES["generic"].discovery
)
