"""The words of nginx, HAProxy, Apache, Traefik, Envoy and Caddy, and what to write instead.

One table: a word, for some only in one section, and the key that does the same here, or the reason
why there is none. Words are compared without case and separators. Sections are named as in the
reference: `listeners[]`, `pools.NAME.nodes[]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from lbproxy.config.findings import Path


@dataclass(frozen=True, slots=True)
class Advice:
    """What to write instead. Args: target: the key with its section, None if there is none."""

    target: str | None
    text: str


_LISTENER, _TLS, _POOL = "listeners[]", "listeners[].tls", "pools.NAME"
_NODE, _ROUTE, _HEALTH = "pools.NAME.nodes[]", "routes[]", "pools.NAME.health"

# In every section, unless there is an entry for the section below.
_ANYWHERE: Mapping[str, str] = {
    "listeners": "frontend frontends entrypoint entrypoints listen virtualhost virtual_host",
    "pools": "upstream upstreams backend backends cluster clusters service services balancer "
    "load_balancer load_balancers proxy reverse_proxy",
    "routes": "location locations router routers rule rules vhosts virtual_hosts use_backend "
    "default_backend acl http_route matcher handle site sites route_config",
    "workers": "worker_processes nbthread nbproc threads concurrency",
    "admin": "stats dashboard api metrics prometheus ping stub_status server_status",
    "access_log": "log logs logging accesslog customlog error_log log_format option_httplog",
    "access_log.path": "log_path log_file log_file_path",
    "resolver": "resolvers nameserver nameservers dns_resolvers",
    "listeners[].tls": "ssl tls_context downstream_tls_context ssl_options",
    "listeners[].tls.certificates": "cert certs certificate ssl_certificate sslcertificatefile crt "
    "ssl_certificate_key sslcertificatekeyfile tls_certificates crt_list",
    "listeners[].tls.min_version": "ssl_protocols sslprotocol ssl_min_ver tls_min_version "
    "protocols minimum_version tls_minimum_protocol_version",
    "listeners[].tls.ticket_key_file": "ssl_session_ticket_key tls_ticket_keys session_ticket_keys "
    "sslsessionticketkeyfile session_tickets ticket_keys ticket_key",
    "listeners[].redirect_to": "https_redirect redirect_scheme ssl_redirect redirect_https "
    "force_https force_ssl redirections",
    "listeners[].proxy_protocol": "accept_proxy proxyprotocol use_proxy_proto "
    "remoteipproxyprotocol",
    "forwarding.trusted_proxies": "set_real_ip_from real_ip_from trusted_ips trusted_proxy "
    "real_ip_header real_ip remoteiptrustedproxy remoteipinternalproxy trustedips "
    "xff_num_trusted_hops forwarded_headers trusted_proxies_networks",
    "forwarding.fields": "forwardfor option_forwardfor x_forwarded_for x_forwarded "
    "x_forwarded_proto",
    "pools.NAME.nodes": "loadbalancer_servers balancermember lb_endpoints endpoints",
    "pools.NAME.balance": "lb_policy lb_method load_balancing lbmethod algorithm policy strategy "
    "balance_algorithm ip_hash least_conn round_robin roundrobin leastconn",
    "pools.NAME.sticky": "stickiness session_affinity affinity persistence stick_table stick_on "
    "sticky_session stickysession sticky_sessions session_stickiness",
    "pools.NAME.sticky.cookie": "appsession cookie_name sticky_cookie",
    "pools.NAME.health": "health_check healthcheck health_checks check checks httpchk "
    "option_httpchk active_health_checks liveness readiness",
    "pools.NAME.ejection": "outlier_detection circuit_breaker circuitbreaker circuit_breakers "
    "passive_health_checks passive_health passivehealthcheck observe",
    "pools.NAME.retry": "retries proxy_next_upstream retry_policy redispatch retry_on "
    "proxy_next_upstream_tries lb_try_duration",
    "pools.NAME.slow_start": "slowstart slow_start_config",
    "pools.NAME.queue": "timeout_queue maxqueue max_queue queue_timeout max_pending_requests",
    "pools.NAME.keepalive": "http_reuse max_idle_conns_per_host keepalive_requests",
    "pools.NAME.keepalive.idle": "idle_conn_timeout pool_purge_delay",
    "pools.NAME.tcp": "srvtcpka option_srvtcpka proxy_socket_keepalive tcp_keepalive "
    "upstream_connection_options",
    "pools.NAME.tcp.keepalive_idle": "srvtcpka_idle",
    "pools.NAME.tcp.keepalive_interval": "srvtcpka_intvl",
    "pools.NAME.tcp.keepalive_count": "srvtcpka_cnt",
    "listeners[].tcp": "so_keepalive clitcpka option_clitcpka",
    "listeners[].tcp.keepalive_idle": "clitcpka_idle",
    "listeners[].tcp.keepalive_interval": "clitcpka_intvl",
    "listeners[].tcp.keepalive_count": "clitcpka_cnt",
    "limits.backlog": "backlog listenbacklog tcp_backlog_size",
    "pin_workers": "worker_cpu_affinity cpu_map",
    "pools.NAME.hide": "deny_paths blocked_paths internal hidden",
    "pools.NAME.expose": "allow_paths allowed_paths",
    "pools.NAME.strip": "request_headers_to_remove del_header remove_headers",
    "pools.NAME.nodes[].url": "proxy_pass upstream_url",
    "pools.NAME.nodes[].tls.verify": "proxy_ssl_verify insecure_skip_verify sslproxyverify "
    "tls_insecure_skip_verify ssl_verify",
    "pools.NAME.nodes[].tls.ca": "proxy_ssl_trusted_certificate root_cas rootcas ca_file cafile "
    "sslproxycacertificatefile trusted_ca",
    "pools.NAME.nodes[].tls.server_name": "proxy_ssl_name proxy_ssl_server_name sni verifyhost",
    "timeouts.connect": "proxy_connect_timeout timeout_connect connect_timeout dial_timeout",
    "timeouts.response": "proxy_read_timeout timeout_server proxy_timeout response_timeout "
    "response_header_timeout read_timeout proxy_send_timeout request_timeout upstream_timeout",
    "timeouts.client_head": "client_header_timeout timeout_http_request request_headers_timeout "
    "read_header_timeout requestreadtimeout",
    "timeouts.client_idle": "keepalive_timeout timeout_http_keep_alive idle_timeout "
    "common_http_idle_timeout keep_alive_timeout",
    "timeouts.body_idle": "client_body_timeout timeout_client read_body",
    "timeouts.write_idle": "send_timeout write_timeout",
    "timeouts.tunnel_idle": "timeout_tunnel websocket_timeout stream_idle_timeout",
    "timeouts.drain": "worker_shutdown_timeout hard_stop_after grace_period graceful_timeout "
    "gracetimeout drain_time shutdown_timeout",
    "timeouts.tls_handshake": "ssl_handshake_timeout handshake_timeout",
    "limits.body": "client_max_body_size limitrequestbody max_request_body max_body_size "
    "body_limit request_body max_request_bytes body_size",
    "limits.head": "large_client_header_buffers client_header_buffer_size max_header_bytes "
    "max_request_headers_kb limitrequestfieldsize bufsize header_size max_header_size",
    "limits.fields": "maxhdr limitrequestfields max_headers_count http_maxhdr",
    "limits.response_head": "proxy_buffer_size proxy_buffers",
    "limits.connections": "maxconn worker_connections max_connections maxclients maxrequestworkers",
    "limits.per_client": "limit_conn limit_conn_zone in_flight_req max_conn_per_ip",
    "limits.requests_per_connection": "max_requests_per_connection maxkeepaliverequests",
}

# In one section alone.
_AT: Mapping[str, Mapping[str, str]] = {
    "": {
        "listeners": "server servers bind http https stream tcp ports port",
        "pools": "nodes targets",
        "listeners[].tls": "tls",
    },
    _LISTENER: {
        "listeners[].bind": "listen address addr port ports socket host ip",
        "listeners[].redirect_to": "redirect return",
        "listeners[].tls.certificates": "certificates",
        "listeners[].name": "id",
        "listeners[].public_port": "external_port advertised_port",
        "listeners[].tcp.user_timeout": "tcp_ut tcp_user_timeout",
        "routes[].host": "server_name server_names hostname domain domains serveralias hosts",
        "routes[].pool": "pool upstream backend default_backend service proxy_pass cluster",
    },
    _TLS: {
        "listeners[].tls.certificates": "key cert crt pem chain keyfile certfile",
        "listeners[].tls.min_version": "versions version minversion min protocol",
    },
    _POOL: {
        "pools.NAME.nodes": "server servers node members targets backend backends hosts upstream "
        "upstreams endpoints target urls url",
        "pools.NAME.balance": "method mode load_balancer",
        "pools.NAME.nodes[].tls": "tls ssl",
        "pools.NAME.nodes[].weight": "weight",
        "pools.NAME.sticky.cookie": "cookie",
        "pools.NAME.timeouts.response": "timeout proxy_read_timeout timeout_server read_timeout "
        "response_timeout request_timeout",
        "pools.NAME.timeouts.connect": "proxy_connect_timeout timeout_connect connect_timeout",
        "pools.NAME.keepalive.idle": "keepalive_timeout idle_timeout",
        "pools.NAME.tcp.user_timeout": "tcp_ut tcp_user_timeout",
        "pools.NAME.max_in_flight": "max_conns maxconn fullconn max_requests max_connections",
        "routes[].host": "host server_name",
        "routes[].path": "path prefix",
        "pools.NAME.discover": "dns srv service_discovery server_template",
    },
    _NODE: {
        "pools.NAME.nodes[].url": "server address addr host ip endpoint target dial port "
        "hostname backend upstream location socket_address scheme",
        "pools.NAME.nodes[].name": "id",
        "pools.NAME.nodes[].route": "cookie jvm_route jvmroute",
        "pools.NAME.nodes[].weight": "lbfactor load_factor",
        "pools.NAME.nodes[].max_in_flight": "maxconn max_conns max",
        "pools.NAME.nodes[].tls": "ssl https",
        "pools.NAME.nodes[].tls.ca": "ca",
        "pools.NAME.nodes[].tls.verify": "verify insecure",
        "pools.NAME.nodes[].secret_file": "secret ajp_secret",
        "pools.NAME.ejection.failures": "max_fails",
        "pools.NAME.ejection.base": "fail_timeout",
        "pools.NAME.health.interval": "inter interval",
        "pools.NAME.health.rise": "rise",
        "pools.NAME.health.fall": "fall",
    },
    _ROUTE: {
        "routes[].pool": "backend backends upstream upstreams service services cluster proxy_pass "
        "use_backend target node nodes to destination loadbalancer",
        "routes[].path": "location prefix path_prefix pathprefix match rule uri url path_beg paths "
        "matcher handle route",
        "routes[].host": "server_name server_names hostname domain domains hosts authority "
        "hdr_host "
        "sni",
        "pools.NAME.timeouts.response": "timeout",
        "pools.NAME.sticky": "sticky",
    },
    _HEALTH: {
        "pools.NAME.health.path": "uri url endpoint health_uri http_path page",
        "pools.NAME.health.expect": "status statuses match expected_statuses code codes "
        "expected_status http_expect health_status",
        "pools.NAME.health.interval": "inter period every health_interval",
        "pools.NAME.health.rise": "passes healthy_threshold success_threshold",
        "pools.NAME.health.fall": "fails unhealthy_threshold failure_threshold failures",
        "pools.NAME.health.host": "hostname host_header",
        "pools.NAME.health.body": "expect_body response_body string",
        "pools.NAME.health.probe": "type",
    },
}

_RATE = "not supported; limits.per_client bounds connections, the provider counts failed logins"
_ACCESS = "not supported; who may come is for a firewall, hide and expose say what may be reached"
_REWRITE = "not supported; nodes get paths as clients wrote them, or signatures and redirects break"
_FIELDS = (
    "not supported; forwarded fields are written by themselves (forwarding), strip removes others, "
    "answers are passed on as the node gives them"
)
_HTTP2 = "not supported; HTTP/1.1 is spoken on both sides"
_CIPHERS = (
    "not supported; TLS 1.2 and 1.3 with safe ciphers alone are offered, min_version is the choice"
)
_CLIENT_CERTIFICATES = "not supported; no certificate is asked of clients, but of nodes at mcmp.tls"

# Why there is no such setting.
_NOT_HERE: Mapping[str, str] = {
    _RATE: "rate_limit rate_limits ratelimit limit_req limit_req_zone rate_limiting rate throttle "
    "sc_http_req_rate local_ratelimit request_rate average burst",
    _ACCESS: "allow deny allow_from ip_allow_list ipallowlist ip_whitelist ipwhitelist whitelist "
    "blacklist require satisfy http_request_deny auth_request basic_auth basicauth auth_basic "
    "forward_auth forwardauth ext_authz auth rbac waf allowlist denylist",
    _REWRITE: "rewrite rewrites rewrite_rule rewriterule strip_prefix stripprefix replace_path "
    "prefix_rewrite replacepath path_rewrite uri_strip_prefix handle_path rewriteengine",
    _FIELDS: "headers header add_header proxy_set_header set_header request_header response_header "
    "http_request http_response middlewares middleware more_set_headers proxy_hide_header "
    "request_headers_to_add response_headers_to_add requestheader filters http_filters plugins "
    "hsts cors custom_request_headers header_up header_down proxypreservehost",
    _HTTP2: "http2 http3 h2 h2c quic grpc alpn http_version proxy_http_version http2_max_streams",
    _CIPHERS: "ciphers ssl_ciphers cipher_suites ciphersuites sslciphersuite curves ecdh_curve "
    "ssl_ecdh_curve ssl_prefer_server_ciphers dhparam ssl_dhparam max_version ssl_max_ver "
    "ssl_session_cache ssl_session_tickets ssl_session_timeout ssl_stapling ocsp ocsp_stapling",
    _CLIENT_CERTIFICATES: "client_ca client_auth clientauth ssl_client_certificate "
    "ssl_verify_client "
    "mtls ca_file_client require_client_certificate sslverifyclient trusted_client_ca clientca "
    "client_certificates",
    "not supported; answers pass as the node gives them, compressed if it does that": "gzip "
    "compress compression brotli zstd encode deflate gzip_types",
    "not supported; what a login answers must not be stored": "cache caching proxy_cache "
    "proxy_cache_path cache_path proxy_cache_valid",
    "not needed: WebSocket is passed on by itself, see timeouts.tunnel_idle": "websocket "
    "websockets "
    "upgrade upgrade_configs enable_websockets",
    "not needed: bodies pass as they come and are never stored": "proxy_buffering buffering "
    "proxy_request_buffering flush_interval flushinterval option_http_buffer_request buffers",
    "not supported; certificates come from files, which are read again when they change (certbot "
    "or another client of ACME writes them)": "acme letsencrypt lets_encrypt cert_resolver "
    "certresolver certificates_resolvers auto_https auto_tls email",
    "not supported; redirects are 308, which keeps method and body": "redirect_code "
    "redirect_status "
    "code permanent",
    "not supported; lbproxy's own answers are pages without a name, or JSON": "error_page "
    "error_pages errorfile errorfiles errordocument handle_errors custom_errors",
    "not supported; files are for a web server": "root try_files file_server index alias static "
    "documentroot autoindex",
    "not supported; one file holds all of it": "include includes import imports conf_d providers "
    "snippets",
    "not supported; the service manager sets it (systemd: User=, LimitNOFILE=)": "user group "
    "daemon "
    "pidfile pid chroot ulimit_n worker_rlimit_nofile events master_process",
    "not supported; write each of them out, a pool's profile has defaults": "defaults global main "
    "default common base",
    "not supported; every node that is enabled takes its share (weight)": "backup standby "
    "is_backup",
    "not supported; lbproxy drain and disable do it while running": "down disabled drain "
    "maintenance",
    "not supported; HTTP alone is passed on": "udp tcp_proxy layer4 tcp_routers",
}


def _bare(word: str) -> str:
    return re.sub("[^a-z0-9]", "", word.lower())


def table() -> Iterator[tuple[str | None, str, Advice]]:
    """Yield each section (None: any), each word as people write it, and what to say."""
    for section, targets in [(None, _ANYWHERE), *_AT.items()]:
        for target, words in targets.items():
            for word in words.split():
                own = section is not None and target.rpartition(".")[0] == section
                name = target.rpartition(".")[2] if own else target
                yield section, word, Advice(target, f"lbproxy's word is {name}")
    for text, words in _NOT_HERE.items():
        for word in words.split():
            yield None, word, Advice(None, text)


@cache
def _table() -> dict[tuple[str | None, str], Advice]:
    return {(section, _bare(word)): advice for section, word, advice in table()}


def section_of(path: Path) -> str:
    """Return the reference's name for the section at a path of the file."""
    text = ""
    for index, part in enumerate(path):
        if isinstance(part, int):
            text += "[]"
        else:
            name = "NAME" if index == 1 and path[0] == "pools" else part
            text += f".{name}" if text else name
    return text


def advice(path: Path) -> Advice | None:
    """Return what to write for an unknown key, None for one that no other product has."""
    section, word = section_of(path[:-1]), _bare(str(path[-1]))
    found = _table().get((section, word)) or _table().get((None, word))
    if found is None or found.target is None:
        return found
    parent, _, key = found.target.rpartition(".")
    if parent == section:
        return Advice(found.target, f"lbproxy's word is {key}")
    return found


_BALANCE = {
    "round_robin": "rr wrr weighted static_rr byrequests random weighted_round_robin first",
    "least_requests": "leastconn least_connections least_request least bytraffic bybusyness "
    "least_time weighted_least_conn p2c random_choose power_of_two_choices",
    "peak_ewma": "ewma latency",
    "hash": "ip_hash source uri url_param hdr iphash client_ip_hash ring_hash maglev cookie "
    "consistent_hash consistent header uri_hash rdp_cookie",
    "load": "dynamic heartbeat",
}
_VALUES: Mapping[tuple[str, str], str] = {
    **{
        ("balance", _bare(word)): target
        for target, words in _BALANCE.items()
        for word in (target, *words.split())
    },
    **{
        ("min_version", f"{prefix}{digits}"): version
        for prefix in ("", "tls", "tlsv", "v")
        for digits, version in (("12", "1.2"), ("13", "1.3"))
    },
    **{("fields", word): "x-forwarded" for word in ("xforwardedfor", "legacy", "xff")},
    **{("fields", word): "forwarded" for word in ("rfc7239", "forwardedfor")},
    **{("probe", word): "request" for word in ("http", "get", "https", "httpchk")},
    **{("probe", word): "ping" for word in ("tcp", "cping", "connect", "options")},
}
# For words whose nearest counterpart does less than was asked for.
_MORE = {
    "hash": "hash, which is of the session and not of the address: companies and mobile networks "
    "have one for all their people",
}


def value_advice(path: Path, value: str) -> str | None:
    """Return lbproxy's word for another product's value of the key at a path, None if unknown."""
    key = str(next((part for part in reversed(path) if isinstance(part, str)), ""))
    found = _VALUES.get((key, _bare(value)))
    return None if found is None else f"lbproxy's word is {_MORE.get(found, found)}"
