"""A WildFly that announces itself: its modcluster subsystem, HTTP or AJP, sessions shared."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.e2e.announced import APP, OTHER, THREADS, Announced
from tests.e2e.artifacts import fetch, tool, unpacked
from tests.e2e.tap import Tap
from tests.e2e.webapp import webapp
from tests.e2e.wildfly import CLUSTER, CLUSTERING, HTTP, MOD_CLUSTER, Server, prepare

VERSION = "39.0.1.Final"
SUBSYSTEM = "subsystem=modcluster/proxy=default"
HOST = "default-host"

# The load that a node reports is the free share of its threads at this moment.
SETUP = (
    CLUSTERING
    + MOD_CLUSTER
    + f"""/subsystem=modcluster/proxy=default/load-provider=dynamic:\\
write-attribute(name=history,value=0)
/subsystem=modcluster/proxy=default/load-provider=dynamic:\\
write-attribute(name=initial-load,value=-1)
/subsystem=modcluster/proxy=default/load-provider=dynamic/load-metric=cpu:remove
/subsystem=modcluster/proxy=default/load-provider=dynamic/load-metric=busyness:add(type=busyness)
/subsystem=io/worker=default:write-attribute(name=task-max-threads,value={THREADS})
/subsystem=undertow/server=default-server/http-listener=default:\\
write-attribute(name=proxy-address-forwarding,value=true)
"""
)


def home() -> Path:
    """Return an unpacked WildFly, configured. Raises: Missing."""
    tool("java")
    archive = fetch(f"org.wildfly:wildfly-dist:{VERSION}:zip")
    return unpacked(archive, f"wildfly-{VERSION}", partial(prepare, script=SETUP), SETUP)


class AnnouncedWildFly(Announced):
    """Args: listener: that it announces, `default` or `ajp`. Raises: Missing, when made."""

    def __init__(self, name: str, folder: Path, tap: Tap, listener: str) -> None:
        base = home()
        environment = {"E2E_MCMP": str(tap.port), "E2E_LISTENER": listener}
        self.server = Server(base, name, folder, environment)
        super().__init__(name, folder, tap, self.server.address, distributable=True)
        (api,) = base.glob("modules/system/layers/base/jakarta/servlet/api/main/*.jar")
        app = webapp(api, folder / "app", distributable=True)
        for context in (APP, OTHER):
            deployment = self.server.base / "deployments" / f"{context[1:]}.war"
            shutil.copytree(app, deployment)
            deployment.with_name(f"{deployment.name}.dodeploy").touch()

    def start(self) -> None:
        self.child = self.server.start()

    def until_up(self) -> None:
        self.server.until_up()

    def url(self, path: str) -> str:
        return f"http://{self.address}:{HTTP}{path}"

    def disable(self, context: str) -> None:
        self.server.manage("disable-context", SUBSYSTEM, virtualhost=HOST, context=context)

    def stop_context(self, context: str) -> None:
        self.server.manage("stop-context", SUBSYSTEM, virtualhost=HOST, context=context)

    def enable(self, context: str) -> None:
        self.server.manage("enable-context", SUBSYSTEM, virtualhost=HOST, context=context)

    def undeploy(self, context: str) -> None:
        self.server.manage("undeploy", f"deployment={context[1:]}.war")

    def deploy(self, context: str) -> None:
        self.server.manage("deploy", f"deployment={context[1:]}.war")


def wildfly_pair(
    folder: Path, taps: Mapping[str, Tap], listener: str
) -> dict[str, AnnouncedWildFly]:
    """Make nodes that share their sessions, one for each tap. Raises: Missing."""
    nodes = {name: AnnouncedWildFly(name, folder, tap, listener) for name, tap in taps.items()}
    members = ",".join(f"{node.address}[{CLUSTER}]" for node in nodes.values())
    for node in nodes.values():
        node.server.environment["E2E_MEMBERS"] = members
    return nodes
