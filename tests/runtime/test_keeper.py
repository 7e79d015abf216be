"""What control leaves to the next one, in this version or another."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import fields, is_dataclass
from typing import Any

from lbproxy.cluster.ledger import Ledger
from lbproxy.cluster.node import Admin
from lbproxy.cluster.registry import Registry
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import NodeStats, PoolStats, ProcessStats, WorkerStats
from lbproxy.config.schema import Config
from lbproxy.control.journal import Journal
from lbproxy.control.kept import KeptControl
from lbproxy.runtime.channel import words
from lbproxy.runtime.keeper import FORMAT

# Changes with what is kept, or said between control and workers. If this test fails, another
# version could not read it: give FORMAT the next number, and write the new shape here.
SHAPE = (1, "bf0e24b8af44be1a")

CONFIG = Config.model_validate(
    {
        "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
        "pools": {"idp": {"nodes": [{"name": "a", "url": "http://127.0.0.1:1"}]}},
        "routes": [{"pool": "idp"}],
        "mcmp": {"bind": "127.0.0.1:0", "pool": "idp"},
    }
)


def shape_of(value: Any, known: dict[str, list[str]]) -> None:
    """Note the names of all that each class of ours has, of an object and of what it holds."""
    kind = type(value)
    if not kind.__module__.startswith("lbproxy."):
        if isinstance(value, dict):
            for each in (*value.keys(), *value.values()):
                shape_of(each, known)
        elif isinstance(value, list | tuple | set | frozenset):
            for each in value:
                shape_of(each, known)
        return
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name in known:
        return
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
    else:
        state = value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        held = state[2] if len(state) > 2 and state[2] is not None else {}
        parts = held if isinstance(held, tuple) else (held,)
        names = sorted({key for part in parts if isinstance(part, dict) for key in part})
    known[name] = names
    for each in names:
        shape_of(getattr(value, each, None), known)


def test_another_version_that_could_not_read_it_does_not_try() -> None:
    registry = Registry(CONFIG, 0.0)
    registry.command("idp", "a", Admin.DRAINING, "by a test", 1.0)
    stats = WorkerStats(
        pools={"idp": PoolStats(nodes={"a": NodeStats()})},
        processes={"1": ProcessStats(1, 0.0, 0.0, 1, 1, (), 0.0)},
    )
    kept = KeptControl(registry, Ledger.of(1, stats), Journal(), None, None, {})
    known: dict[str, list[str]] = {}
    for each in (kept, registry.snapshot(), stats):
        shape_of(each, known)
    for name, kind in vars(words).items():
        if is_dataclass(kind):
            known[name] = [field.name for field in fields(kind)]
    assert f"{Snapshot.__module__}.Snapshot" in known
    shape = hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest()[:16]
    assert (FORMAT, shape) == SHAPE
