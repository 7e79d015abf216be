"""Sessions end, forms are bounded, identifiers are used once."""

from __future__ import annotations

from lbproxy.demo.sessions import MAX_FORMS, SESSION_LIFETIME_S, Sessions, UsedOnce


def test_a_session_ends_with_its_time() -> None:
    now = 1000.0
    sessions = Sessions("node1", lambda: now)
    session = sessions.create()
    cookie = sessions.cookie_value(session)
    assert cookie == f"{session.id}.node1"
    assert sessions.find(cookie) is session
    now += SESSION_LIFETIME_S
    assert sessions.find(cookie) is None


def test_only_the_id_before_the_first_dot_counts() -> None:
    sessions = Sessions("a.b", lambda: 0.0)
    session = sessions.create()
    assert sessions.find(f"{session.id}.other.route") is session
    assert sessions.find(None) is None
    assert sessions.find("") is None


def test_old_forms_are_forgotten() -> None:
    session = Sessions("node1", lambda: 0.0).create()
    first = session.open_form()
    for _ in range(MAX_FORMS):
        session.open_form()
    assert first not in session.forms
    assert len(session.forms) == MAX_FORMS


def test_an_identifier_is_used_once() -> None:
    used = UsedOnce()
    assert used.use("a", 60.0, 0.0)
    assert not used.use("a", 60.0, 1.0)
    assert used.use("b", 60.0, 1.0)
