"""An authority, and certificate files of its."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.proxy.transport.handshakes import Files


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    return Files(tmp_path, authority)
