"""A cluster of two Keycloak 16 nodes on WildFly, each on a loopback address of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.e2e.artifacts import fetch, tool, unpacked
from tests.e2e.child import Child
from tests.e2e.h2 import Database
from tests.e2e.realm import ADMIN, make_realm

VERSION = "16.1.1"
PREFIX = "/auth"
PORT = 8080
ADDRESSES = {"kc1": "127.0.44.1", "kc2": "127.0.44.2"}
DATABASE = "127.0.44.3"
START_S = 180.0

# Two owners of each session, as the profile's hint says; members by list instead of multicast.
SETUP = """embed-server --server-config=standalone-ha.xml
/subsystem=undertow/server=default-server/http-listener=default:\
write-attribute(name=proxy-address-forwarding,value=true)
/subsystem=datasources/data-source=KeycloakDS:\
write-attribute(name=connection-url,value="${env.E2E_DATABASE}")
/subsystem=jgroups/channel=ee:write-attribute(name=stack,value=tcp)
/subsystem=jgroups/stack=tcp/protocol=MPING:remove
/subsystem=jgroups/stack=tcp/protocol=TCPPING:\
add(add-index=0,properties={initial_hosts="${env.E2E_MEMBERS}",port_range=0})
/subsystem=infinispan/cache-container=keycloak/distributed-cache=authenticationSessions:\
write-attribute(name=owners,value=2)
/subsystem=infinispan/cache-container=keycloak/distributed-cache=sessions:\
write-attribute(name=owners,value=2)
/subsystem=infinispan/cache-container=keycloak/distributed-cache=clientSessions:\
write-attribute(name=owners,value=2)
/subsystem=modcluster:remove
stop-embedded-server
"""


def home() -> Path:
    """Return an unpacked Keycloak, configured. Raises: Missing."""
    tool("java")
    archive = fetch(f"org.keycloak:keycloak-server-dist:{VERSION}:zip")
    return unpacked(archive, f"keycloak-{VERSION}", _configure)


def _configure(folder: Path) -> None:
    for script in (folder / "bin").glob("*.sh"):
        script.chmod(0o755)
    (folder / "setup.cli").write_text(SETUP)
    for command in (
        ("jboss-cli.sh", f"--file={folder / 'setup.cli'}"),
        ("add-user-keycloak.sh", "-u", ADMIN, "-p", ADMIN),
    ):
        subprocess.run(
            [folder / "bin" / command[0], *command[1:]],
            check=True,
            capture_output=True,
            timeout=START_S,
        )


class LegacyCluster:
    """The database, both nodes, and a realm with a user and a public client."""

    def __init__(self, folder: Path) -> None:
        self.home = home()
        self.folder = folder
        (jar,) = self.home.glob("modules/system/layers/base/com/h2database/h2/main/h2-*.jar")
        self.database = Database(jar, DATABASE, folder)
        self.nodes: dict[str, Child] = {}

    def __enter__(self) -> LegacyCluster:
        try:
            self.database.start()
            for name in ADDRESSES:
                self.start(name)
            make_realm(self.urls["kc1"] + PREFIX)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.terminate()
        self.database.stop()

    @property
    def urls(self) -> dict[str, str]:
        return {name: f"http://{address}:{PORT}" for name, address in ADDRESSES.items()}

    def start(self, name: str) -> None:
        """Start a node and wait until it serves."""
        base, address = self.folder / name, ADDRESSES[name]
        if not base.exists():
            shutil.copytree(self.home / "standalone", base)
        self.nodes[name] = Child(
            name,
            [
                self.home / "bin" / "standalone.sh",
                *("-c", "standalone-ha.xml", f"-Djboss.server.base.dir={base}"),
                *(f"-Djboss.node.name={name}", "-b", address),
                *("-bmanagement", address, "-bprivate", address),
            ],
            base,
            {
                # Else the script does not pass TERM on.
                "LAUNCH_JBOSS_IN_BACKGROUND": "true",
                "E2E_DATABASE": self.database.url,
                "E2E_MEMBERS": ",".join(f"{each}[7600]" for each in ADDRESSES.values()),
                "JAVA_OPTS": "-Xms64m -Xmx512m -Djava.net.preferIPv4Stack=true",
            },
        )
        self.nodes[name].until(r"WFLYSRV0025|WFLYSRV0026", START_S)
