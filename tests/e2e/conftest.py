"""Real identity nodes behind a real `lbproxy run`.

Collected only where LBPROXY_E2E=1, which is what `make e2e` sets.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from tests.e2e.artifacts import Missing
from tests.e2e.child import STARTED
from tests.e2e.keycloak import Cluster
from tests.e2e.keycloak_legacy import LegacyCluster
from tests.e2e.tomcat import TomcatPair

# They take minutes, Java, Maven and, the first time, 200 MB from Maven Central.
collect_ignore_glob = [] if os.environ.get("LBPROXY_E2E") == "1" else ["test_*.py"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what every process of ours last wrote below the report of a test that failed."""
    report = yield
    if report.failed:
        report.sections += [
            (f"output of {child.name} ({child.pid})", child.tail()) for child in list(STARTED)
        ]
    return report


@pytest.fixture(scope="module")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two Keycloak nodes, kc1 and kc2, that share a database and form a cluster."""
    try:
        cluster = Cluster(tmp_path_factory.mktemp("keycloak"))
    except Missing as missing:
        pytest.skip(str(missing))
    with cluster:
        yield cluster


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LegacyCluster]:
    """Two Keycloak nodes of the last release on WildFly, kc1 and kc2, clustered."""
    try:
        cluster = LegacyCluster(tmp_path_factory.mktemp("legacy"))
    except Missing as missing:
        pytest.skip(str(missing))
    with cluster:
        yield cluster


@pytest.fixture(scope="module")
def tomcats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TomcatPair]:
    """Two Tomcats, node1 and node2, with one servlet each and no shared sessions."""
    try:
        pair = TomcatPair(tmp_path_factory.mktemp("tomcat"))
    except Missing as missing:
        pytest.skip(str(missing))
    with pair:
        yield pair
