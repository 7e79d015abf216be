"""Ticket keys: what they are derived from, and whose sessions resume where."""

from __future__ import annotations

import contextlib
import ssl
from itertools import combinations

import pytest

from lbproxy.config.schema import ListenerTlsSettings
from lbproxy.proxy.transport.tickets import EPOCH_S, KEY_BYTES, TicketSecret
from lbproxy.proxy.transport.tls import ServerTls
from tests.proxy.transport.handshakes import Files, context_for
from tests.proxy.transport.shared_tickets import can_set_tickets

SECRET = bytes(range(48))
OURS = TicketSecret(SECRET, "https")
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.fixture
def can_set() -> None:
    if not can_set_tickets():
        pytest.skip("this Python cannot be told ticket keys")


# Derivation.


def test_the_same_makes_the_same_keys_in_every_process_and_version() -> None:
    keys = OURS.keys(["idp.example", "*.idp.example"], 41_000)
    assert keys == TicketSecret(SECRET, "https").keys({"*.idp.example", "idp.example"}, 41_000)
    assert len(keys) == KEY_BYTES
    # Machines of several versions share a secret: who changes this gives it another label.
    assert keys.hex().startswith("2e828c20b9eb857e2633e52e6aad2bf4")


def test_whatever_differs_makes_other_keys() -> None:
    made = [
        OURS.keys(["a", "b"], 7),
        OURS.keys(["a", "b"], 8),
        OURS.keys(["a"], 7),
        OURS.keys(["ab"], 7),
        OURS.keys(["a", "b", ""], 7),
        OURS.keys([], 7),
        TicketSecret(SECRET, "https", "client_ca").keys(["a", "b"], 7),
        TicketSecret(SECRET, "http", "s").keys(["a", "b"], 7),
        TicketSecret(SECRET, "more").keys(["a", "b"], 7),
        TicketSecret(SECRET[::-1], "https").keys(["a", "b"], 7),
    ]
    for one, other in combinations(made, 2):
        assert one != other
        assert one[:16] != other[:16]  # the name in the ticket, which anybody sees


def test_a_secret_is_not_shown() -> None:
    assert "secret" not in repr(OURS)
    assert "https" in repr(OURS)


# Sessions.


class Clock:
    now = 1_000_000 * EPOCH_S + 5.0

    def __call__(self) -> float:
        return self.now


class Browser:
    """A client that resumes, in memory."""

    def __init__(self, files: Files, version: ssl.TLSVersion) -> None:
        self.context = context_for(files, version=version)
        self.session: ssl.SSLSession | None = None

    def meets(self, tls: ServerTls, name: str = "idp.example") -> bool:
        """Shake hands; return whether the session before was resumed."""
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        mine = self.context.wrap_bio(back, there, server_hostname=name, session=self.session)
        theirs = tls.context.wrap_bio(there, back, server_side=True)
        for side in (mine, theirs, mine, theirs, mine):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        with contextlib.suppress(ssl.SSLWantReadError):
            mine.read(1)
        self.session = mine.session
        return bool(mine.session_reused)


def settings(files: Files, *names: str) -> ListenerTlsSettings:
    """Return a section with a certificate for each of the names, issued now."""
    return ListenerTlsSettings(certificates=tuple(files.issue(name, name) for name in names))


@VERSIONS
@pytest.mark.usefixtures("can_set")
def test_sessions_resume_wherever_the_secret_is_the_same(
    files: Files, version: ssl.TLSVersion
) -> None:
    browser = Browser(files, version)
    assert not browser.meets(ServerTls(settings(files, "idp.example"), OURS))
    # Another process, the renewed certificate, and another one beside it.
    assert browser.meets(ServerTls(settings(files, "idp.example"), OURS))
    assert browser.meets(ServerTls(settings(files, "other.example", "idp.example"), OURS))
    assert not browser.meets(ServerTls(settings(files, "idp.example")))


@VERSIONS
@pytest.mark.parametrize(
    "other",
    [
        TicketSecret(SECRET[::-1], "https"),
        TicketSecret(SECRET, "more"),
        TicketSecret(SECRET, "https", "client_ca"),
    ],
)
@pytest.mark.usefixtures("can_set")
def test_no_session_of_another_secret_listener_or_policy(
    files: Files, version: ssl.TLSVersion, other: TicketSecret
) -> None:
    section = settings(files, "idp.example")
    browser = Browser(files, version)
    browser.meets(ServerTls(section, OURS))
    assert not browser.meets(ServerTls(section, other))


@VERSIONS
@pytest.mark.usefixtures("can_set")
def test_no_session_under_other_names(files: Files, version: ssl.TLSVersion) -> None:
    both = ServerTls(settings(files, "idp.example", "other.example"), OURS)
    browser = Browser(files, version)
    browser.meets(both)
    assert not browser.meets(both, "other.example")
    assert browser.meets(both, "other.example")
    assert not browser.meets(ServerTls(settings(files, "idp.example"), OURS))


@VERSIONS
@pytest.mark.usefixtures("can_set")
def test_no_session_under_other_addresses(files: Files, version: ssl.TLSVersion) -> None:
    browser = Browser(files, version)
    browser.meets(ServerTls(settings(files, "10.0.0.1"), OURS))
    assert browser.meets(ServerTls(settings(files, "10.0.0.1"), OURS))
    assert not browser.meets(ServerTls(settings(files, "10.0.0.2"), OURS))


@VERSIONS
@pytest.mark.usefixtures("can_set")
def test_keys_change_with_the_epoch_everywhere_at_once(
    files: Files, version: ssl.TLSVersion
) -> None:
    clock = Clock()
    section = settings(files, "idp.example")
    one, other = (ServerTls(section, OURS, clock) for _ in range(2))
    browser = Browser(files, version)
    browser.meets(one)
    clock.now += EPOCH_S - 6
    assert browser.meets(other)
    clock.now += 2
    assert not browser.meets(other)
    assert browser.meets(one)
    clock.now -= 2  # a clock that is set back
    assert not browser.meets(one)
    assert browser.meets(other)


@VERSIONS
@pytest.mark.usefixtures("can_set")
def test_another_secret_is_followed_by_the_contexts_that_there_are(
    files: Files, version: ssl.TLSVersion
) -> None:
    section = settings(files, "idp.example")
    tls, browser = ServerTls(section, OURS), Browser(files, version)
    browser.meets(tls)
    changed = ServerTls(section, TicketSecret(SECRET[::-1], "https"))
    assert not tls.does_as(changed)
    tls.follow(changed)
    assert tls.does_as(changed)
    assert not browser.meets(tls)
    assert browser.meets(ServerTls(section, TicketSecret(SECRET[::-1], "https")))


def test_without_a_secret_nothing_is_set(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> None:
        raise AssertionError("no trial has allowed that")

    monkeypatch.setattr("lbproxy.proxy.transport.tickets.set_keys", forbidden)
    tls = ServerTls(settings(files, "idp.example"))
    browser = Browser(files, ssl.TLSVersion.TLSv1_3)
    browser.meets(tls)
    tls.follow(ServerTls(settings(files, "idp.example", "new.example")))
    assert browser.meets(tls)
