"""Does Keycloak believe the proxy? If its address is set by hand, only browsers' requests show it.

If `hostname` is set, issuer, redirects and the login form look right without `proxy-headers`. But
the node compares the Origin of a browser with the plain request that it sees: it answers 403 to
token requests of pages that it made itself, such as the account console.
"""

from __future__ import annotations

import html
import re
from urllib.parse import urlencode

from lbproxy.doctor.addresses import mismatch, path_of, without_query
from lbproxy.doctor.door import Door, Reply
from lbproxy.doctor.facts import ProviderFacts
from lbproxy.doctor.forwarded import PLAIN
from lbproxy.doctor.results import CheckResult, Diagnosis, joined
from lbproxy.doctor.survey import Survey

NAME = "proxy headers"
PROVIDERS = ("keycloak", "keycloak-legacy")
# A public client that every realm has, which a browser uses from the provider's own pages.
_CLIENT = "account-console"
# Of RFC 7636 appendix B; nobody redeems a code here.
_CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
_TIMES = 4
# Not past another `<`: else a page of nothing but unclosed tags would be read again for each.
_ACTION = re.compile(rb'<form[^<>]*\saction="([^"]{1,4000})"')


def check_believed(door: Door, facts: ProviderFacts, found: Survey) -> CheckResult:
    """Load a login form, and ask for a token with a code that nobody has, as a page would."""
    if not found.metadata:
        return CheckResult(
            NAME, skipped=f"no metadata at {facts.discovery}: name them by --discovery"
        )
    paths = {
        name: path_of(found.metadata[0].get(name, ""))
        for name in ("issuer", "authorization_endpoint", "token_endpoint")
    }
    if not paths["token_endpoint"]:
        return CheckResult(NAME, skipped="the metadata name no token endpoint")
    findings: list[Diagnosis] = []
    if paths["authorization_endpoint"]:
        findings += _wrong_form(door.get(_login(door, paths)), door, facts)
    findings += _refused(door, facts, paths, found)
    return CheckResult(NAME, joined(findings))


def _login(door: Door, paths: dict[str, str]) -> str:
    query = {
        "client_id": _CLIENT,
        "redirect_uri": f"{door.origin}{paths['issuer']}/account/",
        "response_type": "code",
        "scope": "openid",
        "code_challenge": _CHALLENGE,
        "code_challenge_method": "S256",
    }
    return f"{paths['authorization_endpoint']}?{urlencode(query)}"


def _wrong_form(form: Reply, door: Door, facts: ProviderFacts) -> list[Diagnosis]:
    found = _ACTION.search(form.body)
    url = html.unescape(found[1].decode(errors="replace")) if found is not None else ""
    wrong = mismatch(url, door.origin)
    places = [f"login form: {without_query(url)}"] if wrong is not None else []
    if form.status == 403:  # some releases refuse the form itself
        places.append("login form: 403")
    return [_finding(place, facts, PLAIN) for place in places]


def _refused(
    door: Door, facts: ProviderFacts, paths: dict[str, str], found: Survey
) -> list[Diagnosis]:
    """Ask without and with the Origin of the provider's own pages: both answers must be alike."""
    code = {
        "grant_type": "authorization_code",
        "client_id": _CLIENT,
        "code": "none",
        "redirect_uri": f"{door.origin}{paths['issuer']}/account/",
    }
    target = paths["token_endpoint"]
    own = {"Origin": str(door.origin)}
    plain = [door.post(target, code, {}).status for _ in range(_TIMES)]
    browser = [door.post(target, code, own).status for _ in range(_TIMES)]
    if 403 in plain or 403 not in browser:
        return []
    times = "" if browser.count(403) == _TIMES else f" ({browser.count(403)} times of {_TIMES})"
    place = f"{target} {plain[0]}, but 403{times} with Origin: {door.origin}"
    # If the issuer is http, too, both have one cause.
    told_plain = door.origin.scheme == "https" and all(
        issuer.startswith("http:") for issuer in found.issuers
    )
    return [_finding(place, facts, PLAIN if told_plain else NAME)]


def _finding(place: str, facts: ProviderFacts, key: str) -> Diagnosis:
    return Diagnosis(
        NAME,
        "browsers' token requests are refused: the account console stays empty",
        place,
        f"{facts.title} does not believe the forwarded fields: it takes the request for plain http "
        "and the provider's own pages for strangers",
        f"set {facts.options.forwarded} on every node, also where {facts.options.address} is set",
        key=key,
    )
