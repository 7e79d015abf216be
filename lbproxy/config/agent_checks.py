"""Checks across the sections of an agent's file: do they fit together, and what will go wrong
later?"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path as FilePath

from lbproxy.config.addresses import is_loopback, parse_node_url, parse_page_url, parse_proxy_url
from lbproxy.config.agent import (
    AgentConfig,
    AgentHealthSettings,
    AgentLoadSettings,
    AgentNodeSettings,
    AgentTlsSettings,
)
from lbproxy.config.certificates import check_authority
from lbproxy.config.check_helpers import Known, check_codes, check_token, duplicates
from lbproxy.config.findings import Finding, Path, error, warning
from lbproxy.config.sources import NodeTlsSettings
from lbproxy.config.units import format_duration


def check(config: AgentConfig, environment: Mapping[str, str], known: Known) -> Iterator[Finding]:
    """Yield every finding."""
    proxies = [parse_proxy_url(url) for url in config.proxies]
    yield from duplicates(
        (("proxies", index), f"{url.scheme}://{url.host}:{url.port}")
        for index, url in enumerate(proxies)
        if not known.doubtful(("proxies", index))
    )
    # A proxy whose url is in doubt may be anywhere.
    unknown = known.doubtful_within(("proxies",))
    beside = unknown or all(is_loopback(url.host) for url in proxies)
    yield from _node(config.node, beside, ("node",))
    yield from _health(config.node, config.node.health, known, ("node", "health"))
    yield from _tls(
        config.tls, unknown or any(url.scheme == "https" for url in proxies), known, ("tls",)
    )
    yield from _token(config, environment)
    yield from _load(config.load, known, ("load",))
    if config.drain.sessions >= config.drain.deadline and not known.doubtful(("drain", "deadline")):
        yield error(
            ("drain", "sessions"),
            f"{format_duration(config.drain.sessions)} leaves nothing of the deadline of "
            f"{format_duration(config.drain.deadline)}, which is for the whole of leaving",
        )
    control = config.control
    if control is not False and not control.is_local:
        yield error(
            ("control",),
            f"{control.host} is reachable from other machines, which could make the node leave; "
            "write unix:/path or 127.0.0.1:port",
        )


def _node(node: AgentNodeSettings, beside: bool, path: Path) -> Iterator[Finding]:
    url = parse_node_url(node.url)
    try:
        wildcard = ip_address(url.host).is_unspecified
    except ValueError:
        wildcard = False
    if wildcard:
        yield error((*path, "url"), f"{url.host} is no address that lbproxy could connect to")
    elif is_loopback(url.host) and not beside:
        yield warning(
            (*path, "url"), f"{url.host} is, for an lbproxy elsewhere, its own machine and not this"
        )
    for key in ("contexts", "aliases"):
        yield from duplicates(
            ((*path, key, index), value) for index, value in enumerate(getattr(node, key))
        )


def _health(
    node: AgentNodeSettings, health: AgentHealthSettings, known: Known, path: Path
) -> Iterator[Finding]:
    scheme = parse_page_url(health.url)[0].scheme if health.url else health.scheme
    if known.any_doubtful((*path, "url"), (*path, "scheme"), ("node", "url")):
        scheme = "auto"  # which may be any
    if scheme is None and (scheme := parse_node_url(node.url).scheme) == "ajp":
        yield error(path, "an ajp node has no page at its url; write url, or scheme and port")
    if scheme == "http" and health.tls != NodeTlsSettings():
        yield error((*path, "tls"), "has no effect on an http:// page")
    if health.tls.ca is not None:
        yield from check_authority(health.tls.ca, (*path, "tls", "ca"))
    yield from check_codes(health.expect, health.soft, known, path)


def _tls(tls: AgentTlsSettings, used: bool, known: Known, path: Path) -> Iterator[Finding]:
    if not used and tls != AgentTlsSettings():
        yield error(path, "has no effect: no proxy begins with https://")
    if tls.ca is not None:
        yield from check_authority(tls.ca, (*path, "ca"))
    if known.any_doubtful((*path, "cert"), (*path, "key")):
        return
    if (tls.cert is None) != (tls.key is None):
        yield error(path, "needs cert and key, or neither")
    elif tls.cert is not None:
        try:
            # Do not ask for a passphrase: nobody sits there to type it.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(tls.cert, tls.key, lambda: "")
        except (ssl.SSLError, ValueError) as problem:
            yield error((*path, "cert"), f"is refused with its key by OpenSSL: {_reason(problem)}")


def _reason(problem: Exception) -> str:
    reason = problem.reason if isinstance(problem, ssl.SSLError) else None
    return (reason or "unusable").lower().replace("_", " ")


def _token(config: AgentConfig, environment: Mapping[str, str]) -> Iterator[Finding]:
    token = None
    if config.token_file is not None and config.token_env is not None:
        yield error(("token_env",), "is one too many: token_file holds the secret")
    elif config.token_file is not None:
        path, token = "token_file", FilePath(config.token_file).read_bytes()
    elif config.token_env is not None:
        path, token = "token_env", environment.get(config.token_env, "").encode()
        if not token:
            yield error((path,), f"there is no environment variable {config.token_env!r}")
            token = None
    if token is not None:
        yield from check_token(token, (path,))


_BELONGS = {"value": "fixed", "file": "file", "cgroup": "cpu", "url": "metric"}


def _load(load: AgentLoadSettings, known: Known, path: Path) -> Iterator[Finding]:
    if known.doubtful((*path, "source")):
        return
    for key, source in _BELONGS.items():
        given = getattr(load, key) is not None
        if given and load.source != source:
            yield error((*path, key), f"has an effect with source: {source} only")
        elif known.doubtful((*path, key)):
            continue
        elif not given and load.source == source and source != "cpu":
            yield error(path, f"needs {key} with source: {source}")
