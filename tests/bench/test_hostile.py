"""The bench of hostile peers measures a real lbproxy, and sees what an attack costs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from bench.hostile import HEAD, Origin, door, measure


def test_an_attack_has_its_cost_in_time_memory_and_cpu(tmp_path: Path) -> None:
    node = Origin()
    node.start()

    def attack(port: int) -> int:
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                for _ in range(800):
                    client.sendall(HEAD + b"\r\n")
                    assert client.recv(4096).endswith(b"ok")
        return 3200 * len(HEAD)

    with door(tmp_path, node.port, min(os.sched_getaffinity(0))) as one:
        cost = measure(one, "ordinary requests", attack)
        assert cost.block_ms > 0
        assert cost.cpu > 0
        assert cost.memory == 0  # requests one after the other need no memory of their own
        one.longest_block_ms()
        assert one.longest_block_ms() < cost.block_ms + 1000
