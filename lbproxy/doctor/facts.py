"""What each identity provider has where: discovery, login pages, what must stay hidden."""

from __future__ import annotations

from dataclasses import dataclass

_ROOT_DISCOVERY = "/.well-known/openid-configuration"
# What a proxy or its exporter shows by default; no identity provider needs it in public.
_ANYWHERE = ("/metrics", "/livez", "/readyz", "/api/v1/nodes")


@dataclass(frozen=True, slots=True)
class Facts:
    """One provider.

    Args: discovery: path of the metadata; pages: what a browser opens; hidden: prefixes that
    nobody outside may reach; observability: health and metrics; tenants: prefixes that lead to the
    same pages; settings: what to set at the provider so that it believes the proxy.
    """

    name: str
    discovery: str
    pages: tuple[str, ...]
    hidden: tuple[str, ...]
    observability: tuple[str, ...]
    settings: str
    tenants: tuple[str, ...] = ()


_LIST = (
    Facts(
        name="keycloak",
        discovery="/realms/master/.well-known/openid-configuration",
        pages=("/realms/master/account/",),
        hidden=("/admin",),
        observability=("/health", "/health/ready", *_ANYWHERE),
        settings="proxy-headers=xforwarded, hostname and proxy-trusted-addresses",
    ),
    Facts(
        name="keycloak-legacy",
        discovery="/auth/realms/master/.well-known/openid-configuration",
        pages=("/auth/realms/master/account/",),
        hidden=("/auth/admin",),
        observability=("/health", "/auth/realms/master/metrics", "/auth/metrics", *_ANYWHERE),
        settings="proxy-address-forwarding=true and redirect-socket=proxy-https",
    ),
    Facts(
        name="wso2is",
        discovery="/oauth2/token/.well-known/openid-configuration",
        pages=("/authenticationendpoint/", "/myaccount"),
        hidden=("/carbon", "/console", "/services", "/fileupload", "/api/server"),
        observability=("/api/health-check/v1.0/health", *_ANYWHERE),
        settings="[server] hostname and base_path, proxyPort, and remoteIpValve",
        tenants=("/t/x", "/t/carbon.super", "/o", "/t/x/o/y"),
    ),
    Facts(
        name="curity",
        discovery="/oauth/v2/oauth-anonymous/.well-known/openid-configuration",
        pages=("/authn/authentication",),
        hidden=("/admin",),
        observability=("/serving", "/status", *_ANYWHERE),
        settings="environment base-url and white-listed-proxies",
    ),
    Facts(
        name="fusionauth",
        discovery=_ROOT_DISCOVERY,
        pages=("/oauth2/authorize", "/account/"),
        hidden=("/admin",),
        observability=("/api/status", "/api/health", "/api/prometheus/metrics", *_ANYWHERE),
        settings="nothing but the forwarded fields; since 1.49 also the trusted proxies",
    ),
    Facts(
        name="generic",
        discovery=_ROOT_DISCOVERY,
        pages=(),
        hidden=(),
        observability=("/health", "/api/status", *_ANYWHERE),
        settings="the setting that makes it believe X-Forwarded-Proto, -Host and -Port",
    ),
)
PROFILES = {facts.name: facts for facts in _LIST}

# Which of these discovery documents answers tells the provider; FusionAuth's place is everybody's.
DETECTABLE = tuple(facts for facts in _LIST if facts.discovery != _ROOT_DISCOVERY)
