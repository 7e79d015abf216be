"""What the documents say is so: links, commands, metrics, reasons, configurations, files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
import trustme
import yaml
from prometheus_client import Metric

from lbproxy.cli import main
from lbproxy.cli.arguments import Exit
from lbproxy.cluster.node import Health, Node
from lbproxy.cluster.registry import Registry
from lbproxy.cluster.stats import NodeStats, PoolStats, ProcessStats, WorkerStats, no_delays
from lbproxy.config.agent import AgentConfig
from lbproxy.config.agent_load import parse_agent_config
from lbproxy.config.read import parse_config
from lbproxy.config.schema import Config, ForwardingSettings
from lbproxy.control.admin.api import make_admin_app
from lbproxy.control.admin.metrics import ClusterCollector, Metrics
from lbproxy.control.plane import ControlPlane
from lbproxy.errors import CLIENT_GONE, NO_ANSWER, Failure
from lbproxy.proxy.access_log import AccessLog
from lbproxy.proxy.forwarding.asker import Asker
from lbproxy.proxy.forwarding.rules import ForwardingRules
from lbproxy.proxy.record import Record
from lbproxy.wire.request_head import RequestHead

ROOT = Path(__file__).resolve().parent.parent
NAMES = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
]
TEXTS = {name: (ROOT / name).read_text("utf-8") for name in NAMES}
OPERATIONS = TEXTS["docs/operations.md"]
ARCHITECTURE = TEXTS["docs/architecture.md"]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?<![\w/.-])lbproxy ([a-z][a-z-]*)(?=[\s`]|$)(.*)")
OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")
METRIC = re.compile(r"\blbproxy_[a-z_]+\b")
FILE = re.compile(r"`([\w./-]+\.(?:py|pxd|yaml|service|md))`")
# What a histogram and the two ways of asking for an info family add to its name.
SUFFIXES = re.compile(r"_(?:bucket|sum|count)$")

# A configuration that parts of one, as the documents show them, are laid over.
BASE = """\
listeners: [{name: https, bind: "127.0.0.1:0"}]
pools: {idp: {nodes: [{name: kc1, url: "http://10.0.0.21"}, {name: kc2, url: "http://10.0.0.22"}]}}
routes: [{pool: idp}]
"""


@dataclass(frozen=True)
class Block:
    """A fenced block. `line`: of its first line in the document."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(language: str) -> Iterator[Block]:
    for name, text in TEXTS.items():
        for match in FENCE.finditer(text):
            if match[1] == language:
                yield Block(name, text.count("\n", 0, match.start()) + 2, language, match[2])


def slugs(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def code(text: str) -> Iterator[str]:
    """Every line in which a command could stand: of shell blocks, and in code spans."""
    for match in FENCE.finditer(text):
        if match[1] == "sh":
            yield from match[2].splitlines()
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_resolve(name: str) -> None:
    for target in LINK.findall(FENCE.sub("", TEXTS[name])):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), f"{name}: {target} leads nowhere"
        if anchor:
            assert anchor in slugs(path.read_text("utf-8")), f"{name}: no heading for {target}"


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    """A file by its path from the root, from the package, or from the document."""
    for file in FILE.findall(TEXTS[name]):
        if "/" in file and not file.startswith("/"):
            places = (ROOT, ROOT / "lbproxy", (ROOT / name).parent)
            assert any((place / file).exists() for place in places), f"{name}: there is no {file}"


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([command, "--help"]) == Exit.FINE, f"there is no command {command}"
    return capsys.readouterr().out


def commands(capsys: pytest.CaptureFixture[str]) -> set[str]:
    assert main(["--help"]) == Exit.FINE
    return set(re.findall(r"^ {4}([a-z][a-z-]*)(?:\s|$)", capsys.readouterr().out, re.MULTILINE))


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_their_options_exist(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    there_are = commands(capsys)
    for line in code(TEXTS[name]):
        for command, rest in COMMAND.findall(line):
            if command == "lbproxy" or line.startswith("docker"):
                continue
            assert command in there_are, f"{name}: {line}"
            known = help_of(command, capsys)
            for option in OPTION.findall(rest):
                assert option in known, f"{name}: {command} has no {option}"


def test_the_readme_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    table = set(re.findall(r"^\| `lbproxy ([a-z][a-z-]*)", TEXTS["README.md"], re.MULTILINE))
    assert table == commands(capsys)


@pytest.mark.parametrize(
    ("row", "scenario"),
    [
        ("kept-alive GET, CPU µs a request", "keepalive"),
        ("the same over TLS 1.3", "tls"),
        ("a new TLS connection a request, CPU µs", "handshake"),
    ],
)
def test_the_readme_gives_the_medians_of_the_published_run(row: str, scenario: str) -> None:
    run = json.loads((ROOT / "docs/bench/results.json").read_text())["results"][scenario]
    (line,) = [each for each in TEXTS["README.md"].splitlines() if each.startswith(f"| {row} |")]
    given = [float(cell.strip(" *")) for cell in line.strip("|").split("|")[1:]]
    peers = ("lbproxy", "nginx", "haproxy", "envoy", "apache", "caddy")
    measured = [median(run[peer]["cpu_us_per_request"]) for peer in peers]
    assert given == [float(f"{value:.3g}") for value in measured]


def families() -> Mapping[str, Metric]:
    """Every family of lbproxy, by the name under which it is scraped."""
    node = Node("idp", "kc1", "kc1", "http", "10.0.0.21", 80, health=Health.UP)
    process = ProcessStats(1, 0.0, 0.0, 0, 0, tuple(no_delays()), 0.0)
    pools = {"idp": PoolStats(nodes={"kc1": NodeStats()})}
    stats = WorkerStats(pools=pools, processes={"1": process})
    collector = ClusterCollector(lambda: [node], lambda: stats, dict)
    endings = {"counter": "_total", "info": "_info"}
    return {family.name + endings.get(family.type, ""): family for family in collector.collect()}


@pytest.mark.parametrize("name", NAMES)
def test_metrics_that_are_named_exist(name: str) -> None:
    for metric in METRIC.findall(TEXTS[name]):
        assert SUFFIXES.sub("", metric) in families(), f"{name}: there is no {metric}"


def test_every_metric_is_documented() -> None:
    rows = set(re.findall(r"^\| `(lbproxy_\w+)` \|", OPERATIONS, re.MULTILINE))
    assert rows == set(families())


def test_labels_are_documented() -> None:
    """Of the families that have samples without traffic."""
    for name, family in families().items():
        row = re.search(rf"^\| `{name}` \| ([^|]*) \|", OPERATIONS, re.MULTILINE)
        assert row is not None
        written = {label.strip() for label in row[1].split(",")} - {""}
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == written, name


def words(failure: Failure) -> list[str]:
    status = {NO_ANSWER: "none", CLIENT_GONE: f"none; {CLIENT_GONE} in the log"}
    marks = (failure.counts_against_node, failure.retry_after, failure.close)
    return [
        f"`{failure.reason}`",
        status.get(failure.status, str(failure.status)),
        failure.retry.value.replace("_", " "),
        *("yes" if mark else "" for mark in marks),
    ]


def test_the_table_of_failures_is_that_of_the_code() -> None:
    section = ARCHITECTURE.split("<!-- failures: begin -->")[1].split("<!-- failures: end -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines()]
    assert [row for row in rows if row and row[0].startswith("`")] == [*map(words, Failure)]


@pytest.mark.parametrize("failure", Failure, ids=lambda failure: failure.reason)
def test_every_failure_has_its_row_in_troubleshooting(failure: Failure) -> None:
    row = re.search(rf"^\| `{failure.reason}` \| ([^|]*) \|", OPERATIONS, re.MULTILINE)
    assert row is not None
    status = row[1].strip()
    if failure.status == NO_ANSWER:
        assert not status.isdigit()
    else:
        assert status == str(failure.status)


def test_every_field_of_the_access_log_is_documented(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    rules = ForwardingRules(ForwardingSettings(), "gate")
    asker = Asker(rules, "192.0.2.1", False, True, "", None)
    log.write(Record(asker, RequestHead(), 0.0, b"id"), 1.0, 0.1)
    log.close()
    fields = json.loads((tmp_path / "log").read_text())
    table = OPERATIONS.split("| field | meaning |")[1].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(documented) == sorted(fields)


class NoWorkers:
    """The data plane that a control plane wants to see."""

    def living(self) -> frozenset[int]:
        return frozenset({1})

    async def counters(self) -> dict[int, WorkerStats]:
        return {}

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        return 0


def test_every_place_of_the_admin_api_is_documented() -> None:
    config = parse_config(BASE, "base", ROOT).config
    assert config is not None
    plane = ControlPlane(config, Registry(config, 0.0), NoWorkers(), lambda snapshot: None)
    metrics = Metrics(ClusterCollector(list, WorkerStats, dict))
    app = make_admin_app(plane, metrics, token=None, check_host=True)
    places = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert set(re.findall(r"^\| `((?:GET|POST) [^`]+)` \|", OPERATIONS, re.MULTILINE)) == places


def test_every_exit_code_is_documented() -> None:
    table = OPERATIONS.split("| exit code | meaning |")[1].split("\n\n")[0]
    codes = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)
    assert codes == [str(int(code)) for code in Exit]


# The file of each secret, and the only section that may name it: who copies an example must not
# hand the admin token to every agent.
SECRETS = {
    "admin.token": "admin",
    "agents.token": "agents",
    "ajp.secret": "nodes",
    "advertise.key": "advertise",
    "affinity.key": "own_cookie",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that the documents' configurations name."""
    path = tmp_path_factory.mktemp("documents")
    (path / "tls").mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert("idp.example.com")
    (path / "tls" / "idp.crt").write_bytes(b"".join(e.bytes() for e in issued.cert_chain_pems))
    (path / "tls" / "idp.key").write_bytes(issued.private_key_pem.bytes())
    for name in SECRETS:
        (path / name).write_text("0123456789abcdef\n")
    (path / "ticket.key").write_bytes(bytes(48))
    (path / "ticket.key").chmod(0o600)
    return path


def whole(part: str) -> str:
    """A part of a configuration, or of a pool, laid over the base."""
    data = yaml.safe_load(BASE)
    over = yaml.safe_load(part)
    if set(over) <= set(Config.model_fields):
        data |= over
    else:
        data["pools"]["idp"] |= over
    return yaml.safe_dump(data)


@pytest.mark.parametrize("block", [*blocks("yaml")], ids=str)
def test_configurations_are_valid(block: Block, folder: Path) -> None:
    data = yaml.safe_load(block.text)
    if set(data) <= set(AgentConfig.model_fields):
        agent = parse_agent_config(block.text, str(block), folder, {})
        assert not agent.problems, "\n".join(map(str, agent.problems))
        return
    complete = {"listeners", "pools", "routes"} <= set(data)
    text = block.text if complete else whole(block.text)
    result = parse_config(text, str(block), folder)
    problems = "\n".join(map(str, result.problems))
    assert result.config is not None, problems
    if complete:
        assert not problems


def secrets_in(data: object, section: str) -> Iterator[tuple[str, str]]:
    """Yield the file of each secret with the name of the section that it stands in."""
    if isinstance(data, dict):
        for key, value in data.items():
            if isinstance(value, str) and re.fullmatch("(?:token|secret|key)_file", key):
                yield value, section
            else:
                yield from secrets_in(value, key)
    elif isinstance(data, list):
        for value in data:
            yield from secrets_in(value, section)


def test_no_secret_of_an_example_serves_two_purposes() -> None:
    found = set()
    for block in blocks("yaml"):
        data = yaml.safe_load(block.text)
        # An agent's whole file has the secret of the agents.
        found |= set(secrets_in(data, "agents"))
    assert found == set(SECRETS.items())


def test_there_are_configurations_to_check() -> None:
    found = {block.document for block in blocks("yaml")}
    assert {"README.md", "docs/operations.md"} <= found
