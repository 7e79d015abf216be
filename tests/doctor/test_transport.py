"""Cookies, certificates, HSTS."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from lbproxy.doctor.door import Door, Origin, Reply
from lbproxy.doctor.results import Level
from lbproxy.doctor.transport import SetCookie, check_certificate, check_cookies, check_hsts

if TYPE_CHECKING:
    from tests.doctor.conftest import House

HTTPS = Origin("https", "idp.example.com", 443)
HTTP = Origin("http", "idp.example.com", 80)


def door_with(value: str, origin: Origin = HTTPS, target: str = "/auth/login?x=1") -> Door:
    return Door(origin, replies=[Reply(origin, target, 200, (("Set-Cookie", value),), b"")])


@pytest.mark.parametrize(
    ("door", "what"),
    [
        (door_with("S=secret; Path=/auth/; Secure; HttpOnly"), None),
        (door_with("S=secret; path=/auth; SECURE"), None),
        (door_with("S=; Max-Age=0"), None),
        (door_with("S=secret", HTTP), None),
        (door_with("S=secret; Path=/auth/"), "cookie S is not Secure"),
        (
            door_with("S=secret; Secure", HTTP),
            "cookie S is Secure over plain http: browsers drop it",
        ),
        (
            door_with("S=secret; SameSite=None", HTTP),
            "cookie S has SameSite=None without Secure: browsers drop it",
        ),
        (
            door_with("S=secret; Secure; Path=/other"),
            "cookie S is for /other, which does not cover the page that set it",
        ),
        (
            door_with("S=secret; Secure; Path=/au"),
            "cookie S is for /au, which does not cover the page that set it",
        ),
    ],
)
def test_cookies(door: Door, what: str | None) -> None:
    findings = check_cookies(door).findings
    assert [finding.what for finding in findings] == ([what] if what else [])
    assert "secret" not in str(findings)


def test_one_cookie_is_one_finding() -> None:
    door = door_with("S=secret")
    door.replies *= 3
    assert len(check_cookies(door).findings) == 1


def test_set_cookie_is_read_as_browsers_do() -> None:
    cookie = SetCookie.parse(' S =a=b; path = /x ;Secure;; SameSite="None"')
    assert (cookie.name, cookie.attributes["path"]) == ("S", "/x")
    assert "secure" in cookie.attributes
    assert not cookie.deleted


async def test_certificates(house: House) -> None:
    now = datetime.now(UTC)

    def check(door: Door, insecure: bool, when: datetime) -> list[str]:
        return [f.what for f in check_certificate(door, insecure=insecure, now=when).findings]

    expires = (await asyncio.to_thread(house.door.certificate)).not_valid_after_utc
    assert await asyncio.to_thread(check, house.door, False, now) == []
    soon = expires - timedelta(days=3, hours=1)
    assert await asyncio.to_thread(check, house.door, False, soon) == ["it expires in 3 days"]
    gone = expires + timedelta(days=3)
    assert await asyncio.to_thread(check, house.door, True, gone) == ["the certificate has expired"]
    stranger = Door(house.https)
    assert await asyncio.to_thread(check, stranger, False, now) == [
        "clients do not trust the certificate"
    ]
    assert await asyncio.to_thread(check, stranger, True, now) == []


async def test_a_certificate_for_another_name(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(Origin("https", "idp.example.com", house.https.port), house.ca)
    connect = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda address, *rest: connect(("127.0.0.1", address[1]))
    )
    outcome = await asyncio.to_thread(
        lambda: check_certificate(door, insecure=False, now=datetime.now(UTC))
    )
    (finding,) = outcome.findings
    assert finding.cause == "it is for another name"


def test_hsts() -> None:
    (hint,) = check_hsts(door_with("S=secret")).findings
    assert hint.level is Level.HINT
    door = door_with("S=secret")
    fields = (("Strict-Transport-Security", "max-age=1"),)
    door.replies.append(Reply(HTTPS, "/", 200, fields, b""))
    assert check_hsts(door).findings == ()
    assert check_hsts(Door(HTTP)).skipped is not None
