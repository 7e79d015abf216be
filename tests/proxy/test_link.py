from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from lbproxy.cluster.node import Node
from lbproxy.errors import ConnectError, Failure
from lbproxy.proxy.link import Link


def make_link() -> Link:
    node = Node("idp", "node1", "node1", "http", "127.0.0.1", 1)
    return Link(node, 2, 15.0)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_a_lack_of_descriptors_is_not_the_nodes_fault(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async def lack(*_: Any, **__: Any) -> None:
        raise OSError(number, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", lack)
    with pytest.raises(ConnectError) as caught:
        await make_link().connect(lambda: pytest.fail("no connection was made"), 1.0)
    assert caught.value.failure is Failure.NO_DESCRIPTORS
    assert not caught.value.failure.counts_against_node
