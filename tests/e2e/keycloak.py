"""A cluster of two Keycloak nodes on loopback, each on an address of its own, as on two machines.

They share a database, an H2 server in a process of its own, and find each other in it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.artifacts import fetch, tool, unpacked
from tests.e2e.child import Child
from tests.e2e.h2 import Database
from tests.e2e.realm import ADMIN, make_realm, until_ready

VERSION = "26.7.3"
START_S = 180.0
SHUTDOWN_DELAY_S = 4
# Each node has an address of its own, so the ports are those that the product and the profile name.
PORT, MANAGEMENT_PORT = 8080, 9000
ADDRESSES = {"kc1": "127.0.41.1", "kc2": "127.0.41.2"}
DATABASE = "127.0.41.3"


def home() -> Path:
    """Return an unpacked Keycloak, its build options set. Raises: Missing."""
    tool("java")
    archive = fetch(f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip")
    return unpacked(archive, f"keycloak-{VERSION}", _build)


def _build(folder: Path) -> None:
    (folder / "bin" / "kc.sh").chmod(0o755)
    options = ("--db=dev-file", "--health-enabled=true", "--metrics-enabled=true")
    subprocess.run(
        [folder / "bin" / "kc.sh", "build", *options],
        check=True,
        capture_output=True,
        timeout=START_S,
    )


class Cluster:
    """The database, both nodes, and a realm with a user and a public client."""

    def __init__(self, folder: Path) -> None:
        self.home = home()
        self.folder = folder
        (jar,) = (self.home / "lib" / "lib" / "main").glob("com.h2database.h2-*.jar")
        self.database = Database(jar, DATABASE, folder)
        self.nodes: dict[str, Child] = {}

    def __enter__(self) -> Cluster:
        try:
            self.database.start()
            for name in ADDRESSES:
                self.start(name)
            make_realm(self.urls["kc1"])
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
        """Start a node and wait until it is ready."""
        address = ADDRESSES[name]
        database = f"{self.database.url};NON_KEYWORDS=VALUE"
        self.nodes[name] = Child(
            name,
            [
                self.home / "bin" / "kc.sh",
                *("start", "--optimized", "--cache=ispn"),
                *(
                    f"--db-url={database}",
                    "--db-username=sa",
                    "--db-password=h2",
                ),
                *("--http-enabled=true", f"--http-host={address}", f"--http-port={PORT}"),
                f"--http-management-host={address}",
                f"--http-management-port={MANAGEMENT_PORT}",
                *("--hostname-strict=false", "--hostname-debug=true"),
                *("--proxy-headers=xforwarded", f"--shutdown-delay={SHUTDOWN_DELAY_S}s"),
                f"--cache-embedded-network-bind-address={address}",
                "--cache-embedded-network-bind-port=17800",
            ],
            self.folder,
            {
                "KC_SPI_CACHE_EMBEDDED__DEFAULT__NODE_NAME": name,
                "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
                "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN,
                "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
            },
        )
        self.nodes[name].until("Bootstrap completed", START_S)
        until_ready(f"http://{address}:{MANAGEMENT_PORT}/health/ready")


class Single:
    """One node with a database in memory. Args: options: hostname and proxy-headers."""

    ADDRESS = "127.0.42.1"
    URL = f"http://{ADDRESS}:{PORT}"

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.home = home()
        self.folder = folder
        self.options = options

    def __enter__(self) -> Single:
        self.node = Child(
            "kc1",
            [
                *(self.home / "bin" / "kc.sh", "start", "--optimized", "--cache=local"),
                "--db-url=jdbc:h2:mem:single;DB_CLOSE_DELAY=-1;NON_KEYWORDS=VALUE",
                *("--db-username=sa", "--db-password=h2"),
                *("--http-enabled=true", f"--http-host={self.ADDRESS}", f"--http-port={PORT}"),
                f"--http-management-host={self.ADDRESS}",
                f"--http-management-port={MANAGEMENT_PORT}",
                *self.options,
            ],
            self.folder,
            {"JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m"},
        )
        try:
            self.node.until(r"started in", START_S)
            until_ready(f"http://{self.ADDRESS}:{MANAGEMENT_PORT}/health/ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.node.terminate()
