"""The providers' presets, as data and as pools."""

from __future__ import annotations

import pytest

from lbproxy.config.profiles import NAMES, load_profile, with_defaults
from lbproxy.config.schema import HealthSettings, Policy, PoolSettings, StickySettings, StickyStep
from lbproxy.routing.paths import Visibility


def pool(name: str, **own: object) -> PoolSettings:
    own.setdefault("nodes", [{"name": "n1", "url": "http://10.0.0.1:1"}])
    return PoolSettings.model_validate(with_defaults(load_profile(name).defaults, own))


def visibility(settings: PoolSettings) -> Visibility:
    return Visibility(
        [prefix.encode() for prefix in settings.hide],
        [prefix.encode() for prefix in settings.expose],
        [prefix.encode() for prefix in settings.tenant_prefixes],
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_a_valid_pool(name: str) -> None:
    profile = load_profile(name)
    settings = pool(name)
    assert settings.health is not False
    assert profile.title
    assert profile.discovery.endswith("/.well-known/openid-configuration")
    assert profile.doctor_hints
    if profile.node_idle_limit is not None:
        assert settings.keepalive.idle < profile.node_idle_limit
    # Applications read the discovery document, so it is not hidden.
    assert not visibility(settings).hidden(profile.discovery.encode())


@pytest.mark.parametrize("name", ["Generic", "none", "../generic", "keycloak_legacy"])
def test_there_are_no_other_profiles(name: str) -> None:
    with pytest.raises(KeyError):
        load_profile(name)


@pytest.mark.parametrize("name", ["generic", "fusionauth", "curity"])
def test_stateless_providers_need_no_affinity(name: str) -> None:
    assert pool(name).sticky is False


def test_fusionauth_probes_status_and_hides_administration() -> None:
    settings = pool("fusionauth")
    assert isinstance(settings.health, HealthSettings)
    assert (settings.health.path, settings.health.soft) == ("/api/status", "460")
    assert settings.balance is Policy.LEAST_REQUESTS
    rules = visibility(settings)
    for path in (
        b"/admin/",
        b"/api/status",
        b"/api/health",
        b"/api/prometheus/metrics",
        b"/api/system/version",
    ):
        assert rules.hidden(path)
    for path in (b"/oauth2/authorize", b"/api/user", b"/account/", b"/"):
        assert not rules.hidden(path)


def test_keycloak_follows_the_route_and_probes_the_management_port() -> None:
    settings = pool("keycloak")
    assert isinstance(settings.sticky, StickySettings)
    assert settings.sticky.by == (StickyStep.ROUTE,)
    assert settings.sticky.cookie == "AUTH_SESSION_ID"
    assert settings.sticky.also == ("AUTH_SESSION_ID_LEGACY",)
    assert isinstance(settings.health, HealthSettings)
    health = settings.health
    assert (health.path, health.port, health.scheme) == ("/health/ready", 9000, "auto")
    for path in (b"/", b"/admin/", b"/metrics", b"/health/ready", b"/realms/../admin", b"/js/x"):
        assert visibility(settings).hidden(path)
    for path in (b"/realms/x/account", b"/resources/a/b.css", b"/robots.txt"):
        assert not visibility(settings).hidden(path)
    wide = pool("keycloak", expose=["/"])
    assert visibility(wide).hidden(b"/admin/")
    assert not visibility(wide).hidden(b"/js/x")


def test_legacy_keycloak_follows_path_parameters_too() -> None:
    settings = pool("keycloak-legacy")
    assert isinstance(settings.sticky, StickySettings)
    assert settings.sticky.by == (StickyStep.ROUTE, StickyStep.PATH_PARAMETER)
    assert settings.sticky.path_parameter == "jsessionid"
    assert settings.keepalive.idle == 50
    rules = visibility(settings)
    assert rules.hidden(b"/auth/admin/")
    assert rules.hidden(b"/management")
    assert not rules.hidden(b"/auth/realms/x;jsessionid=1.node1")


def test_wso2_gets_a_cookie_of_ours_and_hides_below_tenants() -> None:
    settings = pool("wso2is")
    assert isinstance(settings.sticky, StickySettings)
    assert settings.sticky.by == (StickyStep.OWN_COOKIE,)
    assert isinstance(settings.health, HealthSettings)
    assert settings.health.body == '"health"'
    assert settings.timeouts.response == 300
    rules = visibility(settings)
    for prefix in (b"", b"/t/carbon.super", b"/o", b"/o/acme", b"/t/x/o", b"/t/x/o/acme"):
        for path in (b"/carbon/admin", b"/console", b"/services/x", b"/api/server/v1/x"):
            assert rules.hidden(prefix + path)
        assert not rules.hidden(prefix + b"/oauth2/authorize")


def test_curity_is_probed_on_its_status_port() -> None:
    settings = pool("curity")
    assert isinstance(settings.health, HealthSettings)
    health = settings.health
    assert (health.path, health.port, health.scheme) == ("/serving", 4465, "http")


def test_own_keys_are_merged_into_sections_and_replace_lists() -> None:
    settings = pool("keycloak", health={"port": 8443}, hide=["/x"], sticky={"also": []})
    assert isinstance(settings.health, HealthSettings)
    assert (settings.health.path, settings.health.port) == ("/health/ready", 8443)
    assert settings.hide == ("/x",)
    assert isinstance(settings.sticky, StickySettings)
    assert (settings.sticky.cookie, settings.sticky.also) == ("AUTH_SESSION_ID", ())
    off = pool("keycloak", health=False, sticky=False)
    assert off.health is False
    assert off.sticky is False
    on = pool("fusionauth", sticky={"cookie": "X"})
    assert on.sticky == StickySettings(cookie="X")
    assert load_profile("keycloak").defaults["hide"] == ["/admin", "/health", "/metrics"]
