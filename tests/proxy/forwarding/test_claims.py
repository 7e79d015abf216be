"""Names by which products tell nodes who a client is: none of them comes from a client."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from lbproxy.proxy.forwarding.claims import MAX_NAME
from lbproxy.proxy.forwarding.rules import drop_rules

# As their documents name them.
PRODUCTS = {
    "nginx": (
        "X-Real-IP X-Original-URI X-SSL-Client-Verify X-SSL-Client-S-DN X-SSL-Cert "
        "ssl-client-cert ssl-client-subject-dn X-Client-Verify X-Client-DN X-Url-Scheme"
    ),
    "HAProxy": (
        "X-SSL X-SSL-Client-Verify X-SSL-Client-SHA1 X-SSL-Client-DN X-SSL-Client-CN "
        "X-SSL-Issuer X-SSL-Client-Not-Before X-SSL-Client-Cert X-Forward-For X-Client-IP"
    ),
    "Apache": (
        "SSL_CLIENT_S_DN SSL_CLIENT_CERT SSL_CLIENT_VERIFY REMOTE_USER X-Remote-User "
        "OIDC_CLAIM_sub OIDC_access_token MELLON_NAME_ID CAS-User X-Forwarded-Server "
        "AUTH_TYPE"
    ),
    "Traefik": (
        "X-Forwarded-Tls-Client-Cert X-Forwarded-Tls-Client-Cert-Info X-Forwarded-User "
        "X-Forwarded-Prefix X-Auth-User"
    ),
    "Envoy": (
        "X-Forwarded-Client-Cert X-Envoy-External-Address X-Envoy-Original-Path "
        "X-Envoy-Original-Host X-Envoy-Peer-Metadata X-Envoy-Internal"
    ),
    "F5": (
        "SSLClientCert SSLClientCertStatus SSLClientCertSubject X-SSL-Client-Cert-Serial "
        "X-F5-Client-Cert X-Client-Cert ClientCert-Issuer"
    ),
    "Citrix": (
        "NS-Client-IP NSClientIP NSC-Client-Cert X-NS-Client-IP X-Citrix-Via-Vip "
        "Client-Cert-Subject"
    ),
    "AWS": (
        "X-Amzn-Mtls-Clientcert X-Amzn-Mtls-Clientcert-Leaf X-Amzn-Oidc-Identity "
        "X-Amzn-Oidc-Data X-Amzn-Oidc-Accesstoken X-Amzn-Tls-Version X-Amzn-Tls-Cipher-Suite "
        "CloudFront-Viewer-Address CloudFront-Viewer-Tls CloudFront-Forwarded-Proto"
    ),
    "GCP": (
        "X-Goog-Authenticated-User-Email X-Goog-Authenticated-User-Id "
        "X-Goog-Iap-Jwt-Assertion X-AppEngine-User-IP X-AppEngine-Https X-Client-Cert-Present "
        "X-Client-Cert-Chain-Verified X-Client-Cert-Spiffe X-Endpoint-API-UserInfo "
        "X-Apigateway-Api-Userinfo"
    ),
    "Azure": (
        "X-ARR-ClientCert X-ARR-SSL X-Azure-ClientIP X-Azure-SocketIP X-Azure-FDID "
        "X-Original-Host X-MS-CLIENT-PRINCIPAL X-MS-CLIENT-PRINCIPAL-NAME "
        "X-MS-TOKEN-AAD-ID-TOKEN DISGUISED-HOST"
    ),
    "Cloudflare": (
        "CF-Connecting-IP CF-Connecting-IPv6 CF-Visitor CF-Pseudo-IPv4 True-Client-IP "
        "Cf-Access-Authenticated-User-Email Cf-Access-Jwt-Assertion CF-Client-Cert-Der-Base64 "
        "Cf-Cert-Verified"
    ),
    "Akamai": "True-Client-IP X-True-Client-IP Akamai-Client-IP X-Akamai-Edgescape",
    "Fastly": "Fastly-Client-IP Fastly-SSL Fastly-FF Fastly-Orig-Host Fastly-Client",
    "WebLogic": (
        "WL-Proxy-Client-IP WL-Proxy-Client-Cert WL-Proxy-Client-Keysize "
        "WL-Proxy-Client-Secretkeysize WL-Proxy-SSL WL-Proxy-Client-Port Proxy-Client-IP "
        "X-WebLogic-Force-JVMID"
    ),
    "WSO2": ("X-WSO2-Mtls-Cert X-WSO2-Mutual-Auth-Cert X-WSO2-CLIENT-CERTIFICATE X-JWT-Assertion"),
    "SiteMinder": "SM_USER SM-USERDN SM_UNIVERSALID SM_AUTHTYPE SM_SERVERSESSIONID SMUSER",
    "Oracle Access Manager": (
        "OAM_REMOTE_USER OAM_REMOTE_USER_GROUPS OAM_IDENTITY_DOMAIN "
        "OAM_LAST_REAUTHENTICATION_TIME OAM_IMPERSONATOR_USER Osso-User-Dn Proxy-Remote-User"
    ),
    "WebSEAL": (
        "iv-user iv-user-l iv-groups iv-creds iv_server_name iv-remote-address am-eai-user-id"
    ),
    "WebSphere": "$WSCC $WSRA $WSRH $WSRU $WSSC $WSSN $WSSP $WSIS $WSPR $WSAT",
    "Pomerium": "X-Pomerium-Jwt-Assertion X-Pomerium-Claim-Email",
    "oauth2-proxy": (
        "X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Groups "
        "X-Auth-Request-Preferred-Username X-Forwarded-Access-Token "
        "X-Forwarded-Preferred-Username"
    ),
    "Authelia": "Remote-User Remote-Groups Remote-Name Remote-Email",
    "authentik": "X-authentik-username X-authentik-groups X-authentik-email X-authentik-jwt",
    "Vouch": "X-Vouch-User X-Vouch-Idp-Claims-Email",
    "Istio": "X-Forwarded-Client-Cert X-Istio-Attributes X-Spiffe-Id",
    "Kong": (
        "X-Consumer-ID X-Consumer-Username X-Consumer-Custom-ID X-Credential-Identifier "
        "X-Anonymous-Consumer X-Authenticated-Userid X-Authenticated-Scope "
        "X-Authenticated-Groups X-Userinfo X-ID-Token"
    ),
    "Tyk": "X-Tyk-Nonce X-Tyk-Client-Cert",
    "Apigee": "X-Apigee-Client-Cert X-Client-Subject-DN X-Tls-Client-Cert",
    "Shibboleth": "Shib-Session-ID Shib-Identity-Provider eppn persistent-id REMOTE_USER",
    "Tailscale": "Tailscale-User-Login Tailscale-User-Name Tailscale-User-Profile-Pic",
    "Teleport": "Teleport-Jwt-Assertion",
    "ngrok": "Ngrok-Auth-User-Email Ngrok-Auth-User-Id",
    "Zscaler": "Z-Forwarded-For X-Authenticated-User X-Authenticated-Groups X-Bluecoat-Via",
    "Caddy": "X-Token-User-Email X-Token-Subject X-Token-User-Roles",
    "Kubernetes": "X-Remote-User X-Remote-Group X-Remote-Extra-Scopes Impersonate-User",
    "others": (
        "X-Subject-DN SubjectDN X-Issuer-DN X-HTTP-Host-Override X-Host-Override X-Host "
        "X-Scheme X-Proto X-Port X-HTTPS Front-End-Https SSL-Offloaded X-TLS-Version "
        "X-Originating-IP X-Source-IP X-Remote-IP X-Remote-Addr Client-IP X-Cluster-Client-IP "
        "X-ProxyUser-Ip X-Connecting-IP X-Rewrite-URL X-Forward-Proto X-Fwd-For X-User "
        "X-User-Id X-User-Email X-WebAuth-User X-SSO-User X-LDAP-User X-Kerberos-Principal "
        "Authenticated-User X-MTLS-Subject X-XFCC X-Peer-Cert X-Certificate-Subject "
        "X-Server-Name REMOTE_ADDR"
    ),
}

# What clients send to an identity provider, or might, and what only looks like a claim.
OTHERS = (
    "Authorization X-Requested-With X-CSRF-Token X-XSRF-Token X-Csrf-Token-Name "
    "Sec-Fetch-Site Sec-Fetch-User Sec-Fetch-Mode Sec-WebSocket-Protocol "
    "Sec-WebSocket-Key Sec-WebSocket-Extensions Sec-CH-UA Sec-CH-UA-Platform-Version "
    "Sec-CH-UA-Full-Version-List Sec-GPC Accept Accept-Language Accept-Encoding "
    "Accept-Datetime Content-Type Content-Disposition Content-Language Content-Location "
    "Content-Encoding Origin Referer From Range If-Range If-Match If-None-Match "
    "Max-Forwards Idempotency-Key DPoP X-Api-Key apikey X-Client-Version X-Client-Info "
    "X-Client-Name X-Client-Data X-Client-SKU X-client-CPU X-client-OS x-client-ver "
    "client-request-id return-client-request-id x-ms-client-request-id "
    "x-client-current-telemetry X-Correlation-Id traceparent tracestate baggage "
    "X-Amzn-Trace-Id X-Amz-Date X-Amz-Security-Token X-Amz-Content-Sha256 "
    "X-Cloud-Trace-Context CF-Ray X-B3-TraceId X-Device-Id X-Device-Fingerprint "
    "X-Portal-Id X-Client-Portal X-User-Portal X-User-Agent X-Grpc-Web Grpc-Timeout "
    "Connect-Protocol-Version Connect-Timeout-Ms Service-Worker Last-Event-ID "
    "X-FusionAuth-TenantId X-FusionAuth-Application X-Tenant X-Tenant-Id Prefer Digest "
    "Signature Signature-Input Device-Memory Downlink RTT ECT Viewport-Width Purpose "
    "Sec-Purpose X-Session-Id X-Auth-Token X-Access-Token Api-Version OData-Version "
    "SOAPAction Access-Control-Request-Method Access-Control-Request-Headers "
    "Access-Control-Request-Private-Network Upgrade-Insecure-Requests User-Agent Cookie "
    "DNT Save-Data Priority Cache-Control Pragma X-HTTP-Method-Override "
    "X-Okta-User-Agent-Extended X-OpenAM-Username X-OpenAM-Password Accept-API-Version "
    "X-Timezone X-Platform X-App-Version X-Locale X-Debug Via Want-Digest X-Request-Start "
    "Slug Destination Depth Overwrite Lock-Token X-Vault-Token X-Hub-Signature "
    "X-GitHub-Event Stripe-Signature X-Subject-Token X-Chrome-Connected X-Goog-Api-Key "
    "X-Realm X-Org-Id X-Nonce X-Password X-Recaptcha-Token HTTP2-Settings X-Smart-Id "
    "X-Transport X-Report-Id X-Important X-Support-Id X-Clip-Id X-Stays X-Own X-Mine "
    "Client-Id X-Client-Id Client-Secret X-Client-Secret X-Shipping X-Zip X-Description "
    "X-Tip ivory Ivy-Id samples X-Usage X-Users-Count X-Userscript X-Forwards "
    "X-Concert-Id X-Crossline-Id X-Author X-Authority X-Authentication X-Auth-Method "
    "Proxy-Authenticate X-Email-Template X-Groups-Filter Sec-Browsing-Topics "
    "Attribution-Reporting-Eligible X-Host-Id Early-Data Alt-Used NEL Cdn-Loop "
    "X-Request-Time X-Origin-Path X-Origin"
)


def spellings(name: str) -> Iterator[str]:
    """Yield what nodes that see CGI's variables, or compare loosely, take for the same name."""
    yield from (name, name.upper(), name.lower(), name.title())
    for separator in ("_", ".", "-", "--", "_-", "~", ""):
        spelled = re.sub(r"[^A-Za-z0-9$]", separator, name)
        yield spelled
        yield spelled.upper()


@pytest.mark.parametrize("product", PRODUCTS)
def test_no_client_sets_what_a_product_writes(product: str) -> None:
    rules = drop_rules(())
    for name in PRODUCTS[product].split():
        for spelled in spellings(name):
            # A second look is answered from memory.
            assert rules.matches(spelled.encode()), spelled
            assert rules.matches(spelled.encode()), spelled


def test_other_fields_pass_in_every_spelling() -> None:
    rules = drop_rules(())
    for name in OTHERS.split():
        for spelled in (name, name.upper(), name.lower(), name.replace("-", "_")):
            assert not rules.matches(spelled.encode()), spelled
            assert not rules.matches(spelled.encode()), spelled


def test_long_names_are_looked_at_by_their_beginning_alone() -> None:
    rules = drop_rules(())
    assert rules.matches(b"x-forwarded-" + b"a" * 500)
    assert rules.matches(b"a" * (MAX_NAME - 13) + b"-x-client-dn-")
    assert not rules.matches(b"a" * MAX_NAME + b"-x-client-dn-")


def test_the_memory_of_names_is_bounded() -> None:
    """Clients choose the names, so they must not fill our memory; what is thought of one stays."""
    rules = drop_rules(["X-Mine"])
    for number in range(10_000):
        assert not rules.matches(b"x-thing-%d" % number)
        assert rules.matches(b"x-client-cert-%d" % number)
    assert rules.matches(b"x_mine")
