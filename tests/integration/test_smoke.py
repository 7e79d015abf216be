from __future__ import annotations

from typing import Any


async def test_a_request_reaches_a_node_and_its_answer_the_client(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    response = await door.get("/realms/demo?x=1", "X-Forwarded-For: 6.6.6.6\r\n")
    assert response.status == 200
    assert response.body == b"node1"
    request = node.requests[0]
    assert request.first == b"GET /realms/demo?x=1 HTTP/1.1"
    assert request.all("x-forwarded-for") == [b"127.0.0.1"]
    await door.until(lambda: '"path":"/realms/demo"' in door.log_text())
