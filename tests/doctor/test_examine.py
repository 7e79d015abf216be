"""All checks together: a good door, a bad one, one that is not there."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.doctor import examine as examine_module
from lbproxy.doctor.door import Door, Origin, Reply
from lbproxy.doctor.examine import Options, examine
from lbproxy.doctor.facts import PROFILES
from lbproxy.doctor.results import Examination, Level

if TYPE_CHECKING:
    from tests.doctor.conftest import House

KEYCLOAK = PROFILES["keycloak"]


async def run(house: House, origin: Origin | None = None, **changes: object) -> Examination:
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


@pytest.mark.parametrize(("scheme", "other"), [("https", "http"), ("http", "https")])
async def test_somebody_there_who_speaks_something_else(
    house: House, scheme: str, other: str
) -> None:
    """It blames no firewall and no proxy that is down: somebody is there."""
    there = {"https": house.https, "http": house.http}[other]
    report = await run(house, Origin(scheme, there.host, there.port))
    (finding,) = report.findings
    assert "cannot be reached" in finding.what
    assert f"this port speaks {other}" in finding.cause
    assert f"is it {there}?" in finding.remedy


@dataclass(slots=True)
class Strange(Door):
    """A door that answers whatever comes to mind."""

    answers: list[tuple[int, str, str, str]] = field(default_factory=list)

    def _ask(
        self, method: str, target: str, fields: dict[str, str], body: bytes | None = None
    ) -> Reply:
        status, location, value, text = self.answers[len(self.replies) % len(self.answers)]
        document = {"issuer": value, "token_endpoint": location, "authorization_endpoint": value}
        page = json.dumps(document) if text == "{" else f'<form action="{value}">{text}'
        sent = (("Location", location), ("Set-Cookie", value))
        reply = Reply(self.origin, target, status, sent, page.encode())
        self.replies.append(reply)
        return reply


STATUSES = st.sampled_from([200, 302, 403, 404, 503])
URLS = st.one_of(
    st.text(max_size=12),
    st.builds(
        "".join,
        st.lists(
            st.sampled_from(
                [*("http", "https:", "//", "[", "]", "::1", ":", "/", "?", "#", "@", "idp", ".")],
            ),
            max_size=8,
        ),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    answers=st.lists(
        st.tuples(
            st.sampled_from([200, 302, 403, 404, 503]), URLS, URLS, st.sampled_from(["{", ""])
        ),
        min_size=1,
        max_size=4,
    ),
    profile=st.sampled_from(["keycloak", "generic", None]),
)
def test_whatever_comes_is_no_end_of_the_command(
    answers: list[tuple[int, str, str, str]], profile: str | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examine_module, "Door", partial(Strange, answers=answers))
        patch.setattr(Door, "at", lambda self, origin: Strange(origin, answers=answers))
        report = examine(Origin("http", "idp", 80), Options(profile=profile), datetime.now(UTC))
    assert report.outcomes
