"""Snapshots that cross to another process."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from lbproxy.cluster.delta import Delta, WrongBase
from lbproxy.cluster.registry import Registry
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.config.schema import Config
from lbproxy.proxy.worker import Worker
from lbproxy.runtime.channel.snapshots import SnapshotReceiver, SnapshotSender

CONFIG = Config.model_validate(
    {
        "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
        "pools": {
            "idp": {
                "balance": "load",
                "nodes": [
                    {"name": f"node{i}", "url": f"http://10.0.{i // 250}.{i % 250}:8080"}
                    for i in range(1000)
                ],
            },
            "other": {"nodes": [{"name": "a", "url": "http://10.1.0.1:8080"}]},
        },
        "routes": [{"pool": "idp"}],
    }
)


class Quiet:
    """Hears nothing of nodes."""

    def node_failed(self, pool: str, node: str, reason: str, client: str | None) -> None:
        raise AssertionError

    def node_recovered(self, pool: str, node: str) -> None:
        raise AssertionError


class Border:
    """Both ends, and pickling in between. `crossed`: the sizes of what was sent."""

    def __init__(self) -> None:
        self.sender = SnapshotSender()
        self.receiver = SnapshotReceiver()
        self.crossed: list[int] = []

    def cross(self) -> Snapshot:
        message = self.sender.take()
        assert message is not None
        data = pickle.dumps(message)
        self.crossed.append(len(data))
        return self.receiver.take(pickle.loads(data))


def set_load(registry: Registry, node: str, load: int) -> None:
    roster = registry.roster("idp")
    entry = roster.entries[node]
    roster.set(entry, replace(entry.node, load=load))


def test_a_load_of_one_node_of_a_thousand_leaves_all_else_as_it_was() -> None:
    registry, border = Registry(CONFIG, 0.0), Border()
    worker = Worker(CONFIG, Quiet(), None, {})
    border.sender.put(registry.snapshot())
    before = border.cross()
    assert before == registry.snapshot()
    worker.apply(before)
    links = dict(worker.pools["idp"].links)

    set_load(registry, "node500", 7)
    border.sender.put(registry.snapshot())
    after = border.cross()
    assert after == registry.snapshot()
    assert after.pools["other"] is before.pools["other"]
    pairs = zip(before.pools["idp"].nodes, after.pools["idp"].nodes, strict=True)
    assert [new.name for old, new in pairs if old is not new] == ["node500"]
    assert worker.pools["idp"].apply(after.pools["idp"]) is False, "nothing but a load changed"
    assert worker.pools["other"].apply(after.pools["other"]) is False
    assert all(worker.pools["idp"].links[name] is link for name, link in links.items())
    assert border.crossed[1] < 1000 < border.crossed[0]


def test_of_what_waits_only_the_newest_is_sent() -> None:
    registry, border = Registry(CONFIG, 0.0), Border()
    border.sender.put(registry.snapshot())
    border.cross()
    for load in (1, 2, 3):
        set_load(registry, "node1", load)
        border.sender.put(registry.snapshot())
    assert border.cross() == registry.snapshot()
    assert border.sender.take() is None
    border.sender.put(registry.snapshot())
    assert border.sender.take() is None, "the same again"


@pytest.mark.parametrize("known", [False, True])
def test_what_is_missing_is_no_snapshot_of_something_else(known: bool) -> None:
    registry, border = Registry(CONFIG, 0.0), Border()
    border.sender.put(registry.snapshot())
    if known:
        border.cross()
    else:
        assert border.sender.take() is not None  # and it was lost
    for load in (1, 2):
        set_load(registry, "node1", load)
        border.sender.put(registry.snapshot())
        message = border.sender.take()
    assert isinstance(message, Delta)
    with pytest.raises(WrongBase):
        border.receiver.take(message)
