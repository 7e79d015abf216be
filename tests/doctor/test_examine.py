"""All checks together: a good door, a bad one, one that is not there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from lbproxy.doctor.door import Origin
from lbproxy.doctor.examine import Options, examine
from lbproxy.doctor.facts import PROFILES
from lbproxy.doctor.findings import Level, Report

if TYPE_CHECKING:
    from tests.doctor.conftest import House

KEYCLOAK = PROFILES["keycloak"]


async def run(house: House, origin: Origin | None = None, **changes: str) -> Report:
    options = Options(ca=house.ca, http_port=house.http.port)
    options = replace(options, **changes)  # type: ignore[arg-type]
    return await asyncio.to_thread(examine, origin or house.https, options, datetime.now(UTC))


async def test_a_good_door(house: House) -> None:
    house.metadata(KEYCLOAK.discovery)
    house.page("/", 302, Location=f"{house.https}/realms/x", Strict_Transport_Security="max-age=1")
    house.plain = lambda request: web.Response(
        status=308, headers={"Location": f"{house.https}{request.raw_path}"}
    )
    report = await run(house)
    assert report.profile == "keycloak"
    assert report.findings == ()
    assert report.healthy
    assert [outcome.check for outcome in report.outcomes if outcome.skipped] == []
    # An http address leads to the https one.
    report = await run(house, house.http)
    assert report.origin == str(house.https)
    assert report.findings == ()


async def test_a_bad_door(house: House) -> None:
    house.metadata(KEYCLOAK.discovery, origin="http://10.0.0.5:8080")
    house.page("/", 302, Location="http://node1:8080/", Set_Cookie="S=secret")
    house.page("/admin/", 200)
    house.page("/metrics", 200, Content_Type="text/plain")
    report = await run(house)
    assert not report.healthy
    assert {finding.check for finding in report.findings} == {
        "redirects",
        "discovery",
        "hidden paths",
        "health and metrics",
        "http listener",
        "cookies",
        "HSTS",
    }
    assert "secret" not in str(report)
    for finding in report.findings:
        assert finding.what
        assert finding.evidence
        assert finding.cause
        assert finding.remedy


async def test_hints_leave_it_healthy(house: House) -> None:
    house.plain = lambda request: web.Response(
        status=308, headers={"Location": f"{house.https}{request.raw_path}"}
    )
    house.metadata("/.well-known/openid-configuration")
    report = await run(house)
    assert report.profile == "generic"
    assert [finding.level for finding in report.findings] == [Level.HINT]
    assert report.healthy


async def test_nobody_there(house: House, unused_tcp_port: int) -> None:
    report = await run(house, Origin("https", "localhost", unused_tcp_port))
    (finding,) = report.findings
    assert "cannot be reached" in finding.what
    assert finding.evidence == "connection refused"
    assert not report.healthy
