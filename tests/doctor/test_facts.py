"""The doctor looks for what the profiles hide."""

from __future__ import annotations

import pytest

from lbproxy.config.profiles import NAMES, load_profile
from lbproxy.doctor.facts import DETECTABLE, PROFILES


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_known(name: str) -> None:
    facts = PROFILES[name]
    assert facts.discovery == load_profile(name).discovery
    assert facts.hints
    hide = load_profile(name).defaults.get("hide", [])
    assert isinstance(hide, list)
    assert set(hide) <= {*facts.hidden, *facts.observability}


def test_tenants_lead_to_the_same_pages() -> None:
    assert PROFILES["wso2is"].tenants == ("/t/x", "/o/x", "/o", "/t/x/o/x")
    assert "/console" in PROFILES["wso2is"].hidden


def test_a_provider_of_its_own_place_is_detected() -> None:
    assert {facts.name for facts in DETECTABLE} == {
        "keycloak",
        "keycloak-legacy",
        "wso2is",
        "curity",
    }
