"""What wrk and h2load print becomes figures, and a run with failures becomes none."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.load import Client, parse_h2load, parse_wrk, wrk_script
from bench.processes import BenchError

WRK = """\
Running 5s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.71ms    5.02ms  60.11ms   93.42%
    Req/Sec    61.20k     9.91k   70.52k    84.00%
  Latency Distribution
     50%  451.00us
     75%  600.00us
     90%    1.02ms
     99%   10.20ms
  304450 requests in 5.01s, 351.60MB read
Requests/sec:  60768.46
Transfer/sec:     70.18MB
"""
H2LOAD = """\
starting benchmark...
TLS Protocol: TLSv1.3
Application protocol: http/1.1
progress: 100% done

finished in 2.51s, 398.41 req/s, 462.92KB/s
requests: 1000 total, 1000 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.13MB (1190000) total, 87.89KB (90000) headers, 1000.00KB (1024000) data
"""


def test_wrk_is_read_in_milliseconds_and_seconds() -> None:
    loaded = parse_wrk(WRK)
    assert (loaded.requests, loaded.seconds) == (304450, 5.01)
    assert loaded.p50_ms == pytest.approx(0.451)
    assert loaded.p99_ms == pytest.approx(10.2)
    assert loaded.per_second == pytest.approx(60768, rel=0.001)


@pytest.mark.parametrize(("spent", "seconds"), [("900.00ms", 0.9), ("1.50m", 90.0), ("3s", 3.0)])
def test_wrk_changes_units_as_it_likes(spent: str, seconds: float) -> None:
    assert parse_wrk(WRK.replace("5.01s,", f"{spent},")).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    "trouble",
    [
        "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
        "  Non-2xx or 3xx responses: 17\n",
    ],
)
def test_wrk_with_failures_is_no_measurement(trouble: str) -> None:
    with pytest.raises(BenchError, match=trouble.strip()):
        parse_wrk(WRK.replace("Requests/sec", f"{trouble}Requests/sec"))


def test_h2load_is_read() -> None:
    loaded = parse_h2load(H2LOAD)
    assert (loaded.requests, loaded.seconds) == (1000, 2.51)
    assert loaded.p50_ms is None


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("1000 succeeded, 0 failed", "999 succeeded, 1 failed"),
        ("1000 2xx, 0 3xx, 0 4xx", "990 2xx, 0 3xx, 10 4xx"),
    ],
)
def test_h2load_with_failures_is_no_measurement(what: str, instead: str) -> None:
    with pytest.raises(BenchError, match="h2load"):
        parse_h2load(H2LOAD.replace(what, instead))


@pytest.mark.parametrize("parse", [parse_wrk, parse_h2load])
def test_another_answer_is_shown(parse: object) -> None:
    assert callable(parse)
    with pytest.raises(BenchError, match="command not understood"):
        parse("command not understood")


def test_the_script_asks_as_each_client_in_turn(tmp_path: Path) -> None:
    clients = [Client("a.example", "node1", "node1"), Client("b.example", "node2", "node2")]
    text = wrk_script(tmp_path, clients).read_text()
    assert text.count("GET /") == 2
    assert r"Host: a.example\r\n" in text
    assert r".node2; locale=en\r\n\r\n" in text
