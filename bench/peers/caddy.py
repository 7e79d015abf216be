"""Caddy: a matcher on the Cookie field for each owner."""

from __future__ import annotations

from bench.peers.base import Peer
from bench.setting import COOKIE, Setting

_CONF = """\
{{
  admin 127.0.0.1:{admin_port}
  auto_https off
  storage file_system {folder}/data
  log {{
    level ERROR
  }}
  servers {{
    protocols h1
    metrics
  }}
}}
(idp) {{
  log {{
    output file {access_log} {{
      roll_disabled
    }}
  }}
{owners}  reverse_proxy {all} {{
    lb_policy round_robin
    header_up X-Forwarded-Port {{http.request.port}}
  }}
}}
http://:{plain_port} {{
  bind 127.0.0.1
  import idp
}}
https://:{tls_port} {{
  bind 127.0.0.1
  tls {cert} {key}
  import idp
}}
"""
_OWNER = """\
  @{name} header_regexp Cookie {cookie}=[^;]*\\.{name}(;|$)
  reverse_proxy @{name} 127.0.0.1:{port} {{
    header_up X-Forwarded-Port {{http.request.port}}
  }}
"""


def prepare(setting: Setting) -> list[str]:
    conf = _CONF.format(
        folder=setting.folder,
        access_log=setting.access_log,
        plain_port=setting.plain_port,
        tls_port=setting.tls_port,
        admin_port=setting.admin_port,
        cert=setting.certificate.cert,
        key=setting.certificate.key,
        owners="".join(
            _OWNER.format(name=node.name, port=node.port, cookie=COOKIE) for node in setting.nodes
        ),
        all=" ".join(f"127.0.0.1:{node.port}" for node in setting.nodes),
    )
    return ["run", "--config", str(setting.write("Caddyfile", conf)), "--adapter", "caddyfile"]


PEER = Peer(
    "caddy",
    "caddy",
    ("version",),
    prepare,
    check_argv=lambda argv: ["validate", *argv[1:]],
    env={"GOMAXPROCS": "1"},
)
