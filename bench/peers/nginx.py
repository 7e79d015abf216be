"""nginx: a map from cookie to upstream, each with a keep-alive pool."""

from __future__ import annotations

from bench.peers.base import Peer
from bench.setting import COOKIE, Setting

# No temporary files in either direction: a proxy for logins would not have them, and they would
# measure the disk.
# So buffers are larger than nginx's own 8 of 4 KiB, which are meant to be backed by such files.
_CONF = """\
worker_processes {workers};
worker_rlimit_nofile 20000;
daemon off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 19000; }}
http {{
  log_format json escape=json '{{"time":"$time_iso8601","client":"$remote_addr",'
    '"method":"$request_method","host":"$host","path":"$uri","status":$status,'
    '"bytes_in":$request_length,"bytes_out":$body_bytes_sent,"duration":$request_time,'
    '"upstream":"$upstream_response_time","node":"$upstream_addr","request_id":"$request_id"}}';
  access_log {access_log} json buffer=64k flush=1s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  tcp_nodelay on;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  server_names_hash_max_size 8192;
  map_hash_max_size 8192;
  map_hash_bucket_size 128;
  variables_hash_max_size 2048;

  map $cookie_{cookie} $suffix {{ default ""; "~\\.(?<r>[^.]+)$" $r; }}
  map $suffix $owner {{
    default any;
{owners}  }}
{upstreams}
  upstream any {{
{servers}    keepalive 256;
    keepalive_requests 1000000000;
  }}
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $host;
  proxy_set_header X-Forwarded-Port $server_port;
  proxy_buffer_size 16k;
  proxy_buffers 16 64k;
  proxy_busy_buffers_size 256k;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;

  server {{ listen 127.0.0.1:{admin_port}; access_log off; location / {{ stub_status; }} }}
{hosts}}}
"""
_UPSTREAM = """\
  upstream {name} {{
    server 127.0.0.1:{port};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
"""
_HOST = """\
  server {{
    listen 127.0.0.1:{plain_port}{options};
    listen 127.0.0.1:{tls_port}{options} ssl;
    server_name {name};
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:10m;
    location / {{ proxy_pass http://$owner; }}
  }}
"""


def prepare(setting: Setting) -> list[str]:
    alone = setting.workers == 1
    conf = _CONF.format(
        workers=setting.workers,
        folder=setting.folder,
        access_log=setting.access_log,
        admin_port=setting.admin_port,
        cookie=COOKIE,
        owners="".join(f"    {node.name} {node.name};\n" for node in setting.nodes),
        upstreams="".join(_UPSTREAM.format(name=n.name, port=n.port) for n in setting.nodes),
        servers="".join(f"    server 127.0.0.1:{node.port};\n" for node in setting.nodes),
        hosts="".join(
            _HOST.format(
                plain_port=setting.plain_port,
                tls_port=setting.tls_port,
                # A socket for each worker, or one of them would take most connections.
                options=(" backlog=4096" if alone else " backlog=4096 reuseport") * (at == 0),
                name=host,
                cert=setting.certificate.cert,
                key=setting.certificate.key,
            )
            for at, host in enumerate(setting.hosts)
        ),
    )
    path = setting.write("nginx.conf", conf)
    return ["-e", str(setting.folder / "error.log"), "-c", str(path)]


PEER = Peer("nginx", "nginx", ("-v",), prepare, check_argv=lambda argv: [*argv, "-t"])
