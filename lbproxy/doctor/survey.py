"""The same questions several times, nothing forged: is anybody there, and do the nodes agree?

Answers that differ by themselves must not be blamed on the forged fields of a later check. Each
request goes on a connection of its own, so that a balancer may choose again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from lbproxy.doctor.addresses import Place, is_address, place_of, without_query
from lbproxy.doctor.door import Door, DoorError, Reply
from lbproxy.doctor.facts import ProviderFacts
from lbproxy.doctor.results import CheckResult, Diagnosis

# With two nodes, chosen at random, both answer in 99 of 100 surveys.
TIMES_METADATA = 8
TIMES_PAGE = 4
REDIRECTS = frozenset({301, 302, 303, 307, 308})
DISAGREE = "nodes disagree"  # key of findings

# Answers of a door that leads nowhere: no such page, not this host, not for you, a dead node.
_NOWHERE = frozenset({400, 403, 404, 410, 421})
_TOO_MANY = 429
_MAX_HOPS = 3


@dataclass(frozen=True, slots=True)
class Survey:
    """The answers.

    Args: metadata: the documents in the discovery answers; statuses: of each target, with their
    number; ends: the last status of each way, after redirects on the same origin; errors: why there
    was no answer.
    """

    metadata: tuple[Mapping[str, object], ...] = ()
    statuses: Mapping[str, Counter[int]] = field(default_factory=dict)
    ends: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def nothing_but(self) -> str | None:
        """Return the statuses of a door that serves nobody, None if it serves somebody."""
        if any(status not in _NOWHERE and status < 500 for status in self.ends):
            return None
        return " and ".join([*map(str, sorted(self.ends)), *sorted(self.errors)]) or None

    @property
    def issuers(self) -> frozenset[str]:
        """Every issuer in the metadata."""
        return frozenset(str(each.get("issuer")) for each in self.metadata)

    def values(self, name: str) -> Counter[str]:
        """Return the values of one name, and how often each came."""
        told = [str(each.get(name)) for each in self.metadata]
        return Counter(without_query(each) if is_address(name, each) else each for each in told)

    @property
    def led(self) -> frozenset[Place]:
        """The origins of the addresses in the metadata."""
        return frozenset(place for each in self.metadata for place in _led(each))

    @property
    def disputed(self) -> frozenset[Place]:
        """The origins of addresses that only some of the answers have."""
        every = [_led(each) for each in self.metadata]
        return frozenset(place for place in self.led if not all(place in each for each in every))


def survey(door: Door, facts: ProviderFacts) -> Survey:
    """Ask for the metadata and the pages of browsers, each several times. Raises: nothing."""
    metadata: list[Mapping[str, object]] = []
    statuses: dict[str, Counter[int]] = {}
    ends: Counter[int] = Counter()
    errors: Counter[str] = Counter()
    for target in dict.fromkeys((facts.discovery, "/", *facts.pages)):
        counted = statuses.setdefault(target, Counter())
        for _ in range(TIMES_METADATA if target == facts.discovery else TIMES_PAGE):
            try:
                reply = door.get(target)
                end = _end(door, reply)
            except DoorError as error:
                errors[str(error)] += 1
                if sum(errors.values()) > TIMES_PAGE and not ends:
                    break  # each may have taken its whole time
                continue
            counted[reply.status] += 1
            ends[end] += 1
            if target == facts.discovery and (document := metadata_of(reply)) is not None:
                metadata.append(document)
    return Survey(tuple(metadata), statuses, ends, errors)


def metadata_of(reply: Reply) -> dict[str, object] | None:
    """Return the provider's metadata, None if the answer is something else."""
    document = reply.json() if reply.status == 200 else None
    return document if document is not None and "issuer" in document else None


def _led(metadata: Mapping[str, object]) -> set[Place]:
    addresses = [value for name, value in metadata.items() if is_address(name, value)]
    return {place for place in map(place_of, addresses) if place is not None}


def local_target(door: Door, reply: Reply) -> str | None:
    """Return the target that a redirect leads to on the same host, None if it leads away."""
    location = reply.first("location")
    if reply.status not in REDIRECTS or location is None:
        return None
    try:
        parts = urlsplit(urljoin(f"{door.origin}{reply.target}", location))
    except ValueError:
        return None
    if parts.hostname != door.origin.host or not parts.path.startswith("/"):
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _end(door: Door, reply: Reply) -> int:
    """Return the status in which a way ends. Raises: DoorError."""
    for _ in range(_MAX_HOPS):
        target = local_target(door, reply)
        if target is None:
            break
        reply = door.get(target)
    return reply.status


def check_reach(found: Survey, door: Door) -> CheckResult:
    """Report first the fault beside which no other matters: the door serves nobody."""
    only = found.nothing_but
    if only is None:
        return CheckResult("reach")
    every = [status for status in found.ends if status >= 500]
    if every or not found.ends:
        cause = "no node is up, all are drained, or the proxy cannot reach them"
        remedy = "look at the nodes and at the proxy's log (lbproxy: `lbproxy nodes`)"
    else:
        cause = (
            "the proxy does not pass the client's Host on, has no route for this host, or "
            "the provider is somewhere else"
        )
        remedy = (
            f"send Host: {door.origin.authority} to the provider, route this host to it; "
            "name its metadata by --discovery where it has a place of its own"
        )
    places = tuple(
        f"{target} {' and '.join(map(str, sorted(counted)))}"
        for target, counted in found.statuses.items()
        if counted
    )
    evidence = places[0] if places else ", ".join(found.errors)
    finding = Diagnosis("reach", f"nothing but {only} comes back", evidence, cause, remedy)
    return CheckResult("reach", (finding.also_at(places),))


def check_agreement(found: Survey, facts: ProviderFacts) -> CheckResult:
    """Compare the answers to one question with each other."""
    findings = [*_different_metadata(found, facts), *_different_statuses(found)]
    return CheckResult("nodes", tuple(findings))


def _different_metadata(found: Survey, facts: ProviderFacts) -> Iterable[Diagnosis]:
    names = dict.fromkeys(name for each in found.metadata for name in each)
    places = []
    for name in names:
        counted = found.values(name)
        if len(counted) > 1 and any(is_address(name, each.get(name)) for each in found.metadata):
            places.append(f"{name}: {_told(counted)}")
    if places:
        what = "nodes disagree: the same question gets several answers"
        cause = "the nodes are set up differently: what one of them takes for its public address"
        remedy = f"give every node the same {facts.options.address}, of {facts.title}"
        yield Diagnosis(
            "nodes", what, places[0], cause, remedy, key=DISAGREE, places=tuple(places)
        ).also_at(())


def _different_statuses(found: Survey) -> Iterable[Diagnosis]:
    places = []
    for target, counted in found.statuses.items():
        if len([status for status in counted if status != _TOO_MANY]) > 1:
            places.append(f"{target}: {_told(counted)}")
    lost = found.errors.total() if found.ends else 0
    if lost:
        places.append(f"no answer: {', '.join(found.errors)} ({lost} times)")
    if places:
        finding = Diagnosis(
            "nodes",
            "nodes disagree: the same page comes at one time and not at another",
            places[0],
            "a node is down, starting or set up differently, and the proxy still sends to it",
            "take it out until it answers (lbproxy: `health` of the pool, `lbproxy nodes`)",
        )
        yield finding.also_at(places)


def _told(counted: Counter[str] | Counter[int]) -> str:
    """Return the values, and how often each came."""
    every = counted.total()
    return ", ".join(f"{what} ({times} of {every})" for what, times in sorted(counted.items()))
