"""What signs the affinity cookies of each pool."""

from __future__ import annotations

import os
from pathlib import Path

from lbproxy.config.schema import Config, StickyStep

KEY_BYTES = 32


def affinity_keys(config: Config) -> dict[str, bytes]:
    """Return the key of each pool that sets a cookie of its own.

    A pool without a key file gets a key that is good until the process ends.
    Raises: OSError if a key file cannot be read.
    """
    keys: dict[str, bytes] = {}
    for name, pool in config.pools.items():
        if pool.sticky and StickyStep.OWN_COOKIE in pool.sticky.by:
            file = pool.sticky.own_cookie.key_file
            keys[name] = os.urandom(KEY_BYTES) if file is None else Path(file).read_bytes().strip()
    return keys
