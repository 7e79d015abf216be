"""The doctor in front of a real node that is set up as people do: `hostname` without the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.artifacts import Missing
from tests.e2e.door import Door
from tests.e2e.keycloak import Single

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("options", "checks"),
    [
        (("--hostname={origin}", "--proxy-headers=xforwarded"), set()),
        (("--hostname={origin}",), {"proxy headers"}),
        (("--hostname-strict=false",), {"discovery"}),
        (("--hostname=https://wrong.example", "--proxy-headers=xforwarded"), {"discovery"}),
    ],
)
def test_each_wrong_setting_is_one_finding(
    tmp_path: Path, options: tuple[str, ...], checks: set[str]
) -> None:
    pool = {
        "profile": "keycloak",
        "sticky": False,
        "health": {"interval": "500ms", "timeout": "400ms"},
        "nodes": [{"name": "kc1", "url": Single.URL}],
    }
    with Door(tmp_path, pool) as door:
        try:
            node = Single(tmp_path, [option.format(origin=door.origin) for option in options])
        except Missing as missing:
            pytest.skip(str(missing))
        with node:
            door.until_health("kc1", "up")
            ports = ("--http-port", str(door.plain_port))
            ran = door.command("doctor", door.origin, "--ca", str(door.ca), *ports, "--json")
        report = json.loads(ran.stdout)
        assert report["profile"] == "keycloak"
        assert {finding["check"] for finding in report["findings"]} == checks
        assert len(report["findings"]) == len(checks)
        assert ran.returncode == bool(checks)
