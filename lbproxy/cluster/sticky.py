"""Finding the owner of a session, step by step.

Theory of operation. A pool's `sticky.by` names steps; each looks at what the client sent and may
name an owner. The first step whose owner takes owned sessions wins. If none does, the balancer
chooses, and the verdict says why: the owner is known but gone or stopped (failover), a route was
sent that nobody writes (unknown_route), or there is no session yet (new).

Routes. At each dot of a value, from the left, take all that follows it, then what follows up to the
next dot; the first that names a route of the pool, of a node that can take the request, wins.
Routes may hold dots themselves (so the remainder comes first), signed values hold several, and
ranked routes (`id.n1.n2.n3`) are to be tried in their order. A route is compared whole: `node1` is
not in `id.xnode1`.

Applications. If nodes announce what they serve, a node is an owner only for the paths that it
serves: `decide` is told who can be one. An owner that is known but cannot is remembered in the
verdict with its failover domain, and so is, for FORMER_S, one that has left the pool.

Source: design, affinity; MCMP reference, sections 6.2, 6.4 and 11.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Sequence

from lbproxy.cluster.balance import Member, rendezvous
from lbproxy.cluster.learned import Learned
from lbproxy.config.schema import StickySettings, StickyStep

STEPS = tuple(StickyStep)
STEP_NAMES = tuple(step.value for step in STEPS)
RESULT_NAMES = ("owner", "new", "failover", "unknown_route")
N_STEPS = len(STEP_NAMES)
N_RESULTS = len(RESULT_NAMES)

OWNER = RESULT_NAMES.index("owner")
NEW = RESULT_NAMES.index("new")
FAILOVER = RESULT_NAMES.index("failover")
UNKNOWN_ROUTE = RESULT_NAMES.index("unknown_route")

# What a request may make us look at; honest values hold a handful of dots, and browsers send two
# or three cookies of one name.
MAX_DOTS = 16
MAX_VALUES = 16
# Owners that left are remembered, so that their sessions count as failover.
MAX_FORMER = 1000
# So long they are also remembered to have had a domain; later their sessions go to any node.
FORMER_S = 300.0
OWN_VALUE_BYTES = 18  # of the HMAC: 144 bits, 24 characters without padding

_OWNER = OWNER
_NEW = NEW
_FAILOVER = FAILOVER
_UNKNOWN_ROUTE = UNKNOWN_ROUTE
_ROUTE = STEPS.index(StickyStep.ROUTE)
_PATH_PARAMETER = STEPS.index(StickyStep.PATH_PARAMETER)
_LEARNED = STEPS.index(StickyStep.LEARNED)
_OWN_COOKIE = STEPS.index(StickyStep.OWN_COOKIE)
_HASH = STEPS.index(StickyStep.HASH)
_MAX_DOTS = MAX_DOTS
_MAX_VALUES = MAX_VALUES
_FORMER_S = FORMER_S
_QUOTE = ord('"')
_DOT = ord(".")


def _unquote(value: bytes) -> bytes:
    """Return a value without the double quotes around it."""
    end = len(value)
    if end >= 2 and value[0] == _QUOTE and value[end - 1] == _QUOTE:
        return value[1 : end - 1]
    return value


class Verdict:
    """What affinity says of one request.

    Attributes: member: the owner, which takes it, or None if the balancer is to choose; step: index
    into STEP_NAMES of the step that decided; result: index into RESULT_NAMES (FAILOVER with a
    member: the hash step took over from an owner that is gone); session: the session's id, the
    first value that was sent, or None; own: the member that our own cookie names, if that step was
    reached; lost: an owner is known that cannot take the request, of this domain and with these
    announced settings (their name, or empty).
    """

    def __init__(self) -> None:
        self.member: Member | None = None
        self.step: int = 0
        self.result: int = _NEW
        self.session: bytes | None = None
        self.own: Member | None = None
        self.lost: bool = False
        self.domain: str = ""
        self.balancer: str = ""

    def lose(self, domain: str, balancer: str) -> None:
        """Note an owner that cannot take the request; the first one noted counts."""
        if not self.lost:
            self.lost = True
            self.domain = domain
            self.balancer = balancer


class Former:
    """What is remembered of an owner that left. Args: left_at: monotonic seconds."""

    def __init__(self, domain: str, balancer: str, left_at: float) -> None:
        self.domain: str = domain
        self.balancer: str = balancer
        self.left_at: float = left_at


class Affinity:
    """The affinity of one pool as one worker keeps it.

    Attributes: learned: the nodes of session ids; empty but for the step of that name.
    """

    def __init__(self, settings: StickySettings, pool: str, key: bytes) -> None:
        """Args: pool: its name; key: signs our own cookie, the same in all workers."""
        self._pool: bytes = pool.encode()
        self._key: bytes = key
        self._cookie_name: bytes = settings.own_cookie.name.encode()
        self._same_site: str = settings.own_cookie.same_site
        self._own_steps: list[int] = [STEPS.index(step) for step in settings.by]
        self._steps: list[int] = self._own_steps
        self._uses_own: bool = _OWN_COOKIE in self._steps
        self._uses_learned: bool = _LEARNED in self._steps
        self._members: list[Member] = []
        self._names: dict[str, Member] = {}
        self._routes: dict[bytes, Member] = {}
        self._longest: int = 0
        self._own: dict[bytes, Member] = {}
        self._former_routes: OrderedDict[bytes, Former] = OrderedDict()
        self._former_own: OrderedDict[bytes, Former] = OrderedDict()
        self._entries: int = settings.learned.entries
        self.learned = Learned(self._entries)
        self._secure_headers: dict[str, bytes] = {}
        self._plain_headers: dict[str, bytes] = {}
        # The search's side results: what the step at hand saw of owners that cannot be used.
        self._saw_owner: bool = False
        self._saw_route: bool = False

    def take_over(self, before: Affinity) -> None:
        """Remember what another one of the pool has learned, as far as there is room; before the
        first `replace`, which takes over the members."""
        self._former_routes = before._former_routes
        self._routes = before._routes
        self._longest = before._longest
        if self._key == before._key:
            self._former_own = before._former_own
            self._own = before._own if self._uses_own else {}
        if self._uses_learned:
            self.learned = before.learned
            self.learned.follow(self._entries)

    def replace(self, members: Sequence[Member], now: float = 0.0) -> None:
        """Take over all members of the pool, usable or not. Args: now: monotonic seconds."""
        routes = {member.route: member for member in members if member.route and member.sticky}
        _remember(self._former_routes, self._routes, routes, now)
        for member in members:
            self._former_routes.pop(member.route, None)  # it is there, if not sticky
        own: dict[bytes, Member] = {}
        if self._uses_own:
            known = {member.name: value for value, member in self._own.items()}
            for member in members:
                own[known.get(member.name) or self._own_value(member.name)] = member
            _remember(self._former_own, self._own, own, now)
        self._members = list(members)
        self._names = {member.name: member for member in members}
        self._routes = routes
        self._longest = max(self._longest, *map(len, routes), 0)  # of former ones as well
        self._own = own
        self._secure_headers.clear()
        self._plain_headers.clear()

    def follow_announced(self, announced: bool) -> None:
        """Look at routes as well, in cookies and paths, whatever the settings say.

        Args: announced: nodes announced that they write them. The steps come behind the settings'
        own, but before `hash`, which remembers nobody.
        """
        steps = list(self._own_steps)
        if announced:
            more = [step for step in (_ROUTE, _PATH_PARAMETER) if step not in steps]
            end = steps.index(_HASH) if _HASH in steps else len(steps)
            steps[end:end] = more
        self._steps = steps

    def decide(
        self,
        now: float,
        cookies: list[bytes] | None,
        own: list[bytes] | None,
        path_values: list[bytes] | None,
        owners: dict[Member, None] | None = None,
    ) -> Verdict:
        """Return who owns the request's session. Never raises.

        Args: now: monotonic seconds, as in Balancer.pick; cookies: values of `cookie`, then of the
        `also` names, in the order sent; own: values of our own cookie; path_values: of the path
        parameter; None or empty if none was sent; owners: the members that can be owners of
        what is asked for; None for all that take owned sessions.
        """
        verdict = Verdict()
        if cookies is not None and len(cookies) > 0:
            verdict.session = _unquote(cookies[0])
        elif path_values is not None and len(path_values) > 0:
            verdict.session = _unquote(path_values[0])
        failed = -1
        unknown = -1
        for step in self._steps:
            self._saw_owner = False
            self._saw_route = False
            member = self._look(step, now, cookies, own, path_values, owners, verdict)
            if member is not None:
                verdict.member = member
                verdict.step = step
                verdict.result = _OWNER
                if failed >= 0 and step == _HASH:
                    # The hash is not a record of ownership: the owner is gone all the same.
                    verdict.step = failed
                    verdict.result = _FAILOVER
                return verdict
            if self._saw_owner and failed < 0:
                failed = step
            if self._saw_route and unknown < 0:
                unknown = step
        if failed >= 0:
            verdict.step = failed
            verdict.result = _FAILOVER
        elif unknown >= 0:
            verdict.step = unknown
            verdict.result = _UNKNOWN_ROUTE
        else:
            verdict.step = self._steps[0]
        return verdict

    def learn(self, value: bytes, member: Member, now: float = 0.0) -> None:
        """Remember that a node set a session cookie of this value; for `learned` only.

        Args: now: monotonic seconds, exact.
        """
        value = _unquote(value)
        if self._uses_learned and value:
            self.learned.learn(value, member.name, now)

    def needs_own_cookie(self, verdict: Verdict, member: Member) -> bool:
        """Return True if the answer of `member` must carry our own cookie.

        Not if the request's cookie names this member already, nor if a step before own_cookie says
        that it owns the session.
        """
        if not self._uses_own or verdict.own is member:
            return False
        if verdict.result == _OWNER and verdict.member is member:
            for step in self._steps:
                if step == _OWN_COOKIE:
                    return True
                if step == verdict.step:
                    return False
        return True

    def own_cookie_header(self, member: Member, secure: bool) -> bytes:
        """Return a whole `Set-Cookie: ...` line with its CRLF.

        Args: member: one that is or was in the pool; secure: the client speaks TLS. Without it
        browsers would ignore SameSite=None, so Lax is said instead.
        """
        headers = self._secure_headers if secure else self._plain_headers
        line = headers.get(member.name)
        if line is None:
            line = headers[member.name] = self._render(member.name, secure)
        return line

    def _look(
        self,
        step: int,
        now: float,
        cookies: list[bytes] | None,
        own: list[bytes] | None,
        path_values: list[bytes] | None,
        owners: dict[Member, None] | None,
        verdict: Verdict,
    ) -> Member | None:
        """Return the usable owner that one step names, or None; notes what else it saw."""
        if step == _ROUTE:
            return None if cookies is None else self._by_route(cookies, now, owners, verdict)
        if step == _PATH_PARAMETER:
            if path_values is None:
                return None
            return self._by_route(path_values, now, owners, verdict)
        if step == _LEARNED:
            return None if cookies is None else self._by_learned(cookies, now, owners, verdict)
        if step == _OWN_COOKIE:
            if own is not None:
                verdict.own = self._by_own_cookie(own, now, owners, verdict)
            return verdict.own
        if verdict.session is None or len(verdict.session) == 0:
            return None
        if owners is None:
            return rendezvous(self._members, verdict.session, None, True)
        return rendezvous(list(owners), verdict.session, None, False)

    def _by_route(
        self,
        values: list[bytes],
        now: float,
        owners: dict[Member, None] | None,
        verdict: Verdict,
    ) -> Member | None:
        count = min(len(values), _MAX_VALUES)
        for index in range(count):
            member = self._find_route(_unquote(values[index]), now, owners, verdict)
            if member is not None:
                return member
        return None

    def _find_route(
        self,
        value: bytes,
        now: float,
        owners: dict[Member, None] | None,
        verdict: Verdict,
    ) -> Member | None:
        """Return the usable owner that a value names, without quotes, or None.

        Nothing longer than the longest route is copied out of a hostile value.
        """
        text = value
        size = len(value)
        longest = self._longest
        dots = 0
        for index in range(size - 1):
            if text[index] != _DOT:
                continue
            self._saw_route = True
            dots += 1
            if size - index - 1 <= longest:
                member = self._known(text[index + 1 : size], now, owners, verdict)
                if member is not None:
                    return member
            end = index + 1
            while end < size and text[end] != _DOT:
                end += 1
            if index + 1 < end < size and end - index - 1 <= longest:
                member = self._known(text[index + 1 : end], now, owners, verdict)
                if member is not None:
                    return member
            if dots == _MAX_DOTS:
                break
        return None

    def _known(
        self, route: bytes, now: float, owners: dict[Member, None] | None, verdict: Verdict
    ) -> Member | None:
        """Return the member of this route if it can be the owner; notes one that cannot."""
        member = self._routes.get(route)
        if member is None:
            if self._former_routes:
                self._note_former(self._former_routes.get(route), now, verdict)
        elif member.takes_owned if owners is None else member in owners:
            return member
        else:
            self._note_lost(member, verdict)
        return None

    def _note_lost(self, member: Member, verdict: Verdict) -> None:
        self._saw_owner = True
        verdict.lose(member.domain, member.balancer)

    def _note_former(self, former: Former | None, now: float, verdict: Verdict) -> None:
        if former is not None:
            self._saw_owner = True
            # One without a domain is as good as unknown: nobody is nearer to its sessions.
            if former.domain and now - former.left_at < _FORMER_S:
                verdict.lose(former.domain, former.balancer)

    def _by_learned(
        self,
        values: list[bytes],
        now: float,
        owners: dict[Member, None] | None,
        verdict: Verdict,
    ) -> Member | None:
        count = min(len(values), _MAX_VALUES)
        for index in range(count):
            name = self.learned.find(_unquote(values[index]), now)
            if name is not None:
                member = self._names.get(name)
                if member is None:
                    self._saw_owner = True
                elif member.takes_owned if owners is None else member in owners:
                    return member
                else:
                    self._note_lost(member, verdict)
        return None

    def _by_own_cookie(
        self,
        values: list[bytes],
        now: float,
        owners: dict[Member, None] | None,
        verdict: Verdict,
    ) -> Member | None:
        count = min(len(values), _MAX_VALUES)
        for index in range(count):
            value = _unquote(values[index])
            member = self._own.get(value)
            if member is not None:
                if member.takes_owned if owners is None else member in owners:
                    return member
                self._note_lost(member, verdict)
            elif value in self._former_own:
                self._note_former(self._former_own[value], now, verdict)
            elif len(value) > 0:
                self._saw_route = True
        return None

    def _own_value(self, name: str) -> bytes:
        """Return what stands for a node in our own cookie: unforgeable, and names no address."""
        signed = hmac.new(self._key, self._pool + b"\0" + name.encode(), hashlib.sha256)
        return urlsafe_b64encode(signed.digest()[:OWN_VALUE_BYTES])

    def _render(self, name: str, secure: bool) -> bytes:
        value = self._own_value(name)
        same_site = "lax" if self._same_site == "none" and not secure else self._same_site
        line = b"Set-Cookie: " + self._cookie_name + b"=" + value + b"; Path=/; HttpOnly"
        if secure:
            line += b"; Secure"
        return line + b"; SameSite=" + same_site.capitalize().encode() + b"\r\n"


def _remember(
    former: OrderedDict[bytes, Former],
    before: dict[bytes, Member],
    after: dict[bytes, Member],
    now: float,
) -> None:
    """Bring `former` up to date: what left is added, what is there again removed."""
    for value, member in before.items():
        if value not in after:
            former[value] = Former(member.domain, member.balancer, now)
    for value in after:
        former.pop(value, None)
    while len(former) > MAX_FORMER:
        former.popitem(last=False)
