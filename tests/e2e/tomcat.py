"""Two Tomcats on loopback with jvmRoute and one page that tells, counts, takes and gives bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.e2e.artifacts import fetch, tool, unpacked
from tests.e2e.child import Child

VERSION = "10.1.55"
ADDRESSES = {"node1": "127.0.42.1", "node2": "127.0.42.2"}
PORT = 8080
START_S = 60.0
KEEP_ALIVE_MS = 300
MAX_KEEP_ALIVE_REQUESTS = 20
PAGE = "/app/page"

# Closes idle connections long before lbproxy would, and every connection after 20 requests.
SERVER = """<Server port="-1">
  <Service name="Catalina">
    <Connector address="{address}" port="{port}" protocol="HTTP/1.1" maxPostSize="-1"
      keepAliveTimeout="{idle}" maxKeepAliveRequests="{requests}" connectionTimeout="20000"/>
    <Engine name="Catalina" defaultHost="localhost" jvmRoute="{name}">
      <Valve className="org.apache.catalina.valves.RemoteIpValve" remoteIpHeader="X-Forwarded-For"
        protocolHeader="X-Forwarded-Proto" hostHeader="X-Forwarded-Host"
        portHeader="X-Forwarded-Port"/>
      <Host name="localhost" appBase="webapps" autoDeploy="false"/>
    </Engine>
  </Service>
</Server>
"""

WEB = """<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">
  <servlet>
    <servlet-name>page</servlet-name>
    <jsp-file>/page.jsp</jsp-file>
  </servlet>
  <servlet-mapping>
    <servlet-name>page</servlet-name>
    <url-pattern>/page</url-pattern>
  </servlet-mapping>
</web-app>
"""

# do=session counts the visits of a session; upload answers with length and digest; download gives
# n bytes, chunked where asked; count notes an id, seen lists the notes.
JSP = """<%@ page session="false" import="java.io.*,java.security.*,java.util.*,\
java.util.concurrent.*" %><%!
  static final Queue<String> NOTES = new ConcurrentLinkedQueue<>();
%><%
  String what = String.valueOf(request.getParameter("do"));
  String node = System.getProperty("node");
  byte[] piece = new byte[65536];
  if (what.equals("session")) {
    HttpSession session = request.getSession(true);
    Integer before = (Integer) session.getAttribute("visits");
    int visits = before == null ? 1 : before + 1;
    session.setAttribute("visits", visits);
    out.print(node + " " + visits + " " + session.getId() + " " + response.encodeURL("/app/page"));
  } else if (what.equals("upload")) {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    InputStream body = request.getInputStream();
    long length = 0;
    for (int read; (read = body.read(piece)) >= 0; length += read) digest.update(piece, 0, read);
    out.print(length + " " + HexFormat.of().formatHex(digest.digest()));
  } else if (what.equals("download")) {
    long length = Long.parseLong(request.getParameter("n"));
    if (request.getParameter("chunked") == null) response.setContentLengthLong(length);
    response.setContentType("application/octet-stream");
    Random random = new Random(length);
    OutputStream to = response.getOutputStream();
    while (length > 0) {
      random.nextBytes(piece);
      int size = (int) Math.min(piece.length, length);
      to.write(piece, 0, size);
      length -= size;
    }
    to.flush();
  } else if (what.equals("digest")) {
    long length = Long.parseLong(request.getParameter("n"));
    Random random = new Random(length);
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    for (long left = length; left > 0; left -= piece.length) {
      random.nextBytes(piece);
      digest.update(piece, 0, (int) Math.min(piece.length, left));
    }
    out.print(HexFormat.of().formatHex(digest.digest()));
  } else if (what.equals("refuse")) {
    response.sendError(413);
  } else if (what.equals("count")) {
    NOTES.add(request.getParameter("id"));
    request.getInputStream().readAllBytes();
    out.print(node);
  } else if (what.equals("seen")) {
    out.print(String.join(" ", NOTES));
  } else {
    out.print(request.getScheme() + "://" + request.getServerName() + ":" + request.getServerPort()
      + " " + request.isSecure() + " " + request.getRemoteAddr());
  }
%>"""


def home() -> Path:
    """Return an unpacked Tomcat. Raises: Missing."""
    archive = fetch(f"org.apache.tomcat:tomcat:{VERSION}:zip")
    return unpacked(archive, f"apache-tomcat-{VERSION}", lambda _: None)


def command(home: Path, base: Path, *options: str) -> list[str]:
    """Return how to start the instance in a folder of its own. Raises: Missing."""
    return [
        *(tool("java"), "-Xmx256m", *options),
        *(f"-Dcatalina.home={home}", f"-Dcatalina.base={base}"),
        f"-Djava.io.tmpdir={base / 'temp'}",
        *("-cp", f"{home / 'bin/bootstrap.jar'}:{home / 'bin/tomcat-juli.jar'}"),
        *("org.apache.catalina.startup.Bootstrap", "start"),
    ]


class TomcatPair:
    """node1 and node2. Raises: Missing, when made."""

    def __init__(self, folder: Path) -> None:
        self.home = home()
        self.folder = folder
        self.nodes: dict[str, Child] = {}

    def __enter__(self) -> TomcatPair:
        try:
            for name in ADDRESSES:
                self.start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.terminate()

    @property
    def urls(self) -> dict[str, str]:
        return {name: f"http://{address}:{PORT}" for name, address in ADDRESSES.items()}

    def start(self, name: str) -> None:
        """Start a node and wait until it serves."""
        base = self._base(name)
        self.nodes[name] = Child(name, command(self.home, base, f"-Dnode={name}"), base)
        self.nodes[name].until("Server startup in", START_S)

    def _base(self, name: str) -> Path:
        """Make the instance's own folder, or return it."""
        base = self.folder / name
        if base.exists():
            return base
        for each in ("conf", "temp", "webapps/app/WEB-INF"):
            (base / each).mkdir(parents=True)
        shutil.copy(self.home / "conf" / "web.xml", base / "conf")
        (base / "conf" / "server.xml").write_text(
            SERVER.format(
                address=ADDRESSES[name],
                port=PORT,
                name=name,
                idle=KEEP_ALIVE_MS,
                requests=MAX_KEEP_ALIVE_REQUESTS,
            )
        )
        (base / "webapps" / "app" / "page.jsp").write_text(JSP)
        (base / "webapps" / "app" / "WEB-INF" / "web.xml").write_text(WEB)
        return base
