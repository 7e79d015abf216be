"""`lbproxy doctor URL`: examine a front door from outside."""

from __future__ import annotations

import argparse
import ssl
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from urllib.parse import urlsplit

from rich.console import Console

from lbproxy.cli.arguments import Subparsers
from lbproxy.cli.output import complain, tell_json, text
from lbproxy.doctor.door import Origin
from lbproxy.doctor.examine import Options, examine
from lbproxy.doctor.facts import PROFILES
from lbproxy.doctor.resolve import Pins
from lbproxy.doctor.results import CheckResult, Diagnosis, Examination, Level

_EXIT_FINE, _EXIT_FINDINGS, _EXIT_USAGE = 0, 1, 2


def add_parser(subparsers: Subparsers) -> None:
    """Register `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="examine a front door from outside",
        description="Looks for what users would report: wrong redirects, issuers and cookies, "
        "pages that should be hidden, certificates. Sends harmless requests only: GET, and at "
        "Keycloak's token endpoint a code that nobody has. "
        "Exit code: 0 no findings, 1 findings, 2 usage.",
    )
    parser.add_argument("url", metavar="URL", help="the public address, https://idp.example.com")
    parser.add_argument(
        "--profile", choices=sorted(PROFILES), help="the identity provider (found out by default)"
    )
    parser.add_argument(
        "--discovery", metavar="PATH", help="path of the OpenID Connect metadata document"
    )
    parser.add_argument("--ca", metavar="FILE", help="trust this PEM file instead of the system's")
    parser.add_argument(
        "--insecure", action="store_true", help="do not check who issued the certificate"
    )
    parser.add_argument(
        "--http-port", type=int, default=80, metavar="PORT", help="plain listener (%(default)s)"
    )
    parser.add_argument(
        "--resolve",
        action="append",
        default=[],
        metavar="HOST:PORT:ADDRESS",
        help="connect there instead of to what DNS says, as curl does: examines a cut-over before "
        "DNS changes; may come several times",
    )
    parser.add_argument("--json", action="store_true", help="JSON for programs")
    parser.set_defaults(func=run_doctor)


def run_doctor(arguments: argparse.Namespace) -> int:
    """Examine and print."""
    try:
        origin = Origin.parse(arguments.url)
        if arguments.ca is not None:
            ssl.create_default_context(cafile=arguments.ca)
        if arguments.discovery is not None and not arguments.discovery.startswith("/"):
            raise ValueError(f"--discovery {arguments.discovery}: a path begins with /")
        if not 0 < arguments.http_port < 65536:
            raise ValueError(f"--http-port {arguments.http_port}: a port is from 1 to 65535")
        pins = _pins(arguments.resolve, origin)
    except OSError as error:
        complain("lbproxy doctor", f"--ca {arguments.ca}: {error.strerror or error}")
        return _EXIT_USAGE
    except ValueError as error:
        complain("lbproxy doctor", str(error))
        return _EXIT_USAGE
    options = Options(
        profile=arguments.profile,
        discovery=arguments.discovery,
        ca=arguments.ca,
        insecure=arguments.insecure,
        http_port=arguments.http_port,
        page=urlsplit(arguments.url).path or None,
        pins=pins,
    )
    report = examine(origin, options, datetime.now(UTC))
    if arguments.json:
        tell_json(as_json(report))
    else:
        # A pipe or a file has no width: wrapped text could not be searched there.
        _print(report, Console(highlight=False, soft_wrap=not sys.stdout.isatty()))
    return _EXIT_FINE if report.healthy else _EXIT_FINDINGS


def _pins(texts: list[str], origin: Origin) -> Pins:
    """Return the pins that --resolve gives. Raises: ValueError."""
    try:
        pins = Pins.parse(texts)
    except ValueError as error:
        raise ValueError(f"--resolve {error}") from None
    if texts and not pins.names(origin.host):
        # Else the old door would be examined in place of the new one.
        raise ValueError(f"--resolve says nothing of {origin.host}, which is to be examined")
    return pins


def as_json(report: Examination) -> dict[str, object]:
    """Return the report for programs."""
    return {
        "origin": report.origin,
        "addresses": list(report.addresses),
        "profile": report.profile,
        "healthy": report.healthy,
        "checks": [
            {
                "check": outcome.check,
                "result": _result(outcome),
                "skipped": outcome.skipped,
                "see": outcome.see,
            }
            for outcome in report.outcomes
        ],
        "findings": [_finding_as_json(finding) for finding in report.findings],
        "hints": list(report.hints),
    }


def _finding_as_json(finding: Diagnosis) -> dict[str, object]:
    document = asdict(finding) | {
        "level": finding.level.value,
        "places": list(finding.everywhere),
    }
    del document["key"]
    return document


def _result(outcome: CheckResult) -> str:
    if outcome.see is not None or any(
        finding.level is Level.FINDING for finding in outcome.findings
    ):
        return "finding"
    if outcome.findings:
        return "hint"
    return "skipped" if outcome.skipped is not None else "fine"


_MARKS = {
    "fine": ("fine   ", "green"),
    "hint": ("hint   ", "yellow"),
    "finding": ("finding", "bold red"),
    "skipped": ("skipped", "dim"),
}


def _print(report: Examination, console: Console) -> None:
    profile = f" as {report.profile}" if report.profile else ""
    at = f" at {', '.join(report.addresses)}" if report.addresses else ""
    console.print(text((report.origin, "bold"), at, profile))
    for outcome in report.outcomes:
        mark, style = _MARKS[_result(outcome)]
        beside = outcome.skipped
        if beside is None and outcome.see is not None:
            beside = f"the same cause, see {outcome.see}"
        more = (f": {beside}", "dim") if beside is not None else ""
        console.print(text((mark, style), f"  {outcome.check}", more))
        for finding in outcome.findings:
            console.print(text(f"         {finding.what}", style="bold"))
            _tell_row(console, "seen", finding.everywhere[0])
            for place in finding.everywhere[1:]:
                _tell_row(console, "", place)
            _tell_row(console, "likely", finding.cause)
            _tell_row(console, "do", finding.remedy)
    if not report.healthy and report.hints:
        console.print(text("What the provider needs itself:", style="bold"))
        for hint in report.hints:
            console.print(text(f"- {hint}"))


def _tell_row(console: Console, label: str, words: str) -> None:
    console.print(text((f"         {label:>7}{':' if label else ' '} ", "dim"), words))
