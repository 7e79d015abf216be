"""Envoy: one route for each owner, found by a regular expression on the Cookie field."""

from __future__ import annotations

import json

from bench.peers.base import Peer
from bench.setting import COOKIE, Node, Setting

_TYPES = "type.googleapis.com/envoy.extensions"


def prepare(setting: Setting) -> list[str]:
    by_cookie = [
        _route(
            node.name,
            {
                "prefix": "/",
                "headers": [
                    {
                        "name": "cookie",
                        "string_match": {
                            "safe_regex": {"regex": rf"(.*; ?)?{COOKIE}=[^;]*\.{node.name}(;.*)?"}
                        },
                    }
                ],
            },
        )
        for node in setting.nodes
    ]
    routes = [*by_cookie, _route("any", {"prefix": "/"})]
    tls = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["http/1.1"],
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": str(setting.certificate.cert)},
                        "private_key": {"filename": str(setting.certificate.key)},
                    }
                ],
            },
        },
    }
    document = {
        "admin": {"address": _address(setting.admin_port)},
        "static_resources": {
            "listeners": [
                _listener("plain", setting.plain_port, setting, routes, {}),
                _listener("tls", setting.tls_port, setting, routes, {"transport_socket": tls}),
            ],
            "clusters": [
                *(_cluster(node.name, (node,)) for node in setting.nodes),
                _cluster("any", setting.nodes),
            ],
        },
    }
    # JSON is YAML, and needs no quoting rules.
    path = setting.write("envoy.yaml", json.dumps(document, indent=1))
    return ["-c", str(path), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]


def _route(cluster: str, match: dict[str, object]) -> dict[str, object]:
    return {"match": match, "route": {"cluster": cluster, "timeout": "0s"}}


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, nodes: tuple[Node, ...]) -> dict[str, object]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "3s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _address(n.port)}} for n in nodes]}
            ],
        },
    }


def _listener(
    name: str,
    port: int,
    setting: Setting,
    routes: list[dict[str, object]],
    tls: dict[str, object],
) -> dict[str, object]:
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "skip_xff_append": True,  # it is overwritten below, as by the others
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": f"{_TYPES}.access_loggers.file.v3.FileAccessLog",
                    "path": str(setting.access_log),
                },
            }
        ],
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "name": name,
            "request_headers_to_add": [
                _field("X-Forwarded-For", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
                _field("X-Forwarded-Host", "%REQ(:AUTHORITY)%"),
                _field("X-Forwarded-Port", "%DOWNSTREAM_LOCAL_PORT%"),
            ],
            "virtual_hosts": [
                {"name": "idp", "domains": list(_domains(setting)), "routes": routes}
            ],
        },
    }
    chain: dict[str, object] = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ],
        **tls,
    }
    return {"name": name, "address": _address(port), "filter_chains": [chain]}


def _domains(setting: Setting) -> tuple[str, ...]:
    return setting.hosts if len(setting.hosts) > 1 else ("*",)


def _field(key: str, value: str) -> dict[str, object]:
    return {
        "header": {"key": key, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


PEER = Peer(
    "envoy", "envoy", ("--version",), prepare, check_argv=lambda argv: ["--mode", "validate", *argv]
)
