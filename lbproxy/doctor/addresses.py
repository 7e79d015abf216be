"""Absolute URLs that a provider makes: can clients follow them, and to which place?"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

from lbproxy.doctor.door import DEFAULT_PORTS, Origin

_INTERNAL_SUFFIXES = (".local", ".internal", ".svc", ".cluster.local", ".lan", ".localdomain")

Place = tuple[str, str, int]  # scheme, host, port


def mismatch(url: str, origin: Origin) -> str | None:
    """Return how an absolute URL differs from the origin that clients use, None if it is fine.

    A redirect to another public site is fine; to plain http, to another port of the same host or
    to an address that clients cannot reach is not.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is no valid URL"
    if parts.scheme not in DEFAULT_PORTS:
        return None
    if host != origin.host:
        # If the origin is internal itself, only a step down to http shows an error.
        wrong = is_internal(host) and (
            not is_internal(origin.host) or parts.scheme != origin.scheme
        )
        return "names an internal host" if wrong else None
    if parts.scheme != origin.scheme:
        return f"is {parts.scheme}, not {origin.scheme}"
    if (port or DEFAULT_PORTS[parts.scheme]) != origin.port:
        return f"has port {port or DEFAULT_PORTS[parts.scheme]}, not {origin.port}"
    if port is not None and port == DEFAULT_PORTS[parts.scheme]:
        return f"spells out the default port :{port}"
    return None


def is_internal(host: str) -> bool:
    """True for names and addresses that only a private network knows."""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_INTERNAL_SUFFIXES)


def without_query(url: str) -> str:
    """Return a URL without its secret parts, even if it is no valid one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        scheme, _, rest = re.split("[?#]", url)[0].rpartition("//")
        return f"{scheme}//{rest.rpartition('@')[2]}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def absolute(base: str, reference: str) -> str:
    """Return the URL that a reference leads to; a reference that is no URL stays as it is."""
    try:
        return urljoin(base, reference)
    except ValueError:
        return reference


def path_of(url: object) -> str:
    """Return the path of a URL, empty if it has none or is no URL."""
    try:
        return urlsplit(str(url)).path
    except ValueError:
        return ""


def is_address(name: str, value: object) -> bool:
    """True if a value of the metadata is an address of the provider itself."""
    named = name in ("issuer", "jwks_uri") or name.endswith("_endpoint")
    return named and isinstance(value, str)


def place_of(url: object) -> Place | None:
    """Return the origin of an absolute URL, None for any other text."""
    try:
        parts = urlsplit(str(url))
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None
