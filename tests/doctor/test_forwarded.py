"""Redirects, discovery and forged fields."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from lbproxy.doctor.facts import PROFILES
from lbproxy.doctor.forwarded import check_discovery, check_forged_fields, check_redirects

if TYPE_CHECKING:
    from tests.doctor.conftest import House

GENERIC = PROFILES["generic"]
DISCOVERY = GENERIC.discovery


async def test_redirects(house: House) -> None:
    house.page("/", 302, Location="/login?code=secret")
    house.page("/login", 302, Location=f"http://localhost:{house.https.port}/x?code=secret")
    (finding,) = (await asyncio.to_thread(check_redirects, house.door, GENERIC)).findings
    assert finding.what == "a redirect is http, not https"
    assert "/login -> http://localhost" in finding.evidence
    assert "secret" not in str(finding)


async def test_good_redirects(house: House) -> None:
    house.page("/", 302, Location=f"{house.https}/login")
    assert not (await asyncio.to_thread(check_redirects, house.door, GENERIC)).findings


async def test_discovery(house: House) -> None:
    house.metadata(DISCOVERY)
    assert not (await asyncio.to_thread(check_discovery, house.door, GENERIC)).findings
    house.metadata(DISCOVERY, token_endpoint="http://localhost:9011/token")
    (finding,) = (await asyncio.to_thread(check_discovery, house.door, GENERIC)).findings
    assert finding.what == "token_endpoint is http, not https"
    house.metadata(DISCOVERY, issuer="https://other.example.com")
    (finding,) = (await asyncio.to_thread(check_discovery, house.door, GENERIC)).findings
    assert finding.what == "issuer is under another origin"
    # An origin that is only a prefix of another one is not the same.
    house.metadata(DISCOVERY, issuer=f"{house.https}0")
    assert (await asyncio.to_thread(check_discovery, house.door, GENERIC)).findings


async def test_no_discovery(house: House) -> None:
    outcome = await asyncio.to_thread(check_discovery, house.door, GENERIC)
    assert outcome.skipped == f"{DISCOVERY} answered 404, no JSON"


async def test_forged_fields_that_come_back(house: House) -> None:
    def believes(request: web.Request) -> web.StreamResponse:
        host = request.headers.get("X-Forwarded-Host", request.host)
        return web.json_response({"issuer": f"https://{host}"})

    house.pages[DISCOVERY] = believes
    (finding,) = (await asyncio.to_thread(check_forged_fields, house.door, GENERIC)).findings
    assert "makes up comes back" in finding.what


async def test_a_forged_scheme_that_changes_the_issuer(house: House) -> None:
    def believes(request: web.Request) -> web.StreamResponse:
        scheme = request.headers.get("X-Forwarded-Proto", "https")
        return web.json_response({"issuer": f"{scheme}://{request.host}"})

    house.pages[DISCOVERY] = believes
    (finding,) = (await asyncio.to_thread(check_forged_fields, house.door, GENERIC)).findings
    assert finding.what == "a client changes the issuer by a forwarded field"


async def test_forged_fields_that_do_nothing(house: House) -> None:
    house.metadata(DISCOVERY)
    assert not (await asyncio.to_thread(check_forged_fields, house.door, GENERIC)).findings
