"""The application that test nodes serve, compiled against their own servlet API."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.artifacts import tool

JAVA = Path(__file__).with_name("java")
COMPILE_S = 120

WEB = """<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">
  {distributable}
  <servlet>
    <servlet-name>page</servlet-name>
    <servlet-class>Page</servlet-class>
  </servlet>
  <servlet-mapping>
    <servlet-name>page</servlet-name>
    <url-pattern>/*</url-pattern>
  </servlet-mapping>
</web-app>
"""


def compiled(sources: Sequence[Path], libraries: Sequence[Path], folder: Path) -> Path:
    """Return the folder with the classes of Java sources. Raises: Missing."""
    command = [tool("javac"), "-nowarn", "-d", str(folder), "-cp", ":".join(map(str, libraries))]
    ran = subprocess.run(
        [*command, *map(str, sources)],
        capture_output=True,
        text=True,
        timeout=COMPILE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def webapp(servlet_api: Path, folder: Path, *, distributable: bool) -> Path:
    """Make the application as an open folder, if it is not there yet; return it.

    Args: distributable: its sessions may be on several nodes, so that none waits for their end.
    """
    inside = folder / "WEB-INF"
    if inside.exists():
        return folder
    compiled([JAVA / "Page.java"], [servlet_api], inside / "classes")
    mark = "<distributable/>" if distributable else ""
    (inside / "web.xml").write_text(WEB.format(distributable=mark))
    return folder
