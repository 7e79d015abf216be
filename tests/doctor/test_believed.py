"""Keycloak whose address is set by hand, and which does not believe its proxy."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from lbproxy.doctor.believed import _ACTION, check_believed
from lbproxy.doctor.facts import PROFILES
from lbproxy.doctor.results import CheckResult
from lbproxy.doctor.survey import survey

if TYPE_CHECKING:
    from tests.doctor.conftest import House

KEYCLOAK = PROFILES["keycloak"]
FORM = '<form id="kc-form-login" onsubmit="x" action="{}/authenticate?code=secret&amp;x=1">'


def keycloak(house: House, *refuses: bool, issuer: str = "", action: str = "") -> None:
    """Serve as Keycloak does. Args: refuses: whether the Origin is, of each node in turn."""
    base = issuer or f"{house.https}/realms/master"
    here = f"{house.https}/realms/master"
    house.metadata(
        KEYCLOAK.discovery,
        issuer=base,
        token_endpoint=f"{here}/token",
        authorization_endpoint=f"{here}/auth",
    )
    house.pages["/realms/master/auth"] = lambda request: web.Response(
        text=FORM.format(action or here), content_type="text/html"
    )
    asked: list[str] = []

    def token(request: web.Request) -> web.StreamResponse:
        asked.append(request.method)
        refused = request.headers.get("Origin") and refuses[len(asked) % len(refuses)]
        return web.json_response({"error": "x"}, status=403 if refused else 400)

    house.pages["/realms/master/token"] = token


async def check(house: House) -> CheckResult:
    door = house.door
    return await asyncio.to_thread(lambda: check_believed(door, KEYCLOAK, survey(door, KEYCLOAK)))


async def test_a_proxy_that_is_believed(house: House) -> None:
    keycloak(house, False)
    outcome = await check(house)
    assert outcome.findings == ()
    assert outcome.skipped is None


async def test_a_proxy_that_is_not(house: House) -> None:
    """As on 26.7.3: issuer and form are right, the token endpoint refuses the own pages."""
    keycloak(house, True)
    (finding,) = (await check(house)).findings
    assert f"400, but 403 with Origin: {house.https}" in finding.evidence
    assert "`proxy-headers=xforwarded`" in finding.remedy
    assert "secret" not in str(finding)


async def test_one_node_of_two_does_not_believe_it(house: House) -> None:
    keycloak(house, True, False)
    (finding,) = (await check(house)).findings
    assert "403 (2 times of 4)" in finding.evidence


async def test_a_form_that_leads_to_plain_http(house: House) -> None:
    keycloak(house, False, action=f"http://localhost:{house.https.port}/realms/master")
    (finding,) = (await check(house)).findings
    assert finding.evidence.startswith("login form: http://localhost")
    assert "secret" not in str(finding)


async def test_a_form_that_is_refused(house: House) -> None:
    keycloak(house, False)
    house.page("/realms/master/auth", 403)
    (finding,) = (await check(house)).findings
    assert finding.evidence == "login form: 403"


@pytest.mark.parametrize("issuer", ["http://[", "https://["])
async def test_metadata_that_are_none(house: House, issuer: str) -> None:
    keycloak(house, False, issuer=issuer)
    outcome = await check(house)
    assert outcome.skipped == "the metadata name no token endpoint" or not outcome.findings


async def test_why_it_is_skipped(house: House) -> None:
    outcome = await check(house)
    assert outcome.skipped is not None
    assert "--discovery" in outcome.skipped


@pytest.mark.parametrize("page", [b"<form " * 43000, b"<form " + b"a=b " * 64000])
def test_a_page_that_is_no_form_is_read_in_no_time(page: bytes) -> None:
    """The door may be anybody's; a page of tags that never end took minutes."""
    began = time.process_time()
    assert _ACTION.search(page) is None
    assert time.process_time() - began < 5.0
