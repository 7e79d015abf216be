"""Changes a configuration, and lets a data plane follow it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import trustme

from lbproxy.cluster.registry import Registry
from lbproxy.config.schema import Config, ListenerSettings, PoolSettings

GET = b"GET /a HTTP/1.1\r\nHost: idp.example.com\r\n\r\n"


def configured(door: Any) -> Any:
    return door.service.config


def pooled(config: Any, name: str = "idp", **changes: Any) -> Any:
    """Return a configuration with another pool of this name. Args: changes: as in a file."""
    pool = config.pools[name]
    written = PoolSettings.model_validate({"nodes": [], **changes})
    update = {key: getattr(written, key) for key in changes}
    return changed(config, pools={**config.pools, name: pool.model_copy(update=update)})


def changed(config: Any, **sections: Any) -> Any:
    return config.model_copy(update=sections)


def section(config: Any, name: str, **changes: Any) -> Any:
    """Return a configuration with another section, of which some keys are changed."""
    model = type(getattr(config, name))
    now = getattr(config, name).model_dump(exclude_unset=True)
    return changed(config, **{name: model.model_validate(now | changes)})


def listening(config: Any, *listeners: dict[str, Any]) -> Any:
    return changed(
        config, listeners=tuple(ListenerSettings.model_validate(each) for each in listeners)
    )


async def follow(door: Any, config: Config, nodes_first: bool = True) -> None:
    """Let the data plane follow. Args: nodes_first: the snapshot comes before, not meanwhile."""
    snapshot = Registry(config, 0.0).snapshot()
    door.worker.follow_another()
    if nodes_first:
        door.worker.apply(snapshot)
        await door.service.follow(config)
    else:
        following = asyncio.ensure_future(door.service.follow(config))
        await asyncio.sleep(0)
        door.worker.apply(snapshot)
        await following


async def ask(client: Any, path: str = "/a", fields: str = "") -> Any:
    await client.send(f"GET {path} HTTP/1.1\r\nHost: idp.example.com\r\n{fields}\r\n".encode())
    return await client.read_message()


def issued(authority: trustme.CA, directory: Path, *names: str) -> dict[str, str]:
    made = authority.issue_cert(*names)
    file = directory / f"{names[0]}-{random.getrandbits(32)}.pem"
    made.private_key_and_cert_chain_pem.write_to_path(file)
    return {"cert": str(file), "key": str(file)}
