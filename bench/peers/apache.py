"""Apache: mod_proxy_balancer with a sticky cookie, one child process of the event MPM."""

from __future__ import annotations

from pathlib import Path

from bench.peers.base import Peer
from bench.processes import BenchError
from bench.setting import COOKIE, Setting

_FOLDERS = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/libexec/apache2")
_MODULES = (
    "mpm_event",
    "authz_core",
    "unixd",
    "log_config",
    "headers",
    "socache_shmcb",
    "slotmem_shm",
    "ssl",
    "status",
    "proxy",
    "proxy_http",
    "proxy_ajp",
    "proxy_balancer",
    "lbmethod_byrequests",
)
_CONF = """\
ServerName idp.example.com
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
{modules}
ServerLimit 1
StartServers 1
ThreadsPerChild 128
ThreadLimit 128
MaxRequestWorkers 128
AsyncRequestWorkerFactor 200
MaxConnectionsPerChild 0
ListenBacklog 4096
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 75
Timeout 60
LimitRequestBody 0
BufferedLogs On
LogFormat "%h %t \\"%m %U %H\\" %>s %B %D %{{BALANCER_WORKER_ROUTE}}e" short
CustomLog {access_log} short
ExtendedStatus On
SSLSessionCache shmcb:{folder}/tls(512000)
SSLProtocol all -SSLv3 -TLSv1 -TLSv1.1

<Proxy balancer://idp>
{members}
  ProxySet stickysession={cookie} lbmethod=byrequests
</Proxy>
ProxyPreserveHost On
ProxyPass / balancer://idp/
RequestHeader unset X-Forwarded-For early
RequestHeader unset X-Forwarded-Host early
RequestHeader set X-Forwarded-Proto expr=%{{REQUEST_SCHEME}}
RequestHeader set X-Forwarded-Port expr=%{{SERVER_PORT}}

Listen 127.0.0.1:{plain_port}
Listen 127.0.0.1:{tls_port} https
<VirtualHost 127.0.0.1:{tls_port}>
  SSLEngine on
  SSLCertificateFile {cert}
  SSLCertificateKeyFile {key}
</VirtualHost>
"""


def prepare(setting: Setting) -> list[str]:
    modules = next((Path(each) for each in _FOLDERS if Path(each).is_dir()), None)
    if modules is None:
        raise BenchError("apache: no folder of modules found")
    conf = _CONF.format(
        folder=setting.folder,
        access_log=setting.access_log,
        plain_port=setting.plain_port,
        tls_port=setting.tls_port,
        cert=setting.certificate.cert,
        key=setting.certificate.key,
        cookie=COOKIE,
        modules="\n".join(
            f"LoadModule {name}_module {modules}/mod_{name}.so"
            for name in _MODULES
            if (modules / f"mod_{name}.so").exists()  # some are built in
        ),
        members="\n".join(
            f"  BalancerMember {node.url} route={node.name}" for node in setting.nodes
        ),
    )
    return ["-f", str(setting.write("apache.conf", conf)), "-DFOREGROUND"]


PEER = Peer("apache", "apache2", ("-v",), prepare, check_argv=lambda argv: ["-t", *argv])
