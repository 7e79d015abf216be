"""Real identity nodes behind a real `lbproxy run`.

Collected only where LBPROXY_E2E=1, which is what `make e2e` sets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.artifacts import Missing
from tests.e2e.keycloak import Cluster
from tests.e2e.keycloak_legacy import LegacyCluster
from tests.e2e.tomcat import TomcatPair

# They take minutes, Java, Maven and, the first time, 200 MB from Maven Central.
collect_ignore_glob = [] if os.environ.get("LBPROXY_E2E") == "1" else ["test_*.py"]


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two Keycloak nodes, kc1 and kc2, that share a database and form a cluster."""
    try:
        cluster = Cluster(tmp_path_factory.mktemp("keycloak"))
    except Missing as missing:
        pytest.skip(str(missing))
    with cluster:
        yield cluster


@pytest.fixture(scope="session")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LegacyCluster]:
    """Two Keycloak nodes of the last release on WildFly, kc1 and kc2, clustered."""
    try:
        cluster = LegacyCluster(tmp_path_factory.mktemp("legacy"))
    except Missing as missing:
        pytest.skip(str(missing))
    with cluster:
        yield cluster


@pytest.fixture(scope="session")
def tomcats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TomcatPair]:
    """Two Tomcats, node1 and node2, with one servlet each and no shared sessions."""
    try:
        pair = TomcatPair(tmp_path_factory.mktemp("tomcat"))
    except Missing as missing:
        pytest.skip(str(missing))
    with pair:
        yield pair
