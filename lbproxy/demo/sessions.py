"""Logins and sessions in one node's memory, so that only the owner knows them."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

SESSION_LIFETIME_S = 1800.0
MAX_SESSIONS = 50_000  # a demo under load forgets the oldest rather than grow
MAX_FORMS = 8  # login forms open in one browser session


@dataclass(slots=True)
class Session:
    """One browser session. `forms`: the logins in progress; `user`: set once one succeeded."""

    id: str
    expires: float
    user: str | None = None
    auth_time: int = 0
    forms: list[str] = field(default_factory=list)

    def open_form(self) -> str:
        """Return the token of a new login form; the oldest open one is forgotten beyond a few."""
        token = secrets.token_urlsafe(16)
        self.forms = [*self.forms, token][-MAX_FORMS:]
        return token


class Sessions:
    """The sessions that one node owns.

    Args: route: written behind the dot of each cookie value; clock: Unix seconds.
    """

    def __init__(self, route: str, clock: Callable[[], float]) -> None:
        self._route = route
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def create(self) -> Session:
        """Return a new session owned here."""
        session = Session(secrets.token_urlsafe(18), self._clock() + SESSION_LIFETIME_S)
        self._sessions[session.id] = session
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def find(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie value `<id>.<route>`, None if it is not owned here."""
        if cookie is None:
            return None
        session = self._sessions.get(cookie.partition(".")[0])
        if session is None:
            return None
        if session.expires <= self._clock():
            del self._sessions[session.id]
            return None
        return session

    def end(self, session: Session) -> None:
        """Forget a session."""
        self._sessions.pop(session.id, None)

    def cookie_value(self, session: Session) -> str:
        """Return the cookie's value: the id, and behind the first dot the owner's route."""
        return f"{session.id}.{self._route}"


class UsedOnce:
    """Remembers identifiers until they expire, so that a second use is seen.

    Per node: the demo has no shared store, so a code could be used once on each node.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def use(self, identifier: str, expires: float, now: float) -> bool:
        """Return True at the first use of the identifier, False at every later one."""
        if len(self._until) >= MAX_SESSIONS:
            self._until = {key: until for key, until in self._until.items() if until > now}
        if self._until.get(identifier, 0.0) > now:
            return False
        self._until[identifier] = expires
        return True
