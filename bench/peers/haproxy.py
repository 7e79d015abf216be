"""HAProxy: use-server by the cookie's suffix, connections to servers reused."""

from __future__ import annotations

from bench.peers.base import Peer
from bench.setting import COOKIE, HOST, Setting

# maxconn reckons with two descriptors a client; an idle one needs one, hence no strict limits.
_CONF = """\
global
  nbthread {workers}
  maxconn 12000
  no strict-limits
  log stdout format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.2
  tune.ssl.default-dh-param 2048

defaults
  mode http
  log global
  option httplog
  http-reuse always
  timeout connect 3s
  timeout client 75s
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 75s

frontend logins
  bind 127.0.0.1:{plain_port} backlog 4096
  bind 127.0.0.1:{tls_port} backlog 4096 ssl crt {both} alpn http/1.1
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Forwarded-Host %[req.hdr(Host)]
  http-request set-header X-Forwarded-Port %[dst_port]
{choose}

frontend metrics
  bind 127.0.0.1:{admin_port}
  no log
  stats enable
  stats uri /

backend idp
  balance roundrobin
  use-server %[req.cook({cookie}),field(-1,.)] if TRUE
{servers}"""


def prepare(setting: Setting) -> list[str]:
    choose = "  default_backend idp"
    if setting.hosts != (HOST,):
        table = setting.write("hosts.map", "".join(f"{host} idp\n" for host in setting.hosts))
        choose = f"  use_backend %[req.hdr(host),lower,map({table})]"
    conf = _CONF.format(
        workers=setting.workers,
        plain_port=setting.plain_port,
        tls_port=setting.tls_port,
        admin_port=setting.admin_port,
        both=setting.certificate.both,
        cookie=COOKIE,
        choose=choose,
        servers="".join(f"  server {node.name} 127.0.0.1:{node.port}\n" for node in setting.nodes),
    )
    return ["-db", "-f", str(setting.write("haproxy.cfg", conf))]


# Its log goes to standard output, which is a file here: it knows no other way to one.
PEER = Peer("haproxy", "haproxy", ("-v",), prepare, check_argv=lambda argv: ["-c", *argv])
