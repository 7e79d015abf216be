"""A server made of WildFly: its configuration, its start, its management over HTTP."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.child import Child, free_address

START_S = 180.0
HTTP, AJP, MANAGEMENT, CLUSTER = 8080, 8009, 9990, 7600

# For every node: one management interface on its own loopback address that asks for no password;
# members of the cluster by list instead of multicast.
CLUSTERING = """/core-service=management/management-interface=http-interface:\
undefine-attribute(name=http-authentication-factory)
/subsystem=jgroups/channel=ee:write-attribute(name=stack,value=tcp)
/subsystem=jgroups/stack=tcp/protocol=MPING:remove
/subsystem=jgroups/stack=tcp/protocol=TCPPING:\
add(add-index=0,properties={initial_hosts="${env.E2E_MEMBERS}",port_range=0})
"""

# As the clustering guides have it: a static list of proxies, no advertisement. A status a second.
MOD_CLUSTER = """/socket-binding-group=standard-sockets/\
remote-destination-outbound-socket-binding=lbproxy:add(host=127.0.0.1,port="${env.E2E_MCMP}")
/subsystem=modcluster/proxy=default:write-attribute(name=proxies,value=[lbproxy])
/subsystem=modcluster/proxy=default:write-attribute(name=advertise,value=false)
/subsystem=modcluster/proxy=default:write-attribute(name=listener,value="${env.E2E_LISTENER}")
/subsystem=modcluster/proxy=default:write-attribute(name=status-interval,value=1)
"""


def prepare(folder: Path, script: str) -> None:
    """Change the configuration `standalone-ha.xml` of an unpacked server by a management script."""
    for each in (folder / "bin").glob("*.sh"):
        each.chmod(0o755)
    (folder / "setup.cli").write_text(
        f"embed-server --server-config=standalone-ha.xml\n{script}stop-embedded-server\n"
    )
    ran = subprocess.run(
        [folder / "bin" / "jboss-cli.sh", f"--file={folder / 'setup.cli'}"],
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


class Server:
    """One server on a loopback address of its own, in a folder of its own.

    Args: home: the unpacked distribution; environment: for the expressions of its configuration.
    """

    def __init__(self, home: Path, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.home, self.name, self.base = home, name, folder / name
        self.address = free_address(HTTP, AJP, MANAGEMENT, CLUSTER)
        self.environment = dict(environment)
        self.child: Child | None = None
        shutil.copytree(home / "standalone", self.base)

    def start(self) -> Child:
        """Start it; `until_up` waits."""
        self.child = Child(
            self.name,
            [
                self.home / "bin" / "standalone.sh",
                *("-c", "standalone-ha.xml", f"-Djboss.server.base.dir={self.base}"),
                *(f"-Djboss.node.name={self.name}", "-b", self.address),
                *("-bmanagement", self.address, "-bprivate", self.address),
                *(f"-De2e.node={self.name}", f"-De2e.folder={self.base.parent}"),
            ],
            self.base,
            # LAUNCH...: else the script does not pass TERM on.
            {
                "LAUNCH_JBOSS_IN_BACKGROUND": "true",
                "JAVA_OPTS": "-Xms64m -Xmx512m -Djava.net.preferIPv4Stack=true",
            }
            | self.environment,
        )
        return self.child

    @property
    def running(self) -> Child:
        assert self.child is not None, f"{self.name} was not started"
        return self.child

    def until_up(self) -> None:
        """Wait until it serves."""
        self.running.until(r"WFLYSRV0025|WFLYSRV0026", START_S)

    def stop(self) -> None:
        """End it in order; nothing happens where it does not run."""
        if self.child is not None:
            self.child.terminate()

    def manage(self, operation: str, address: str = "", **parameters: Any) -> Any:
        """Run a management operation as the command line does, e.g. at `subsystem=modcluster`.

        Args: parameters: with `_` for `-` in their names.
        """
        pairs = [dict([part.split("=", 1)]) for part in address.split("/") if part]
        given = {name.replace("_", "-"): value for name, value in parameters.items()}
        document = {"operation": operation, "address": pairs} | given
        request = urllib.request.Request(
            f"http://{self.address}:{MANAGEMENT}/management",
            json.dumps(document).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read()).get("result")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{document}: {error.read().decode()}") from error
