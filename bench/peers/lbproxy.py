"""lbproxy: one process, sticky by the route in the cookie; limits on a run's length are lifted."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import yaml

from bench.peers.base import Peer
from bench.setting import COOKIE, Setting


def prepare(setting: Setting) -> list[str]:
    document = {
        "workers": setting.workers,
        "listeners": [
            {"name": "http", "bind": f"127.0.0.1:{setting.plain_port}"},
            {
                "name": "https",
                "bind": f"127.0.0.1:{setting.tls_port}",
                "tls": {
                    "certificates": [
                        {
                            "cert": str(setting.certificate.cert),
                            "key": str(setting.certificate.key),
                        }
                    ]
                },
            },
        ],
        "pools": {
            "idp": {
                "profile": "generic",
                "sticky": {"by": ["route"], "cookie": COOKIE},
                # No probes: no peer here has any, and a node that dies ends the run anyway.
                "health": False,
                "nodes": [{"name": node.name, "url": node.url} for node in setting.nodes],
            }
        },
        "routes": [{"host": host, "path": "/", "pool": "idp"} for host in setting.hosts],
        "admin": {"bind": f"127.0.0.1:{setting.admin_port}"},
        "limits": {
            "body": False,
            "connections": 15000,
            "per_client": 15000,
            "requests_per_connection": 1_000_000_000,
        },
        "access_log": {"path": str(setting.access_log)},
    }
    path = setting.write("lbproxy.yaml", yaml.safe_dump(document, sort_keys=False))
    return ["run", "-c", str(path)]


PEER = Peer(
    "lbproxy",
    "lbproxy",
    ("--version",),
    prepare,
    check_argv=lambda argv: ["check", *argv[1:]],
    # What it remembers of its nodes stays out of the user's own folder. (An older one that stands
    # beside it in a run knows no key for that.)
    env={"XDG_STATE_HOME": str(Path(tempfile.gettempdir()) / "lbproxy-bench")},
)


def before(checkout: Path) -> Peer:
    """Return the lbproxy of another checkout, compiled there, as a peer of this one."""
    return replace(PEER, name="before", command=(str(checkout.resolve() / ".venv/bin/lbproxy"),))
