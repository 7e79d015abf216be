"""Every check of one front door, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlsplit

from lbproxy.doctor.door import Door, DoorError, Origin
from lbproxy.doctor.exposure import (
    check_hidden_paths,
    check_observability,
    check_plain_listener,
)
from lbproxy.doctor.facts import DETECTABLE, PROFILES, Facts
from lbproxy.doctor.findings import Finding, Outcome, Report
from lbproxy.doctor.forwarded import check_discovery, check_forged_fields, check_redirects
from lbproxy.doctor.transport import check_certificate, check_cookies, check_hsts


@dataclass(frozen=True, slots=True)
class Options:
    """How to examine.

    Args: profile: None to find it out; discovery: None for the profile's; ca: PEM file; insecure:
    the certificate's issuer and name are not checked; http_port: where the plain listener may be.
    """

    profile: str | None = None
    discovery: str | None = None
    ca: str | None = None
    insecure: bool = False
    http_port: int = 80
    timeout_s: float = 5.0


def examine(origin: Origin, options: Options, now: datetime) -> Report:
    """Return what every check says. Never raises for what the other side does."""
    door = Door(origin, options.ca, options.timeout_s)
    try:
        door = _secure_door(door)
        facts = PROFILES[options.profile] if options.profile is not None else detect(door)
    except DoorError as error:
        unreachable = Finding(
            "reach",
            f"{origin} cannot be reached",
            str(error),
            "nothing listens there, a firewall, or the wrong address",
            "check the address, and that the proxy runs",
        )
        return Report(str(origin), options.profile or "", (Outcome("reach", (unreachable,)),))
    if options.discovery is not None:
        facts = replace(facts, discovery=options.discovery)
    checks: list[tuple[str, Callable[[], Outcome]]] = [
        ("redirects", lambda: check_redirects(door, facts)),
        ("discovery", lambda: check_discovery(door, facts)),
        ("forged fields", lambda: check_forged_fields(door, facts)),
        ("hidden paths", lambda: check_hidden_paths(door, facts)),
        ("health and metrics", lambda: check_observability(door, facts)),
        ("http listener", lambda: check_plain_listener(door, options.http_port)),
        ("cookies", lambda: check_cookies(door)),
        ("certificate", lambda: check_certificate(door, insecure=options.insecure, now=now)),
        ("HSTS", lambda: check_hsts(door)),
    ]
    outcomes = []
    for name, check in checks:
        try:
            outcomes.append(check())
        except DoorError as error:
            outcomes.append(Outcome(name, skipped=f"no answer: {error}"))
    return Report(str(door.origin), facts.name, tuple(outcomes), facts.hints)


def detect(door: Door) -> Facts:
    """Return the provider whose discovery document answers, generic if none's does."""
    for facts in DETECTABLE:
        reply = door.get(facts.discovery)
        if reply.status == 200 and "issuer" in (reply.json() or {}):
            return facts
    return PROFILES["generic"]


def _secure_door(door: Door) -> Door:
    """Return the https door that an http address leads to, else the same one."""
    location = door.get("/").first("location") or ""
    if door.origin.scheme == "http" and urlsplit(location).scheme == "https":
        try:
            origin = Origin.parse(location)
        except ValueError:
            return door
        if origin.host == door.origin.host:
            return Door(origin, door.ca, door.timeout_s)
    return door
