"""Checks of cookies, certificates and HSTS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lbproxy.doctor.door import Door, DoorError, Reply
from lbproxy.doctor.facts import PROFILES, ProviderFacts
from lbproxy.doctor.forwarded import PLAIN
from lbproxy.doctor.results import CheckResult, Diagnosis, Level, joined

EXPIRES_SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class SetCookie:
    """A cookie as it was set: its name and attributes, never its value."""

    name: str
    attributes: dict[str, str]
    deleted: bool

    @classmethod
    def parse(cls, value: str) -> SetCookie:
        """Return the cookie of a Set-Cookie value, read as leniently as browsers do."""
        pair, *rest = value.split(";")
        name, _, content = pair.partition("=")
        attributes = {}
        for item in rest:
            key, _, setting = item.partition("=")
            attributes[key.strip().lower()] = setting.strip()
        gone = not content.strip() or attributes.get("max-age") == "0"
        return cls(name.strip(), attributes, gone)


def check_cookies(door: Door, facts: ProviderFacts = PROFILES["generic"]) -> CheckResult:
    """Look at every cookie that the other checks received."""
    findings: dict[str, Diagnosis] = {}
    for reply in door.replies:
        for value in reply.all("set-cookie"):
            for finding in _wrong_with(SetCookie.parse(value), reply, facts):
                findings.setdefault(finding.what, finding)  # a cookie is one place, however often
    return CheckResult("cookies", joined(findings.values()))


def _wrong_with(cookie: SetCookie, reply: Reply, facts: ProviderFacts) -> Iterator[Diagnosis]:
    if cookie.deleted:
        return
    evidence = f"Set-Cookie {cookie.name} at {reply.origin}{reply.path}"
    secure = "secure" in cookie.attributes
    believe = (
        "send X-Forwarded-Proto: https, and make the provider believe it; "
        f"{facts.title}: {facts.options.forwarded}"
    )
    if reply.origin.scheme == "https" and not secure:
        yield Diagnosis(
            "cookies",
            f"cookie {cookie.name} is not Secure",
            evidence,
            "the provider takes the connection for plain http",
            believe,
            key=PLAIN,
        )
    if reply.origin.scheme == "http" and secure:
        yield Diagnosis(
            "cookies",
            f"cookie {cookie.name} is Secure over plain http: browsers drop it",
            evidence,
            "a login page served over http: seen as “Cookie not found” or an endless login",
            "redirect http to https",
            key="served over http",
        )
    if cookie.attributes.get("samesite", "").lower() == "none" and not secure:
        yield Diagnosis(
            "cookies",
            f"cookie {cookie.name} has SameSite=None without Secure: browsers drop it",
            evidence,
            "the provider takes the connection for plain http",
            believe,
            key=PLAIN,
        )
    path = cookie.attributes.get("path", "/") or "/"
    if not _covers(path, reply.path):
        yield Diagnosis(
            "cookies",
            f"cookie {cookie.name} is for {path}, which does not cover the page that set it",
            evidence,
            "a path prefix that the proxy adds or removes and the provider does not know",
            "give the provider a host of its own, or tell it the prefix",
            key="cookie path",
        )


def _covers(cookie_path: str, path: str) -> bool:
    """RFC 6265 section 5.1.4."""
    if path == cookie_path or path == cookie_path.removesuffix("/"):
        return True
    return path.startswith(cookie_path if cookie_path.endswith("/") else f"{cookie_path}/")


def check_certificate(door: Door, *, insecure: bool, now: datetime) -> CheckResult:
    """Check expiry and trust: chain and host name."""
    if door.origin.scheme != "https":
        return CheckResult("certificate", skipped="the address is http")
    findings = []
    try:
        expires = door.certificate().not_valid_after_utc
        error = None if insecure else door.certificate_error()
    except DoorError as problem:
        return CheckResult("certificate", skipped=str(problem))
    if expires - now < EXPIRES_SOON:
        days = (expires - now).days
        findings.append(
            Diagnosis(
                "certificate",
                "the certificate has expired" if days < 0 else f"it expires in {days} days",
                f"valid until {expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
                "it is not renewed, or the proxy still holds the old file",
                "renew it; lbproxy takes a changed file at once",
            )
        )
    if error is not None and "expired" not in error:
        hostname = "mismatch" in error or "not valid for" in error
        findings.append(
            Diagnosis(
                "certificate",
                "clients do not trust the certificate",
                error,
                "it is for another name"
                if hostname
                else "an issuer that clients do not know, or "
                "an intermediate certificate is missing in the file",
                "get one for this name"
                if hostname
                else "put leaf and intermediates into the file; for a private issuer give --ca",
            )
        )
    return CheckResult("certificate", tuple(findings))


def check_hsts(door: Door) -> CheckResult:
    """Hint at Strict-Transport-Security if it is missing."""
    if door.origin.scheme != "https":
        return CheckResult("HSTS", skipped="the address is http")
    if any(reply.first("strict-transport-security") for reply in door.replies):
        return CheckResult("HSTS")
    hint = Diagnosis(
        "HSTS",
        "no Strict-Transport-Security",
        f"none of the answers of {door.origin} has it",
        "neither the provider nor the proxy sends it",
        "once https works everywhere on this host, send max-age=31536000",
        Level.HINT,
    )
    return CheckResult("HSTS", (hint,))
