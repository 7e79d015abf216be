"""Checks that some things cannot be reached: hidden paths, health and metrics, the plain
listener."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

from lbproxy.doctor.addresses import without_query
from lbproxy.doctor.door import DEFAULT_PORTS, Door, DoorError, Origin
from lbproxy.doctor.facts import ProviderFacts
from lbproxy.doctor.results import CheckResult, Diagnosis

_CLOSED = frozenset({400, 403, 404})
MAX_NAMED = 4  # spellings shown in one finding


def spellings(prefix: str, tenants: tuple[str, ...]) -> Iterator[str]:
    """Yield ways to write a path that some server reads as `prefix`."""
    bare = prefix[1:]
    yield from (prefix, f"{prefix}/", f"//{bare}/", f"/%2f{bare}/", f"/.{prefix}/")
    yield from (f"/x/..{prefix}/", f"/x/%2e%2e{prefix}/", f"/;x=1{prefix}/", f"{prefix};x=1/")
    yield f"/%{ord(bare[0]):02x}{bare[1:]}/"
    yield f"{prefix.upper()}/"
    for tenant in tenants:
        yield from (f"{tenant}{prefix}/", f"/{tenant}{prefix}/", f"{tenant};x=1{prefix}/")


def check_hidden_paths(door: Door, facts: ProviderFacts) -> CheckResult:
    """Ask for paths that must stay inside, in every spelling; only 400, 403 and 404 are right."""
    if not facts.hidden:
        return CheckResult("hidden paths", skipped=f"profile {facts.name} names none")
    # A door that answers everything alike proves nothing. The reader should know.
    unknown = door.get(f"/doctor-{secrets.token_hex(4)}").status
    if unknown >= 500:
        return CheckResult("hidden paths", skipped=f"any path gets {unknown}: nothing can be told")
    note = "" if unknown in _CLOSED else f" (an unknown path gets {unknown})"
    findings = []
    for prefix in facts.hidden:
        open_ = []
        for target in spellings(prefix, facts.tenants):
            try:
                status = door.get(target).status
            except DoorError:  # the connection was cut: refused is refused
                continue
            if status not in _CLOSED:
                open_.append(f"{target} {status}")
        if open_:
            more = f" and {len(open_) - MAX_NAMED} more" if len(open_) > MAX_NAMED else ""
            findings.append(
                Diagnosis(
                    "hidden paths",
                    f"{prefix} is reachable from outside",
                    ", ".join(open_[:MAX_NAMED]) + more + note,
                    "no rule for it at the proxy, or one that another spelling gets around",
                    f"answer 404 for {prefix} in every reading of the path (lbproxy: `hide` or the "
                    f"profile {facts.name})",
                    places=tuple(open_) if len(open_) > 1 else (),
                )
            )
    return CheckResult("hidden paths", tuple(findings))


def check_observability(door: Door, facts: ProviderFacts) -> CheckResult:
    """Ask for health and metrics; an answer in public is a finding."""
    findings = []
    unknown = door.get(f"/doctor-{secrets.token_hex(4)}").status
    for path in dict.fromkeys(facts.observability):
        reply = door.get(path)
        if reply.status == unknown == 503:  # every path gets this answer
            continue
        kind = reply.first("content-type") or ""
        # Pages of the application itself are no health answer, and neither is a redirect to one.
        if reply.status not in (200, 503) or kind.startswith("text/html"):
            continue
        findings.append(
            Diagnosis(
                "health and metrics",
                f"{path} answers in public",
                f"{path} {reply.status} {kind.partition(';')[0]}",
                "health or metrics on the public port, or passed on by the proxy",
                f"move it to a management port, and answer 404 for {path} at the proxy",
            )
        )
    return CheckResult("health and metrics", tuple(findings))


def check_plain_listener(door: Door, http_port: int) -> CheckResult:
    """The http port may be closed, or redirect to the same path over https; nothing else."""
    if door.origin.scheme != "https":
        return CheckResult("http listener", skipped="the address itself is http")
    host = door.origin.host
    if door.pins.names(host) and not door.pins.pinned(host, http_port):
        # Today's listener says nothing about the future one.
        why = f"--resolve says nothing of port {http_port}: add {host}:{http_port}:ADDRESS"
        return CheckResult("http listener", skipped=why)
    plain = door.at(Origin("http", host, http_port))
    target = "/doctor/path?x=1"
    try:
        reply = plain.get(target)
    except DoorError as error:
        return CheckResult("http listener", skipped=f"port {http_port}: {error}")
    door.replies.extend(plain.replies)
    location = reply.first("location") or ""
    if reply.status not in (301, 302, 307, 308):
        what, evidence = "the http port serves content", f"{plain.origin}/ {reply.status}"
    elif _leads_to(location, door.origin, target):
        return CheckResult("http listener")
    else:
        what = "the http port redirects elsewhere than to the same path over https"
        evidence = f"{plain.origin}{reply.path} -> {without_query(location)}"
    finding = Diagnosis(
        "http listener",
        what,
        evidence,
        "no redirect configured there, or one that forgets port, path or query",
        "answer 308 to the https address (lbproxy: `redirect_to` at the listener)",
    )
    return CheckResult("http listener", (finding,))


def _leads_to(location: str, origin: Origin, target: str) -> bool:
    try:
        parts = urlsplit(location)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return False
    there = f"{parts.path}?{parts.query}"
    return (parts.scheme, parts.hostname, port, there) == (
        "https",
        origin.host,
        origin.port,
        target,
    )
