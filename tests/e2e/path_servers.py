"""Real servers that say whether a path has reached what an operator would hide.

Each answers `hidden` for /admin and /api/status and what lies below, `open` for everything else,
and reads paths as leniently as it can be told to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.e2e.ajp_nodes import UNDERTOW
from tests.e2e.artifacts import Missing, cache, fetch, tool
from tests.e2e.child import Child, free_port
from tests.e2e.keycloak import VERSION as KEYCLOAK
from tests.e2e.webapp import JAVA, compiled

START_S = 30.0
TOMCAT = "10.1.55"
JETTY = "12.0.16"
LIBRARIES = {
    "JdkPaths": (),
    "TomcatPaths": (
        f"org.apache.tomcat.embed:tomcat-embed-core:{TOMCAT}",
        f"org.apache.tomcat:tomcat-annotations-api:{TOMCAT}",
    ),
    "UndertowPaths": tuple(each for each in UNDERTOW if "servlet" not in each),
    "JettyPaths": (
        *(f"org.eclipse.jetty:jetty-{part}:{JETTY}" for part in ("server", "http", "io", "util")),
        "org.slf4j:slf4j-api:2.0.16",
    ),
}


def java(name: str, folder: Path, libraries: Sequence[Path], *arguments: str) -> Child:
    """Compile and start a server. Raises: Missing."""
    classes = compiled([JAVA / f"{name}.java"], libraries, folder / "classes")
    path = ":".join(map(str, [classes, *libraries]))
    return Child(name, [tool("java"), "-Xmx128m", "-cp", path, name, *arguments], folder)


def _fusion(folder: Path) -> Child:
    """Started from its source, by a JDK that is new enough for it wherever that is."""
    library = fetch("io.fusionauth:java-http:1.2.0")
    port = str(free_port())
    command = ["-Xmx512m", "-cp", str(library), str(JAVA / "FusionPaths.java"), port]
    return Child("FusionPaths", [_newer_java(21), *command], folder)


def _newer_java(version: int) -> Path:
    homes = [Path(os.environ.get("JAVA_HOME", "")), Path(tool("java")).resolve().parents[1]]
    for home in [*homes, *sorted(Path("/usr/lib/jvm").glob("*"))]:
        release = home / "release"
        found = re.search(r'JAVA_VERSION="(\d+)', release.read_text() if release.exists() else "")
        if found and int(found[1]) >= version and (home / "bin" / "javac").exists():
            return home / "bin" / "java"
    raise Missing(f"no JDK {version} or later here")


def _from_central(name: str) -> Callable[[Path], Child]:
    def start(folder: Path) -> Child:
        libraries = [fetch(each) for each in LIBRARIES[name]]
        return java(name, folder, libraries, str(folder))

    return start


def _vertx(folder: Path) -> Child:
    """Of the libraries that Keycloak brings with it."""
    homes = sorted(cache().glob(f"keycloak-{KEYCLOAK}*/lib/lib/main"))
    if not homes:
        raise Missing(f"no Keycloak {KEYCLOAK} here: its own tests fetch it")
    kinds = ("io.vertx.vertx-*", "io.netty.netty-*", "com.fasterxml.jackson.core.*")
    return java("VertxPaths", folder, [jar for kind in kinds for jar in homes[0].glob(kind)])


def _node(folder: Path) -> Child:
    return Child("node", [tool("node"), str(JAVA.with_name("paths_node.js"))], folder)


SERVERS: dict[str, Callable[[Path], Child]] = {
    **{name.removesuffix("Paths").lower(): _from_central(name) for name in LIBRARIES},
    "fusion": _fusion,
    "vertx": _vertx,
    "node": _node,
}


def port_of(server: Child) -> int:
    """Wait until the server serves; return its port."""
    server.until("^serving", START_S)
    lines = [line for line in server.lines if line.startswith("serving")]
    found = re.search(r"\d+", lines[0])
    assert found is not None
    return int(found[0])
