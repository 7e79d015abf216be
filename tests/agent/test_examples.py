"""The examples that go with the agent work: the systemd unit and the Kubernetes manifest."""

from __future__ import annotations

import asyncio
import configparser
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lbproxy.agent import life
from lbproxy.agent.control import ControlSocket
from lbproxy.cli import main
from lbproxy.config.addresses import Bind
from lbproxy.config.agent import AgentConfig
from lbproxy.config.agent_load import parse_agent_config
from lbproxy.config.units import parse_duration
from tests.agent.conftest import Stage
from tests.e2e.keycloak import VERSION

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "lbproxy-agent@.service"
MANIFEST = ROOT / "conf" / "kubernetes" / "keycloak.yaml"


def unit() -> configparser.RawConfigParser:
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(UNIT)
    return parsed


def test_the_agent_is_stopped_before_its_node() -> None:
    """Stops come in the reverse order of starts; PartOf hands them on."""
    section = unit()["Unit"]
    assert "%i.service" in section["After"].split()
    assert section["PartOf"] == "%i.service"
    assert unit()["Install"]["WantedBy"] == "%i.service"


def test_systemd_waits_longer_than_the_drain() -> None:
    stop_s = parse_duration(unit()["Service"]["TimeoutStopSec"])
    drain = AgentConfig.model_fields
    defaults = drain["drain"].default
    assert stop_s > defaults.deadline + 2 * drain["timeout"].default


def test_the_unit_gives_what_the_configuration_expects() -> None:
    service = unit()["Service"]
    control = AgentConfig.model_fields["control"].default
    assert Path(control.path).parent == Path("/run") / service["RuntimeDirectory"]
    assert service["Type"] == "notify"
    assert "ProcSubset" not in service, "it hides /proc/stat"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    there = UNIT.read_text().replace("/opt/lbproxy/bin/lbproxy", "/bin/true")
    (tmp_path / UNIT.name).write_text(there)
    (tmp_path / "keycloak.service").write_text("[Service]\nExecStart=/bin/true\n")
    ran = subprocess.run(
        ["systemd-analyze", "verify", "./lbproxy-agent@keycloak.service"],
        cwd=tmp_path,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_commands_of_the_unit_are_ours(capsys: pytest.CaptureFixture[str]) -> None:
    service = unit()["Service"]
    for key in ("ExecStartPre", "ExecStart"):
        program, *arguments = service[key].split()
        assert program == "/opt/lbproxy/bin/lbproxy"
        assert main([*arguments, "--check"]) == 1, "the file is not here"
        assert "/etc/lbproxy-agent/%i.yaml:1:1: cannot be read" in capsys.readouterr().err


def manifest() -> tuple[AgentConfig, dict[str, Any]]:
    """Return the agent's configuration and the pod."""
    config_map, stateful_set = yaml.safe_load_all(MANIFEST.read_text())
    text = config_map["data"]["agent.yaml"]
    text = text.replace("token_file: /etc/lbproxy-agent-token/agents.token\n", "")
    environment = {"POD_NAME": "keycloak-0", "POD_IP": "10.1.2.3"}
    loaded = parse_agent_config(text, MANIFEST.name, ROOT, environment)
    assert loaded.config is not None, "\n".join(map(str, loaded.problems))
    assert not loaded.problems
    return loaded.config, stateful_set["spec"]["template"]["spec"]


def test_the_manifest_fits_together() -> None:
    config, pod = manifest()
    node, agent = pod["containers"]
    assert config.node.route == "keycloak-0"
    assert config.node.url == "http://10.1.2.3:8080"
    names = {each["name"]: each for each in agent["env"]}
    assert set(names) == {"POD_NAME", "POD_IP"}
    assert names["POD_NAME"] in node["env"]
    mounts = [each["mountPath"] for each in agent["volumeMounts"]]
    assert agent["args"] == ["agent", "--config", f"{mounts[0]}/agent.yaml"]
    assert f"token_file: {mounts[1]}/" in MANIFEST.read_text()
    assert {each["name"] for each in agent["volumeMounts"]} == {
        each["name"] for each in pod["volumes"]
    }


def test_the_manifest_runs_the_keycloak_that_is_tried_with_agents() -> None:
    """Before 26.3 the name that it gives the node means nothing, and affinity has no effect."""
    _, pod = manifest()
    image = pod["containers"][0]["image"]
    assert image == f"quay.io/keycloak/keycloak:{VERSION.rpartition('.')[0]}"


def test_kubernetes_waits_longer_than_the_drain() -> None:
    config, pod = manifest()
    rest_s = pod["terminationGracePeriodSeconds"] - config.drain.deadline
    assert rest_s >= 2 * config.timeout + 30, "Keycloak needs time to stop, too"


async def run_hook(pod: dict[str, Any], config: AgentConfig, port: int) -> tuple[int, str]:
    """Run the hook of the node's container as it stands, but for the port."""
    program, *arguments = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert isinstance(config.control, Bind)
    known = f"/{config.control.host}/{config.control.port} "
    assert known in arguments[-1]
    arguments[-1] = arguments[-1].replace(known, f"/127.0.0.1/{port} ")
    hook = await asyncio.create_subprocess_exec(
        *(program, *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(20):
        out, _ = await hook.communicate()
    assert hook.returncode is not None
    return hook.returncode, out.decode()


async def test_the_hook_returns_when_the_node_is_drained(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "POLL_S", 0.05)
    config, pod = manifest()
    page, proxy = await stage.page(), await stage.proxy(requests=1)
    small = stage.config(page, proxy)
    agent = stage.agent(small)
    await proxy.heard("STATUS 70")
    socket = ControlSocket(Bind("127.0.0.1", 0), agent)
    serving = asyncio.ensure_future(socket.run())
    hook = asyncio.ensure_future(run_hook(pod, config, socket.port))
    await proxy.heard("STOP-APP /", 2)
    assert not hook.done()
    proxy.requests = 0
    code, said = await hook
    assert (code, said.splitlines()[-1]) == (0, "ok no request is left")
    assert proxy.said[-1] == "REMOVE-APP /*"
    serving.cancel()
    await asyncio.wait({serving})


async def test_the_hook_does_not_wait_for_an_agent_that_has_ended(stage: Stage) -> None:
    config, pod = manifest()
    proxy = await stage.proxy()
    await proxy.stop()
    code, _ = await run_hook(pod, config, proxy.port)
    assert code == 0


def test_the_socket_of_the_manifest_is_loopback() -> None:
    """Else a neighbour could take the node out."""
    config, _ = manifest()
    assert isinstance(config.control, Bind)
    assert config.control.host == "127.0.0.1"
