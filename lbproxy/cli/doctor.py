"""`lbproxy doctor URL`: examine a front door from outside."""

from __future__ import annotations

import argparse
import json
import ssl
import sys
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from lbproxy.cli.arguments import Subparsers
from lbproxy.doctor.door import Origin
from lbproxy.doctor.examine import Options, examine
from lbproxy.doctor.facts import PROFILES
from lbproxy.doctor.findings import Level, Outcome, Report

_EXIT_FINE, _EXIT_FINDINGS, _EXIT_USAGE = 0, 1, 2


def add_parser(subparsers: Subparsers) -> None:
    """Register `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="examine a front door from outside",
        description="Looks for what users would report: wrong redirects, issuers and cookies, "
        "pages that should be hidden, certificates. Sends harmless GET requests only. "
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
    except OSError as error:
        print(f"lbproxy doctor: --ca {arguments.ca}: {error.strerror or error}", file=sys.stderr)
        return _EXIT_USAGE
    except ValueError as error:
        print(f"lbproxy doctor: {error}", file=sys.stderr)
        return _EXIT_USAGE
    options = Options(
        profile=arguments.profile,
        discovery=arguments.discovery,
        ca=arguments.ca,
        insecure=arguments.insecure,
        http_port=arguments.http_port,
    )
    report = examine(origin, options, datetime.now(UTC))
    if arguments.json:
        print(json.dumps(as_json(report), indent=2))
    else:
        # A pipe or a file has no width: what is wrapped there cannot be searched.
        _print(report, Console(highlight=False, soft_wrap=not sys.stdout.isatty()))
    return _EXIT_FINE if report.healthy else _EXIT_FINDINGS


def as_json(report: Report) -> dict[str, object]:
    """Return the report for programs."""
    return {
        "origin": report.origin,
        "profile": report.profile,
        "healthy": report.healthy,
        "checks": [
            {"check": outcome.check, "result": _result(outcome), "skipped": outcome.skipped}
            for outcome in report.outcomes
        ],
        "findings": [
            asdict(finding) | {"level": finding.level.value} for finding in report.findings
        ],
        "hints": list(report.hints),
    }


def _result(outcome: Outcome) -> str:
    if any(finding.level is Level.FINDING for finding in outcome.findings):
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


def _print(report: Report, console: Console) -> None:
    profile = f" as {report.profile}" if report.profile else ""
    console.print(Text.assemble((report.origin, "bold"), profile))
    for outcome in report.outcomes:
        line = Text.assemble(_MARKS[_result(outcome)], f"  {outcome.check}")
        if outcome.skipped is not None:
            line.append(f": {outcome.skipped}", style="dim")
        console.print(line)
        for finding in outcome.findings:
            console.print(Text(f"         {finding.what}", style="bold"))
            for label, text in (
                ("seen", finding.evidence),
                ("likely", finding.cause),
                ("do", finding.remedy),
            ):
                console.print(Text.assemble((f"         {label:>7}: ", "dim"), text))
    if not report.healthy and report.hints:
        console.print(Text("What the provider needs itself:", style="bold"))
        for hint in report.hints:
            console.print(Text(f"- {hint}"))
