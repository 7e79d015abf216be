"""Is anybody there, and do the nodes agree?"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from lbproxy.doctor.examine import Options, examine
from lbproxy.doctor.facts import PROFILES
from lbproxy.doctor.results import Examination
from lbproxy.doctor.survey import check_agreement, check_reach, survey
from tests.doctor.test_examine import run

if TYPE_CHECKING:
    from tests.doctor.conftest import House

KEYCLOAK = PROFILES["keycloak"]
Node = Callable[[web.Request], web.StreamResponse]


def turns(nodes: Iterable[Node]) -> Node:
    """Answer as a balancer does that goes round."""
    order = itertools.cycle(nodes)
    return lambda request: next(order)(request)


def told(issuer: str) -> Node:
    document = {"issuer": issuer, "token_endpoint": f"{issuer}/token", "jwks_uri": f"{issuer}/jwks"}
    return lambda request: web.json_response(document)


def status(code: int) -> Node:
    return lambda request: web.Response(status=code)


async def examined(house: House, **changes: str) -> Examination:
    house.plain = lambda request: web.Response(
        status=308, headers={"Location": f"{house.https}{request.raw_path}"}
    )
    return await run(house, None, **changes)


@pytest.mark.parametrize("code", [400, 403, 404, 421, 500, 502, 503, 504])
@pytest.mark.parametrize("profile", [None, "keycloak", "generic"])
async def test_a_dead_door_is_the_first_finding_and_the_only_one(
    house: House, code: int, profile: str | None
) -> None:
    house.everything = status(code)
    report = await (examined(house, profile=profile) if profile else examined(house))
    (finding,) = report.findings
    assert finding.what == f"nothing but {code} comes back"
    assert finding is report.outcomes[0].findings[0]
    assert not report.healthy
    skipped = {outcome.check: outcome.skipped for outcome in report.outcomes if outcome.skipped}
    assert skipped["redirects"] == skipped["cookies"] == f"nothing but {code} comes back"
    # What the proxy does by itself is examined all the same.
    assert {"certificate", "http listener"}.isdisjoint(skipped)
    assert ("Host" in finding.remedy) == (code < 500)


async def test_several_kinds_of_nothing(house: House) -> None:
    house.pages[KEYCLOAK.discovery] = status(503)
    report = await examined(house)
    (finding,) = report.findings
    assert finding.what == "nothing but 404 and 503 comes back"
    assert report.profile == "keycloak"
    assert f"{KEYCLOAK.discovery} 503" in finding.places


async def test_a_redirect_to_nowhere_is_nothing(house: House) -> None:
    house.everything = status(502)
    house.page("/", 302, Location="/login")
    assert (await examined(house)).findings[0].what == "nothing but 502 comes back"


async def test_somebody_is_there(house: House) -> None:
    house.page("/", 401)
    door, facts = house.door, PROFILES["generic"]
    found = await asyncio.to_thread(survey, door, facts)
    assert found.nothing_but is None
    assert check_reach(found, door).findings == ()


async def test_an_unknown_provider_is_a_finding(house: House) -> None:
    house.page("/", 200)
    report = await examined(house)
    (finding,) = [each for each in report.findings if each.check == "provider"]
    assert "unknown" in finding.what
    assert "--profile" in finding.remedy
    assert not report.healthy
    # Who says that it is any service has said enough; why a check was left out is said then.
    report = await examined(house, profile="generic")
    assert report.healthy
    (outcome,) = [each for each in report.outcomes if each.check == "provider"]
    assert "name the document by --discovery" in (outcome.skipped or "")


async def test_metadata_that_were_named_and_are_not_there(house: House) -> None:
    house.page("/", 200)
    report = await examined(house, profile="keycloak", discovery="/realms/no")
    assert "there is no metadata document at /realms/no" in {each.what for each in report.findings}


async def test_a_provider_that_fails_at_a_living_door(house: House) -> None:
    house.page("/", 200)
    house.pages[KEYCLOAK.discovery] = status(503)
    report = await examined(house, profile="keycloak")
    assert f"{KEYCLOAK.discovery} answers 503" in {each.what for each in report.findings}


async def test_nodes_that_disagree_are_one_finding_and_nobody_is_accused(house: House) -> None:
    """`hostname` is set on one of two: issuer and endpoints differ from node to node."""
    wrong = "https://other.example.com"
    house.pages[KEYCLOAK.discovery] = turns([told(str(house.https)), told(wrong)])
    report = await examined(house)
    (finding,) = [each for each in report.findings if each.check != "HSTS"]
    assert finding.check == "nodes"
    assert finding.what.startswith("nodes disagree")
    assert finding.evidence == f"issuer: {house.https} (4 of 8), {wrong} (4 of 8)"
    assert len(finding.places) == 3
    assert "`hostname`" in finding.remedy
    assert not report.healthy


async def test_a_redirect_of_the_wrong_node_belongs_to_the_same_finding(house: House) -> None:
    wrong = "http://10.0.0.5:8080"
    house.pages[KEYCLOAK.discovery] = turns([told(str(house.https)), told(wrong)])
    house.page("/", 302, Location=f"{wrong}/login")
    report = await examined(house)
    findings = {each.check: each for each in report.findings}
    assert "redirects" not in findings
    assert f"/ -> {wrong}/login" in findings["nodes"].places
    (outcome,) = [each for each in report.outcomes if each.check == "redirects"]
    assert outcome.see == "nodes"


async def test_disagreeing_nodes_do_not_hide_a_client_that_forges(house: House) -> None:
    def believes(request: web.Request) -> web.StreamResponse:
        scheme = request.headers.get("X-Forwarded-Proto", "https")
        return told(f"{scheme}://{request.host}")(request)

    house.pages[KEYCLOAK.discovery] = turns([believes, told("https://other.example.com")])
    report = await examined(house)
    assert {"nodes", "forged fields"} <= {each.check for each in report.findings}


async def test_a_node_that_is_dead_now_and_then(house: House) -> None:
    house.pages[KEYCLOAK.discovery] = turns([told(str(house.https)), status(502)])
    report = await examined(house)
    assert report.profile == "keycloak"
    (finding,) = [each for each in report.findings if each.check == "nodes"]
    assert finding.evidence == f"{KEYCLOAK.discovery}: 200 (4 of 8), 502 (4 of 8)"


async def test_one_wrong_host_name_is_one_finding(house: House) -> None:
    wrong = "https://kc.internal:8443"
    document = {"issuer": f"{wrong}/realms/master", "jwks_uri": f"{wrong}/certs"} | {
        f"{name}_endpoint": f"{wrong}/{name}" for name in "abcdefghij"
    }
    house.pages[KEYCLOAK.discovery] = lambda request: web.json_response(document)
    house.page("/", 302, Location=f"{wrong}/realms/x")
    report = await examined(house)
    (finding,) = [each for each in report.findings if each.check != "HSTS"]
    assert finding.check == "redirects"
    assert len(finding.places) == 1 + len(document)
    assert "Keycloak: set `hostname`" in finding.remedy


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("keycloak", "`hostname`"),
        ("keycloak-legacy", "`frontendUrl`"),
        ("fusionauth", "`fusionauth-app.url`"),
        ("wso2is", "`[server] hostname`"),
        ("curity", "`base-url`"),
    ],
)
async def test_the_remedy_names_the_products_own_option(
    house: House, profile: str, words: str
) -> None:
    house.metadata(PROFILES[profile].discovery, origin="https://kc.internal")
    report = await examined(house, profile=profile)
    (finding,) = [each for each in report.findings if each.check == "discovery"]
    assert words in finding.remedy


async def test_plain_http_is_one_cause_with_the_cookies(house: House) -> None:
    house.metadata(KEYCLOAK.discovery, origin=str(house.https).replace("https", "http"))
    house.page("/", 200, Set_Cookie="S=secret; Path=/")
    report = await examined(house)
    (finding,) = [each for each in report.findings if each.check != "HSTS"]
    assert finding.check == "discovery"
    assert any("Set-Cookie S" in place for place in finding.places)
    assert "`proxy-headers=xforwarded`" in finding.remedy


async def test_a_door_that_cuts_connections_ends_the_survey(unused_tcp_port: int) -> None:
    from datetime import UTC, datetime

    from lbproxy.doctor.door import Door, Origin

    origin = Origin("http", "127.0.0.1", unused_tcp_port)
    found = await asyncio.to_thread(survey, Door(origin), KEYCLOAK)
    assert found.nothing_but == "connection refused"
    assert check_agreement(found, KEYCLOAK).findings == ()
    report = await asyncio.to_thread(examine, origin, Options(), datetime.now(UTC))
    assert "cannot be reached" in report.findings[0].what
