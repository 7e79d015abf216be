"""A hash of the settings, and the certificates that nodes are verified by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trustme
from cryptography import x509

from lbproxy.config.schema import Config
from lbproxy.control.admin.settings_facts import MAX_OF_A_FILE, authorities, hash_of


def test_a_hash_tells_other_settings(configure: Callable[..., Config]) -> None:
    config = configure("http://10.0.0.1:80")
    assert hash_of(config) == hash_of(configure("http://10.0.0.1:80"))
    assert hash_of(config) != hash_of(configure("http://10.0.0.2:80"))
    assert len(hash_of(config)) == 16


def test_a_hash_does_not_depend_on_the_order_of_pools(configure: Callable[..., Config]) -> None:
    pools = {"idp": configure("http://10.0.0.1:80").pools["idp"]}
    pools["other"] = configure("http://10.0.0.2:80").pools["idp"]
    config = configure("http://10.0.0.1:80").model_copy(update={"pools": pools})
    turned = config.model_copy(update={"pools": dict(reversed(pools.items()))})
    assert hash_of(turned) == hash_of(config)


def test_authorities_of_nodes_are_found_wherever_they_are_named(
    configure: Callable[..., Config], tmp_path: Path
) -> None:
    authority = trustme.CA()
    files = [tmp_path / name for name in ("node.pem", "mcmp.pem", "bundle.pem", "broken.pem")]
    for file in files[:2]:
        authority.cert_pem.write_to_path(file)
    files[2].write_bytes(b"".join(trustme.CA().cert_pem.bytes() for _ in range(MAX_OF_A_FILE + 2)))
    files[3].write_text("nothing")
    others = [
        {"name": f"n{i}", "url": f"https://10.0.1.{i}", "tls": {"ca": str(file)}}
        for i, file in enumerate((files[0], files[2], files[3]))
    ]
    config = Config.model_validate(
        {
            "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
            "pools": {"idp": {"nodes": [{"name": "n", "url": "https://10.0.0.1"}, *others]}},
            "routes": [{"pool": "idp"}],
            "mcmp": {"bind": "127.0.0.1:0", "pool": "idp", "node_tls": {"ca": str(files[1])}},
        }
    )
    ends = authorities(config)
    assert {each.use for each in ends} == {"node_ca"}
    found = [Path(each.file).name for each in ends]
    assert found == ["node.pem", *["bundle.pem"] * MAX_OF_A_FILE, "mcmp.pem"]
    certificate = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    assert ends[0].serial == ends[-1].serial == f"{certificate.serial_number:x}"
    assert ends[0].end == certificate.not_valid_after_utc.timestamp()
