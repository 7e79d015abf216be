"""What signs the affinity cookies of each pool."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lbproxy.config.schema import Config, StickyStep

KEY_BYTES = 32


def affinity_keys(config: Config, before: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """Return the key of each pool that sets a cookie of its own.

    A pool without a key file gets a key that is good until the process ends.
    Args: before: keys of a configuration that is followed: such a pool keeps its key.
    Raises: OSError if a key file cannot be read.
    """
    made = before or {}
    keys: dict[str, bytes] = {}
    for name, pool in config.pools.items():
        if pool.sticky and StickyStep.OWN_COOKIE in pool.sticky.by:
            file = pool.sticky.own_cookie.key_file
            if file is None:
                keys[name] = made.get(name) or os.urandom(KEY_BYTES)
            else:
                keys[name] = Path(file).read_bytes().strip()
    return keys
