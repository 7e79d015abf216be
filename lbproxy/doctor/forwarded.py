"""Checks of the provider's use of forwarded fields: redirects, discovery, forged fields."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from lbproxy.doctor.addresses import (
    absolute,
    is_address,
    is_internal,
    mismatch,
    place_of,
    without_query,
)
from lbproxy.doctor.door import Door, Origin, Reply
from lbproxy.doctor.facts import ProviderFacts
from lbproxy.doctor.results import CheckResult, Diagnosis, joined
from lbproxy.doctor.survey import DISAGREE, REDIRECTS, Survey, local_target, metadata_of

# What callers of these checks compare URLs by comes along with them.
__all__ = [
    "PLAIN",
    "check_discovery",
    "check_forged_fields",
    "check_redirects",
    "is_internal",
    "mismatch",
    "without_query",
]

PLAIN = "taken for plain http"  # key of findings
_BELIEVES = "believes what clients forge"
_FORGED_TIMES = 3


def check_redirects(door: Door, facts: ProviderFacts, found: Survey | None = None) -> CheckResult:
    """Open the start and login pages, follow once, compare every Location with the origin."""
    findings: list[Diagnosis] = []
    for page in ("/", *facts.pages):
        for reply in _followed(door, page):
            location = reply.first("location")
            if reply.status not in REDIRECTS or location is None:
                continue
            url = absolute(f"{door.origin}{reply.target}", location)
            wrong = mismatch(url, door.origin)
            if wrong is None and found is not None and place_of(url) in found.led:
                # Another site may be right, unless it comes from wrong metadata.
                wrong = None if _is_under(url, door.origin) else "leads to another origin"
            if wrong is not None:
                place = f"{reply.path} -> {without_query(url)}"
                what = f"a redirect {wrong}"
                findings.append(_wrong_address("redirects", what, place, url, door, facts, found))
    return CheckResult("redirects", joined(findings))


def _followed(door: Door, target: str) -> Iterator[Reply]:
    reply = door.get(target)
    yield reply
    onward = local_target(door, reply)
    if onward is not None:
        yield door.get(onward)


def check_discovery(door: Door, facts: ProviderFacts, found: Survey | None = None) -> CheckResult:
    """Compare the issuer and every endpoint with the origin."""
    documents = found.metadata if found is not None else ()
    if not documents:
        reply = door.get(facts.discovery, {"Accept": "application/json"})
        metadata = metadata_of(reply)
        if metadata is None:
            why = f"{facts.discovery} answered {reply.status}, no JSON"
            return CheckResult("discovery", skipped=why)
        documents = (metadata,)
    findings = []
    # What only some nodes say is told with them, once.
    settled = {
        name: value
        for name, value in documents[0].items()
        if all(each.get(name) == value for each in documents)
    }
    for name, value in settled.items():
        if not is_address(name, value) or _is_under(str(value), door.origin):
            continue
        url = str(value)
        wrong = mismatch(url, door.origin) or "is under another origin"
        place = f"{name} in {facts.discovery}: {without_query(url)}"
        what = f"{name} {wrong}"
        findings.append(_wrong_address("discovery", what, place, url, door, facts, found))
    return CheckResult("discovery", joined(findings))


def _wrong_address(
    check: str,
    what: str,
    place: str,
    url: str,
    door: Door,
    facts: ProviderFacts,
    found: Survey | None,
) -> Diagnosis:
    """Return the finding for one wrong URL; those of one cause have one key."""
    where = place_of(url)
    options = facts.options
    plain = (
        where is not None
        and (where[0], where[1]) == ("http", door.origin.host)
        and door.origin.scheme == "https"
    )
    if found is not None and where in found.disputed:
        key, cause = DISAGREE, "some nodes are set up differently from the others"
        remedy = f"{facts.title}: give every node the same {options.address}"
    elif plain:
        key, cause = PLAIN, "the provider takes the connection for plain http"
        remedy = (
            "send it X-Forwarded-Proto, -Host and -Port, and make it believe them; "
            f"{facts.title}: {options.forwarded}, or {options.address}"
        )
    else:
        key, cause = f"address {where}", "built from another host or port than clients use"
        remedy = (
            f"{facts.title}: set {options.address} to {door.origin}; keep Host, and send "
            "X-Forwarded-Port as digits"
        )
    return Diagnosis(check, what, place, cause, remedy, key=key)


def _is_under(url: str, origin: Origin) -> bool:
    return url == str(origin) or url.startswith(f"{origin}/")


def check_forged_fields(
    door: Door, facts: ProviderFacts, found: Survey | None = None
) -> CheckResult:
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
    for target in dict.fromkeys((facts.discovery, "/", *facts.pages)):
        replies = [door.get(target, forged) for _ in range(_FORGED_TIMES)]
        if any(_holds(marker, reply) for reply in replies):
            what = "a host name that a client makes up comes back"
        elif target == facts.discovery and _changes_issuer(door, target, replies, found):
            what = "a client changes the issuer by a forwarded field"
        else:
            continue
        findings.append(
            Diagnosis(
                "forged fields",
                what,
                f"{target} with X-Forwarded-Host: {marker}",
                "the proxy passes a client's forwarded fields on: links in mails and issuers can "
                "be poisoned",
                "remove every X-Forwarded-* and Forwarded field of clients that are no trusted "
                "proxies, and set them anew",
                key=_BELIEVES,
            )
        )
    return CheckResult("forged fields", joined(findings))


def _holds(marker: str, reply: Reply) -> bool:
    return marker.encode() in reply.body or marker in (reply.first("location") or "")


def _changes_issuer(door: Door, target: str, replies: list[Reply], found: Survey | None) -> bool:
    """True if forged fields bring an issuer that nothing else brings."""
    # Ask as often without them: nodes that disagree change the issuer by themselves.
    honest: set[str | None] = {_issuer(door.get(target)) for _ in range(_FORGED_TIMES)}
    if found is not None:
        honest |= found.issuers
    honest -= {None}
    told = {_issuer(reply) for reply in replies} - {None}
    return bool(honest and told - honest)


def _issuer(reply: Reply) -> str | None:
    issuer = (metadata_of(reply) or {}).get("issuer")
    return None if issuer is None else str(issuer)
