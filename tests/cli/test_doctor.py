"""`lbproxy doctor`: what is printed, and the exit code."""

from __future__ import annotations

import argparse
import json
from datetime import datetime

import pytest

from lbproxy.cli import doctor, main
from lbproxy.doctor.door import Origin
from lbproxy.doctor.examine import Options
from lbproxy.doctor.results import CheckResult, Diagnosis, Examination, Level

FINDING = Diagnosis("cookies", "S is [red]not[/] Secure", "at /login", "plain http", "send Proto")
HINT = Diagnosis("HSTS", "no HSTS", "nowhere", "nobody", "send it", Level.HINT)


def run(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, outcomes: tuple[CheckResult, ...] = ()
) -> int:
    asked: list[tuple[Origin, Options]] = []

    def examine(origin: Origin, options: Options, now: datetime) -> Examination:
        assert now.tzinfo is not None
        asked.append((origin, options))
        return Examination(str(origin), options.profile or "generic", outcomes, ("set x",))

    monkeypatch.setattr(doctor, "examine", examine)
    parser = argparse.ArgumentParser()
    doctor.add_parser(parser.add_subparsers())
    namespace = parser.parse_args(["doctor", *arguments])
    code = namespace.func(namespace)
    assert isinstance(code, int)
    return code


def test_no_findings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = (CheckResult("cookies"), CheckResult("HSTS", skipped="http"))
    assert run(monkeypatch, "https://a", "--profile", "keycloak", outcomes=outcomes) == 0
    text = capsys.readouterr().out
    assert "https://a as keycloak" in text
    assert "fine     cookies" in text
    assert "skipped  HSTS: http" in text


def test_findings_are_told_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "https://a", outcomes=(CheckResult("cookies", (FINDING,)),)) == 1
    text = capsys.readouterr().out
    assert "What the provider needs itself:\n- set x\n" in text
    for part in ("S is [red]not[/] Secure", "seen: at /login", "likely: plain", "do: send Proto"):
        assert part in text


def test_what_goes_into_a_pipe_is_not_wrapped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = Diagnosis("cookies", "what", "seen", "cause", " ".join(["remedy"] * 40))
    run(monkeypatch, "https://a", outcomes=(CheckResult("cookies", (long,)),))
    assert any(line.endswith(long.remedy) for line in capsys.readouterr().out.splitlines())


def test_hints_do_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "https://a", outcomes=(CheckResult("HSTS", (HINT,)),)) == 0


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = (CheckResult("cookies", (FINDING,)), CheckResult("HSTS", (HINT,)), CheckResult("x"))
    assert run(monkeypatch, "https://a", "--json", outcomes=outcomes) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] is False
    assert report["hints"] == ["set x"]
    assert [check["result"] for check in report["checks"]] == ["finding", "hint", "fine"]
    assert report["findings"][0]["remedy"] == "send Proto"
    assert report["findings"][1]["level"] == "hint"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("idp.example.com",), "write https://host"),
        (("https://a", "--ca", "/nonexistent"), "--ca /nonexistent: No such file"),
        (("https://a", "--discovery", "x"), "begins with /"),
        (("https://a", "--http-port", "0"), "from 1 to 65535"),
        (("https://a", "--resolve", "a:443"), "--resolve a:443: write HOST:PORT:ADDRESS"),
        (("https://a", "--resolve", "b:443:127.0.0.1"), "says nothing of a, which is to be"),
    ],
)
def test_usage(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    text: str,
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert text in capsys.readouterr().err


def test_the_options_of_an_examination(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pins = ("--resolve", "a:443:192.0.2.1", "--resolve", "a:80:[2001:db8::1]")
    asked: list[Options] = []

    def examine(origin: Origin, options: Options, now: datetime) -> Examination:
        asked.append(options)
        return Examination(str(origin), "generic", addresses=options.pins.addresses("a", 443))

    monkeypatch.setattr(doctor, "examine", examine)
    assert main(["doctor", "https://a/app", *pins]) == 0
    assert asked[0].page == "/app"
    assert asked[0].pins.addresses("a", 80) == ("2001:db8::1",)
    assert capsys.readouterr().out == "https://a at 192.0.2.1 as generic\n"


def test_one_cause_is_told_once_with_its_places(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = (
        CheckResult("redirects", (FINDING.also_at(["at /other"]),)),
        CheckResult("discovery", see="redirects"),
    )
    assert run(monkeypatch, "https://a", outcomes=outcomes) == 1
    text = capsys.readouterr().out
    assert "            seen: at /login\n                  at /other\n" in text
    assert "finding  discovery: the same cause, see redirects\n" in text
    assert run(monkeypatch, "https://a", "--json", outcomes=outcomes) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["findings"][0]["places"] == ["at /login", "at /other"]
    assert [check["see"] for check in report["checks"]] == [None, "redirects"]
