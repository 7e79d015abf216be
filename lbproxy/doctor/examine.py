"""Every check of one front door, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from lbproxy.doctor.believed import NAME as PROXY_HEADERS
from lbproxy.doctor.believed import PROVIDERS, check_believed
from lbproxy.doctor.door import Door, DoorError, Origin, Reply
from lbproxy.doctor.exposure import (
    check_hidden_paths,
    check_observability,
    check_plain_listener,
)
from lbproxy.doctor.facts import DETECTABLE, PROFILES, ProviderFacts
from lbproxy.doctor.forwarded import check_discovery, check_forged_fields, check_redirects
from lbproxy.doctor.resolve import NO_PINS, Pins
from lbproxy.doctor.results import CheckResult, Diagnosis, Examination, one_cause_once
from lbproxy.doctor.survey import Survey, check_agreement, check_reach, metadata_of, survey
from lbproxy.doctor.transport import check_certificate, check_cookies, check_hsts

_ATTEMPTS = 3  # of a question whose answer was a failure: one node of several may be down


@dataclass(frozen=True, slots=True)
class Options:
    """How to examine.

    Args: profile: None to find it out; discovery: None for the profile's; ca: PEM file; insecure:
    the certificate's issuer and name are not checked; http_port: of the plain listener, if there is
    one; page: one more that a browser opens; pins: addresses of names, instead of those in DNS.
    """

    profile: str | None = None
    discovery: str | None = None
    ca: str | None = None
    insecure: bool = False
    http_port: int = 80
    timeout_s: float = 5.0
    page: str | None = None
    pins: Pins = NO_PINS


def examine(origin: Origin, options: Options, now: datetime) -> Examination:
    """Return the result of every check. Never raises for anything that the other side does."""
    door = Door(origin, options.ca, options.timeout_s, pins=options.pins)
    try:
        _check_pinned(door)
        door = _secure_door(door)
        _check_pinned(door)
        known = PROFILES[options.profile] if options.profile is not None else detect(door)
    except DoorError as error:
        nobody = (_unreachable(door.origin, error),)
        name = options.profile or ""
        return Examination(str(door.origin), name, nobody, addresses=_addresses(door))
    facts = known if known is not None else PROFILES["generic"]
    if options.discovery is not None:
        facts = replace(facts, discovery=options.discovery)
    if options.page is not None and options.page != "/":
        facts = replace(facts, pages=tuple(dict.fromkeys((*facts.pages, options.page))))
    found = survey(door, facts)
    reach = check_reach(found, door)
    outcomes = [reach]
    for name, check in _checks(door, facts, found, options, now):
        if reach.findings and name not in _WITHOUT_NODES:
            outcomes.append(
                CheckResult(name, skipped=f"nothing but {found.nothing_but} comes back")
            )
            continue
        try:
            outcomes.append(check())
        except DoorError as error:
            outcomes.append(CheckResult(name, skipped=f"no answer: {error}"))
    hints = () if reach.findings else facts.hints  # they do not help a dead door
    return Examination(
        str(door.origin), facts.name, one_cause_once(outcomes), hints, _addresses(door)
    )


# Checks of the proxy alone: they make sense even if no node answers.
_WITHOUT_NODES = frozenset({"http listener", "certificate"})


def _checks(
    door: Door, facts: ProviderFacts, found: Survey, options: Options, now: datetime
) -> list[tuple[str, Callable[[], CheckResult]]]:
    believed: list[tuple[str, Callable[[], CheckResult]]] = []
    if facts.name in PROVIDERS:
        believed.append((PROXY_HEADERS, lambda: check_believed(door, facts, found)))
    return [
        ("provider", lambda: check_provider(facts, found, options)),
        ("nodes", lambda: check_agreement(found, facts)),
        ("redirects", lambda: check_redirects(door, facts, found)),
        ("discovery", lambda: check_discovery(door, facts, found)),
        *believed,
        ("forged fields", lambda: check_forged_fields(door, facts, found)),
        ("hidden paths", lambda: check_hidden_paths(door, facts)),
        ("health and metrics", lambda: check_observability(door, facts)),
        ("http listener", lambda: check_plain_listener(door, options.http_port)),
        ("cookies", lambda: check_cookies(door, facts)),
        ("certificate", lambda: check_certificate(door, insecure=options.insecure, now=now)),
        ("HSTS", lambda: check_hsts(door)),
    ]


def check_provider(facts: ProviderFacts, found: Survey, options: Options) -> CheckResult:
    """Say if the provider is unknown, or if its metadata cannot be had."""
    counted = found.statuses.get(facts.discovery, Counter())
    answered = " and ".join(map(str, sorted(counted))) or "no answer"
    if found.metadata:
        return CheckResult("provider")
    if any(status >= 500 for status in counted):
        return _no_metadata(
            f"{facts.discovery} answers {answered}",
            facts.discovery,
            f"{facts.title} does not serve, or not for this host",
            "look at the log of a node; ask it for the same page without the proxy",
        )
    if options.discovery is not None:
        return _no_metadata(
            f"there is no metadata document at {facts.discovery}",
            f"{facts.discovery} {answered}",
            "another realm, tenant or path, or a rule at the proxy that hides it",
            "give --discovery the path that a node itself answers",
        )
    if options.profile is None:
        asked = (*(each.discovery for each in DETECTABLE), facts.discovery)
        return _no_metadata(
            "the identity provider is unknown: half of the checks cannot be done",
            f"no metadata document at {', '.join(asked)}",
            "another realm or path, no identity provider behind this door, or a rule that hides it",
            "name it by --profile, and its metadata document by --discovery PATH",
        )
    why = f"no metadata at {facts.discovery} ({answered}): name the document by --discovery"
    return CheckResult("provider", skipped=why)


def _no_metadata(what: str, evidence: str, cause: str, remedy: str) -> CheckResult:
    return CheckResult("provider", (Diagnosis("provider", what, evidence, cause, remedy),))


def detect(door: Door) -> ProviderFacts | None:
    """Return the provider whose discovery document answers, or should answer: by a failure, while
    those of others are not found. None if there is none.

    Raises: DoorError if nobody ever answers.
    """
    failed: list[ProviderFacts] = []
    candidates = (*DETECTABLE, PROFILES["generic"])
    for facts in candidates:
        reply = _ask_again(door, facts.discovery)
        if metadata_of(reply) is not None:
            return facts
        if reply.status >= 500:
            failed.append(facts)
    return failed[0] if failed and len(failed) < len(candidates) else None


def _ask_again(door: Door, target: str) -> Reply:
    """Return the first answer that is no failure, or the last one. Raises: DoorError."""
    for left in range(_ATTEMPTS - 1, -1, -1):
        try:
            reply = door.get(target)
        except DoorError:
            if not left:
                raise
            continue
        if reply.status < 500 or not left:
            break
    return reply


def _addresses(door: Door) -> tuple[str, ...]:
    """Return the addresses of the door if they do not come from DNS."""
    host, port = door.origin.host, door.origin.port
    return door.pins.addresses(host, port) if door.pins.pinned(host, port) else ()


def _unreachable(origin: Origin, error: DoorError) -> CheckResult:
    cause = "nothing listens there, a firewall, or the wrong address"
    remedy = "check the address, and that the proxy runs"
    if error.misunderstood:
        other = "http" if origin.scheme == "https" else "https"
        cause = f"this port speaks {other}, or waits for what a balancer sends (PROXY protocol)"
        remedy = f"check scheme and port: is it {replace(origin, scheme=other)}?"
    finding = Diagnosis("reach", f"{origin} cannot be reached", str(error), cause, remedy)
    return CheckResult("reach", (finding,))


def _check_pinned(door: Door) -> None:
    """Raises: DoorError if --resolve leaves out the port at hand: today's door would be examined
    in place of the one that is to come."""
    host, port = door.origin.host, door.origin.port
    if door.pins.names(host) and not door.pins.pinned(host, port):
        raise DoorError(f"--resolve says nothing of port {port}: add {host}:{port}:ADDRESS")


def _secure_door(door: Door) -> Door:
    """Return the https door that an http address leads to, else the same one.

    Raises: DoorError if nobody answers.
    """
    location = _ask_again(door, "/").first("location") or ""
    if door.origin.scheme == "http" and location.lower().startswith("https:"):
        try:
            origin = Origin.parse(location)
        except ValueError:
            return door
        if origin.host == door.origin.host:
            return door.at(origin)
    return door
