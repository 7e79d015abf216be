"""Hidden paths in every spelling, health and metrics, the plain listener."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from lbproxy.doctor.door import Door
from lbproxy.doctor.exposure import (
    check_hidden_paths,
    check_observability,
    check_plain_listener,
    spellings,
)
from lbproxy.doctor.facts import PROFILES

if TYPE_CHECKING:
    from tests.doctor.conftest import House


def test_spellings() -> None:
    found = set(spellings("/console", ("/t/x",)))
    assert found >= {
        "/console",
        "//console/",
        "/%2fconsole/",
        "/console;x=1/",
        "/%63onsole/",
        "/x/../console/",
        "/t/x/console/",
    }


async def test_hidden_paths_that_are_hidden(house: House) -> None:
    outcome = await asyncio.to_thread(check_hidden_paths, house.door, PROFILES["wso2is"])
    assert outcome.findings == ()
    assert outcome.skipped is None


@pytest.mark.parametrize("target", ["/t/x/console/", "/console;x=1/", "//console/", "/%2fconsole/"])
@pytest.mark.parametrize("status", [200, 302, 401, 500])
async def test_one_open_spelling_is_a_finding(house: House, target: str, status: int) -> None:
    house.page(target, status)
    door = Door(house.http)
    outcome = await asyncio.to_thread(check_hidden_paths, door, PROFILES["wso2is"])
    (finding,) = outcome.findings
    assert finding.what == "/console is reachable from outside"
    assert finding.evidence == f"{target} {status}"


async def test_a_door_that_answers_everything_alike_is_said(house: House) -> None:
    plain = Door(house.http)
    house.plain = lambda request: web.Response()
    outcome = await asyncio.to_thread(check_hidden_paths, plain, PROFILES["keycloak"])
    (finding,) = outcome.findings
    assert "more (an unknown path gets 200)" in finding.evidence


async def test_health_and_metrics_in_public(house: House) -> None:
    house.pages["/metrics"] = lambda request: web.Response(text="up 1", content_type="text/plain")
    house.pages["/health"] = lambda request: web.json_response({"status": "DOWN"}, status=503)
    house.pages["/livez"] = lambda request: web.Response(text="<p>", content_type="text/html")
    outcome = await asyncio.to_thread(check_observability, house.door, PROFILES["keycloak"])
    assert [finding.evidence for finding in outcome.findings] == [
        "/health 503 application/json",
        "/metrics 200 text/plain",
    ]


async def test_the_plain_listener_redirects(house: House) -> None:
    port = house.http.port
    house.plain = lambda request: web.Response(
        status=308, headers={"Location": f"{house.https}{request.raw_path}"}
    )
    outcome = await asyncio.to_thread(check_plain_listener, house.door, port)
    assert outcome.findings == ()
    house.plain = lambda request: web.Response(
        status=308, headers={"Location": f"https://localhost{request.raw_path}"}
    )
    (finding,) = (await asyncio.to_thread(check_plain_listener, house.door, port)).findings
    assert "redirects elsewhere" in finding.what
    house.plain = lambda request: web.Response()
    (finding,) = (await asyncio.to_thread(check_plain_listener, house.door, port)).findings
    assert finding.what == "the http port serves content"


async def test_a_closed_http_port_is_fine(house: House, unused_tcp_port: int) -> None:
    outcome = await asyncio.to_thread(check_plain_listener, house.door, unused_tcp_port)
    assert outcome.findings == ()
    assert outcome.skipped == f"port {unused_tcp_port}: connection refused"
