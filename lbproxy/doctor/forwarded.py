"""Checks of what the provider makes of the forwarded fields: redirects, discovery, forged ones."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

from lbproxy.doctor.door import DEFAULT_PORTS, Door, Origin, Reply
from lbproxy.doctor.facts import Facts
from lbproxy.doctor.findings import Finding, Outcome

_INTERNAL_SUFFIXES = (".local", ".internal", ".svc", ".cluster.local", ".lan", ".localdomain")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


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
        # Where the origin is internal itself, only a step down to http shows that it is wrong.
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
    """Return a URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def check_redirects(door: Door, facts: Facts) -> Outcome:
    """Open the start and login pages, follow once, compare every Location with the origin."""
    findings: dict[str, Finding] = {}
    for page in ("/", *facts.pages):
        for reply in _followed(door, page):
            location = reply.first("location")
            if reply.status not in _REDIRECTS or location is None:
                continue
            url = urljoin(f"{door.origin}{reply.target}", location)
            wrong = mismatch(url, door.origin)
            if wrong is not None and wrong not in findings:
                findings[wrong] = Finding(
                    "redirects",
                    f"a redirect {wrong}",
                    f"{reply.path} -> {without_query(url)}",
                    "the provider is not told X-Forwarded-Proto, -Host and -Port, or does not "
                    "believe them",
                    f"send them; what {facts.title} needs itself is in the hints",
                )
    return Outcome("redirects", tuple(findings.values()))


def _followed(door: Door, target: str) -> Iterator[Reply]:
    reply = door.get(target)
    yield reply
    location = reply.first("location")
    if reply.status in _REDIRECTS and location is not None:
        parts = urlsplit(urljoin(f"{door.origin}{target}", location))
        if parts.hostname == door.origin.host and parts.path.startswith("/"):
            yield door.get(parts.path + (f"?{parts.query}" if parts.query else ""))


def check_discovery(door: Door, facts: Facts) -> Outcome:
    """Compare the issuer and every endpoint with the origin."""
    reply = door.get(facts.discovery, {"Accept": "application/json"})
    metadata = reply.json() if reply.status == 200 else None
    if metadata is None:
        return Outcome("discovery", skipped=f"{facts.discovery} answered {reply.status}, no JSON")
    findings = []
    for name, value in metadata.items():
        if name != "issuer" and name != "jwks_uri" and not name.endswith("_endpoint"):
            continue
        if not isinstance(value, str) or _is_under(value, door.origin):
            continue
        wrong = mismatch(value, door.origin) or "is under another origin"
        findings.append(
            Finding(
                "discovery",
                f"{name} {wrong}",
                f"{facts.discovery}: {without_query(value)}",
                "built from the wrong scheme, host or port: tokens will be refused",
                f"keep Host, send X-Forwarded-Port as digits; {facts.title}: see the hints",
            )
        )
    return Outcome("discovery", tuple(findings))


def _is_under(url: str, origin: Origin) -> bool:
    return url == str(origin) or url.startswith(f"{origin}/")


def check_forged_fields(door: Door, facts: Facts) -> Outcome:
    """Send forwarded fields as an attacker would; nothing of them may come back."""
    marker = f"doctor-{secrets.token_hex(4)}.invalid"
    forged = {
        "X-Forwarded-Host": marker,
        "X_Forwarded_Host": marker,
        "X-Forwarded-Server": marker,
        "X-Forwarded-Proto": "http" if door.origin.scheme == "https" else "https",
        "X-Forwarded-Port": "1",
        "Forwarded": f"host={marker};proto=http",
        "X-Original-Host": marker,
        "X-Host": marker,
    }
    findings = []
    for target in (facts.discovery, "/", *facts.pages):
        plain, reply = door.get(target), door.get(target, forged)
        location = reply.first("location") or ""
        if marker.encode() in reply.body or marker in location:
            what = "a host name that a client makes up comes back"
        elif target == facts.discovery and _issuer(plain) != _issuer(reply):
            what = "a client changes the issuer by a forwarded field"
        else:
            continue
        findings.append(
            Finding(
                "forged fields",
                what,
                f"{target} with X-Forwarded-Host: {marker}",
                "the proxy passes a client's forwarded fields on: links in mails and issuers can "
                "be poisoned",
                "remove every X-Forwarded-* and Forwarded field of clients that are no trusted "
                "proxies, and set them anew",
            )
        )
    return Outcome("forged fields", tuple(findings))


def _issuer(reply: Reply) -> object:
    return (reply.json() or {}).get("issuer")
