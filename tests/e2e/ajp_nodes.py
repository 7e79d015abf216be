"""Real AJP connectors with one servlet: Tomcat's, and Undertow's as WildFly has it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.e2e.artifacts import fetch, tool
from tests.e2e.child import Child, free_address
from tests.e2e.tomcat import command
from tests.e2e.tomcat import home as tomcat_home
from tests.e2e.webapp import JAVA, WEB, compiled

APP = "/app"
PORT = 8009
SECRET = "e2e: not a secret"
START_S = 60.0
# Undertow's own answer to larger ones is part of what is tested.
MAX_ENTITY = 100 << 20
UNDERTOW = (
    "io.undertow:undertow-servlet:2.3.18.Final",
    "io.undertow:undertow-core:2.3.18.Final",
    "jakarta.servlet:jakarta.servlet-api:6.0.0",
    "jakarta.annotation:jakarta.annotation-api:2.1.1",
    "org.jboss.xnio:xnio-api:3.8.16.Final",
    "org.jboss.xnio:xnio-nio:3.8.16.Final",
    "org.jboss.threads:jboss-threads:3.5.0.Final",
    "org.jboss.logging:jboss-logging:3.6.1.Final",
    "org.wildfly.common:wildfly-common:1.5.4.Final",
    "org.wildfly.client:wildfly-client-config:1.0.1.Final",
)
SERVER = """<Server port="-1">
  <Service name="Catalina">
    <Connector address="{address}" port="{port}" protocol="AJP/1.3" secret="{secret}"
      maxPostSize="-1"/>
    <Engine name="Catalina" defaultHost="localhost" jvmRoute="{name}">
      <Host name="localhost" appBase="webapps" autoDeploy="false"/>
    </Engine>
  </Service>
</Server>
"""


class AjpNode:
    """One node on an address of its own. Owns: its process."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.base = folder / name
        self.base.mkdir(parents=True)
        self.address = free_address(PORT)
        self.child: Child | None = None

    @property
    def running(self) -> Child:
        assert self.child is not None
        return self.child

    @property
    def url(self) -> str:
        return f"ajp://{self.address}:{PORT}"

    def start(self) -> None:
        """Start it, also after its end; wait until it serves."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it, whatever it does."""
        if self.child is not None:
            self.child.kill()

    def connections(self) -> set[str]:
        """Return the sockets that are connected to it now: our ends, by their ports."""
        number = "".join(f"{int(part):02X}" for part in reversed(self.address.split(".")))
        wanted = f"{number}:{PORT:04X}"
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        rows = [line.split() for line in lines]
        return {row[1] for row in rows if row[2] == wanted and row[3] == "01"}


class TomcatNode(AjpNode):
    """Raises: Missing, when made."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.home = tomcat_home()
        inside = self.base / "webapps" / APP[1:] / "WEB-INF"
        for each in (self.base / "conf", self.base / "temp", inside):
            each.mkdir(parents=True)
        shutil.copy(self.home / "conf" / "web.xml", self.base / "conf")
        (self.base / "conf" / "server.xml").write_text(
            SERVER.format(address=self.address, port=PORT, secret=SECRET, name=name)
        )
        compiled([JAVA / "Echo.java"], [self.home / "lib" / "servlet-api.jar"], inside / "classes")
        (inside / "web.xml").write_text(WEB.format(distributable="").replace(">Page<", ">Echo<"))

    def start(self) -> None:
        options = (f"-De2e.node={self.name}",)
        self.child = Child(self.name, command(self.home, self.base, *options), self.base)
        self.child.until("Server startup in", START_S)


class UndertowNode(AjpNode):
    """Args: max_entity: the largest body, in bytes. Raises: Missing, when made."""

    def __init__(self, name: str, folder: Path, max_entity: int = MAX_ENTITY) -> None:
        super().__init__(name, folder)
        self.max_entity = max_entity
        libraries = [fetch(each) for each in UNDERTOW]
        sources = [JAVA / "Echo.java", JAVA / "UndertowNode.java"]
        classes = compiled(sources, libraries, self.base / "classes")
        self.path = ":".join(map(str, [classes, *libraries]))

    def start(self) -> None:
        options = [tool("java"), "-Xmx256m", f"-De2e.node={self.name}", "-cp", self.path]
        arguments = [self.address, str(PORT), str(self.max_entity)]
        self.child = Child(self.name, [*options, "UndertowNode", *arguments], self.base)
        self.child.until("^serving", START_S)


KINDS = {"tomcat": TomcatNode, "undertow": UndertowNode}
