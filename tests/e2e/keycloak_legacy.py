"""A cluster of two Keycloak 16 nodes on WildFly, each on a loopback address of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.e2e.artifacts import fetch, tool, unpacked
from tests.e2e.browser import Browser, Page
from tests.e2e.child import free_address
from tests.e2e.h2 import Database
from tests.e2e.realm import ADMIN, Login, make_realm, route_of
from tests.e2e.tap import Tap
from tests.e2e.wildfly import (
    CLUSTER,
    CLUSTERING,
    HTTP,
    MOD_CLUSTER,
    START_S,
    Server,
    prepare,
)

VERSION = "16.1.1"
PREFIX = "/auth"
NAMES = ("kc1", "kc2")

# Two owners of each session, as the profile's hint says.
SETUP = (
    CLUSTERING
    + """/subsystem=datasources/data-source=KeycloakDS:\
write-attribute(name=connection-url,value="${env.E2E_DATABASE}")
/subsystem=infinispan/cache-container=keycloak/distributed-cache=authenticationSessions:\
write-attribute(name=owners,value=2)
/subsystem=infinispan/cache-container=keycloak/distributed-cache=sessions:\
write-attribute(name=owners,value=2)
/subsystem=infinispan/cache-container=keycloak/distributed-cache=clientSessions:\
write-attribute(name=owners,value=2)
"""
)

# Listed in lbproxy's configuration, by HTTP.
BY_HAND = """/subsystem=undertow/server=default-server/http-listener=default:\
write-attribute(name=proxy-address-forwarding,value=true)
/subsystem=modcluster:remove
"""

# As its guide for mod_cluster has it: AJP, and the sticky cookie's name said by the node.
ANNOUNCED = (
    MOD_CLUSTER
    + """/subsystem=undertow/servlet-container=default/setting=session-cookie:\
add(name=AUTH_SESSION_ID)
"""
)


def home(setup: str) -> Path:
    """Return an unpacked Keycloak, configured by a management script. Raises: Missing."""
    tool("java")
    archive = fetch(f"org.keycloak:keycloak-server-dist:{VERSION}:zip")

    def configure(folder: Path) -> None:
        prepare(folder, setup)
        subprocess.run(
            [folder / "bin" / "add-user-keycloak.sh", "-u", ADMIN, "-p", ADMIN],
            check=True,
            capture_output=True,
            timeout=START_S,
        )

    return unpacked(archive, f"keycloak-{VERSION}", configure, setup)


class LegacyCluster:
    """The database, both nodes, and a realm with a user and a public client.

    Args: taps: where kc1 and kc2 announce themselves; None: they do not.
    """

    def __init__(self, folder: Path, taps: dict[str, Tap] | None = None) -> None:
        base = home(SETUP + (BY_HAND if taps is None else ANNOUNCED))
        (jar,) = base.glob("modules/system/layers/base/com/h2database/h2/main/h2-*.jar")
        self.database = Database(jar, free_address(), folder)
        self.servers = {
            name: Server(base, name, folder, {"E2E_DATABASE": self.database.url}) for name in NAMES
        }
        members = ",".join(f"{each.address}[{CLUSTER}]" for each in self.servers.values())
        for name, server in self.servers.items():
            server.environment["E2E_MEMBERS"] = members
            if taps is not None:
                server.environment |= {"E2E_MCMP": str(taps[name].port), "E2E_LISTENER": "ajp"}

    def __enter__(self) -> LegacyCluster:
        try:
            self.database.start()
            # One after the other: the first makes the tables.
            for server in self.servers.values():
                server.start()
                server.until_up()
            make_realm(self.urls["kc1"] + PREFIX)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.stop()
        self.database.stop()

    @property
    def urls(self) -> dict[str, str]:
        return {name: f"http://{each.address}:{HTTP}" for name, each in self.servers.items()}


def login_owned_by(browser: Callable[[], Browser], node: str) -> tuple[Login, Page]:
    """Return a login that was begun, whose session a node owns, and its form.

    Who owns a session is chance: a hash of its id says it, not the node that answers.
    """
    for _ in range(30):
        login = Login(browser(), PREFIX)
        page = login.begin()
        if route_of(login.browser.cookie("AUTH_SESSION_ID")) == node:
            return login, page
    raise AssertionError(f"no session is owned by {node}")
