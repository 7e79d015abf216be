"""The plain listener sends clients to the port that they can reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme


@pytest.mark.parametrize(
    ("mapping", "port"), [({}, None), ({"public_port": 443}, ""), ({"public_port": 9443}, ":9443")]
)
async def test_a_redirect_names_the_port_that_clients_use(
    stage: Any, authority: trustme.CA, tmp_path: Path, mapping: dict[str, int], port: str | None
) -> None:
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "a.crt")
    certificate.private_key_pem.write_to_path(tmp_path / "a.key")
    tls = {"certificates": [{"cert": "a.crt", "key": "a.key"}]}
    node = await stage.node()
    door = await stage.door(
        [node],
        listeners=[
            {"name": "https", "bind": "127.0.0.1:0", "tls": tls} | mapping,
            {"name": "http", "bind": "127.0.0.1:0", "redirect_to": "https"},
        ],
    )
    response = await door.get("/realms/demo?x=1")
    expected = f":{door.service.port('https')}" if port is None else port
    assert response.status == 308
    assert response.get("location") == f"https://idp.example.com{expected}/realms/demo?x=1".encode()
