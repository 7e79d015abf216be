"""A Tomcat that announces itself: mod_cluster's listener in server.xml, HTTP or AJP."""

from __future__ import annotations

import shutil
from base64 import b64encode
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

from tests.e2e.announced import APP, OTHER, THREADS, Announced, ask
from tests.e2e.artifacts import Missing, fetch
from tests.e2e.child import Child, free_address
from tests.e2e.tap import Tap
from tests.e2e.tomcat import command
from tests.e2e.tomcat import home as tomcat_home
from tests.e2e.webapp import JAVA, compiled, webapp

# What WildFly of today has, too.
VERSION = "2.1.0.Final"
GROUP = "org.jboss.mod_cluster"
LIBRARIES = (
    f"{GROUP}:mod_cluster-core:{VERSION}",
    f"{GROUP}:mod_cluster-container-spi:{VERSION}",
    f"{GROUP}:mod_cluster-load-spi:{VERSION}",
    "org.jboss.logging:jboss-logging:3.6.1.Final",
)
CONTAINER = f"{GROUP}:mod_cluster-container-tomcat-10.1:{VERSION}"
THEIRS = "org.jboss.modcluster.container.tomcat.ModClusterListener"
OURS = "Listener"
HTTP, AJP = 8080, 8009
FEW = 2
START_S = 60.0
SECRET = "e2e: not a secret"

# A status each second, whose load is the free share of the threads at this moment. The manager is
# the node's own management and not for users.
SERVER = """<Server port="-1">
  <Listener className="{listener}" advertise="false" proxyList="127.0.0.1:{mcmp}"
    connectorAddress="{address}" connectorPort="{port}" excludedContexts="manager"
    loadHistory="0" initialLoad="-1"/>
  <Service name="Catalina">
    <Connector address="{address}" port="8080" protocol="HTTP/1.1" maxThreads="{http_threads}"/>
    <Connector address="{address}" port="8009" protocol="AJP/1.3" maxThreads="{ajp_threads}"
      secret="{secret}"/>
    <Engine name="Catalina" defaultHost="localhost" jvmRoute="{name}" backgroundProcessorDelay="1">
      {valve}
      <Realm className="org.apache.catalina.realm.MemoryRealm"/>
      <Host name="localhost" appBase="webapps" autoDeploy="false">
        <Context path="/manager" docBase="{home}/webapps/manager" privileged="true"/>
      </Host>
    </Engine>
  </Service>
</Server>
"""

# AJP brings the client's address and the public origin by itself.
VALVE = """<Valve className="org.apache.catalina.valves.RemoteIpValve"
        remoteIpHeader="X-Forwarded-For" protocolHeader="X-Forwarded-Proto"
        hostHeader="X-Forwarded-Host" portHeader="X-Forwarded-Port"/>"""

USERS = """<tomcat-users>
  <user username="e2e" password="e2e" roles="manager-script,manager-jmx"/>
</tomcat-users>
"""
ACCOUNT = {"Authorization": f"Basic {b64encode(b'e2e:e2e').decode()}"}


@cache
def _their_listener() -> Path | None:
    try:
        return fetch(CONTAINER)
    except Missing:
        return None


def _listener(home: Path, folder: Path) -> tuple[str, tuple[Path, ...]]:
    """Return the listener's class and what it is in. Raises: Missing.

    mod_cluster's own listener for Tomcat is not everywhere to be had; ours stands in for it.

    Args: folder: for our classes.
    """
    libraries = tuple(fetch(each) for each in LIBRARIES)
    theirs = _their_listener()
    if theirs is None:
        classes = folder / "listener"
        if not classes.exists():
            tomcat = (*(home / "lib").glob("*.jar"), home / "bin" / "tomcat-juli.jar")
            compiled([JAVA / "Listener.java"], [*libraries, *tomcat], classes)
        return OURS, (*libraries, classes)
    return THEIRS, (*libraries, theirs)


class AnnouncedTomcat(Announced):
    """Args: ajp: the connector that it announces is the AJP one. Raises: Missing, when made."""

    def __init__(self, name: str, folder: Path, tap: Tap, *, ajp: bool) -> None:
        super().__init__(name, folder, tap, free_address(HTTP, AJP), distributable=False)
        self.home = tomcat_home()
        self.base = folder / name
        for each in ("conf", "temp", "lib", "webapps"):
            (self.base / each).mkdir(parents=True)
        listener, libraries = _listener(self.home, folder)
        for library in libraries:
            if library.is_dir():
                shutil.copytree(library, self.base / "lib", dirs_exist_ok=True)
            else:
                shutil.copy(library, self.base / "lib")
        shutil.copy(self.home / "conf" / "web.xml", self.base / "conf")
        (self.base / "conf" / "tomcat-users.xml").write_text(USERS)
        (self.base / "conf" / "server.xml").write_text(
            SERVER.format(
                listener=listener,
                mcmp=tap.port,
                address=self.address,
                port=AJP if ajp else HTTP,
                http_threads=FEW if ajp else THREADS,
                ajp_threads=THREADS if ajp else FEW,
                secret=SECRET,
                valve="" if ajp else VALVE,
                name=name,
                home=self.home,
            )
        )
        # Sessions are not shared here, so a stop waits for their end.
        self._app = webapp(
            self.home / "lib" / "servlet-api.jar", folder / "app", distributable=False
        )
        for context in (APP, OTHER):
            shutil.copytree(self._app, self.base / "webapps" / context[1:])

    def start(self) -> None:
        options = (f"-De2e.node={self.name}", f"-De2e.folder={self.folder}")
        self.child = Child(self.name, command(self.home, self.base, *options), self.base)

    def until_up(self) -> None:
        self.running.until("Server startup in", START_S)

    def url(self, path: str) -> str:
        return f"http://{self.address}:{HTTP}{path}"

    def disable(self, context: str) -> None:
        self._bean("disableContext", "localhost", context)

    def stop_context(self, context: str) -> None:
        self._bean("stopContext", "localhost", context, "1")

    def enable(self, context: str) -> None:
        self._bean("enableContext", "localhost", context)

    def undeploy(self, context: str) -> None:
        self._manager("text/undeploy", path=context)

    def deploy(self, context: str) -> None:
        self._manager("text/deploy", path=context, war=f"file:{self._app}")

    def _bean(self, operation: str, *parameters: str) -> None:
        self._manager(
            "jmxproxy/",
            invoke="Catalina:type=ModClusterListener",
            op=operation,
            ps=",".join(parameters),
        )

    def _manager(self, command: str, /, **query: str) -> None:
        answer = ask(self.url(f"/manager/{command}?{urlencode(query)}"), ACCOUNT)
        assert answer.startswith("OK"), answer
