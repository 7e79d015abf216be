"""lbproxy's own answers, as a browser, a program and a curious stranger see them."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import h11
import pytest

from lbproxy.errors import CLIENT_GONE, NO_ANSWER, Failure
from lbproxy.proxy.answers import (
    OwnAnswer,
    Shape,
    https_location,
    page,
    redirect,
    shape,
    wants_json,
)
from lbproxy.proxy.downstream.http1_answers import as_http1
from lbproxy.wire.http1_head import GET, HEAD
from lbproxy.wire.request_head import RequestHead

DATE = b"Tue, 15 Nov 1994 08:12:31 GMT"
ANSWERED = [failure for failure in Failure if failure.status not in (NO_ANSWER, CLIENT_GONE)]


def read(data: bytes, method: str = "GET") -> tuple[h11.Response, dict[bytes, bytes], bytes]:
    """Read one response with another implementation; nothing may be left over."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += event.data
    assert client.trailing_data == (b"", False)
    return response, dict(response.headers), body


def made(
    failure: Failure, *, json: bool = False, head: bool = False, request_id: bytes = b"id.1"
) -> bytes:
    form = Shape.PROBLEM if json else Shape.PAGE
    return sent(page(failure, form, request_id, DATE), method=HEAD if head else GET)


def sent(answer: OwnAnswer, method: int = GET, close: bool = False) -> bytes:
    """An answer as a client of HTTP/1.1 gets it."""
    head = RequestHead()
    head.method_id = method
    return as_http1(answer, head, close or answer.close)


class Page(HTMLParser):
    """The tags of a page and the text in each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.attributes: dict[str, dict[str, str | None]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes[tag] = dict(attrs)
        self._open.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.found[self._open[-1]] = data.strip()


@pytest.mark.parametrize("failure", ANSWERED)
def test_pages_are_complete_and_plain(failure: Failure) -> None:
    response, fields, body = read(made(failure))
    assert response.status_code == failure.status
    assert fields[b"content-type"] == b"text/html; charset=utf-8"
    assert fields[b"cache-control"] == b"no-store"
    assert fields[b"x-content-type-options"] == b"nosniff"
    assert fields[b"x-request-id"] == b"id.1"
    assert fields[b"date"] == DATE
    assert (b"retry-after" in fields) is failure.retry_after
    assert (fields.get(b"connection") == b"close") is failure.close
    page = Page(body.decode())
    assert page.attributes["html"] == {"lang": "en"}
    assert page.found["title"] == page.found["h1"]
    assert page.found["code"] == "id.1"
    assert failure.reason.encode() not in body
    assert b"lbproxy" not in body.lower()
    assert b"src=" not in body
    # The same address again, and no other; only where that may help.
    again = failure.status in (408, 429, 502, 503, 504)
    assert body.count(b"href=") == body.count(b'<a href="">Try again</a>') == again
    assert DATE in body


@pytest.mark.parametrize("failure", ANSWERED)
def test_programs_get_problem_documents(failure: Failure) -> None:
    _, fields, body = read(made(failure, json=True))
    assert fields[b"content-type"] == b"application/problem+json"
    problem = json.loads(body)
    assert problem["status"] == failure.status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == "id.1"
    assert problem["time"] == DATE.decode()
    assert "error" not in problem


@pytest.mark.parametrize("failure", ANSWERED)
def test_clients_of_oauth_get_its_errors(failure: Failure) -> None:
    """RFC 6749: a code of its list, a description of printable ASCII without quotes."""
    data = sent(page(failure, Shape.OAUTH, b"id.1", DATE))
    _, fields, body = read(data)
    assert fields[b"content-type"] == b"application/json"
    problem = json.loads(body)
    assert problem["status"] == failure.status
    wanted = {429: "temporarily_unavailable", 502: "server_error"}
    wanted |= {503: "temporarily_unavailable", 504: "temporarily_unavailable"}
    wanted |= {501: "server_error", 505: "server_error"}
    assert problem["error"] == wanted.get(failure.status, "invalid_request")
    description = problem["error_description"]
    assert description.isascii()
    assert description.isprintable()
    assert not set('"\\') & set(description)


FORM = b"application/x-www-form-urlencoded"
BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
TOKEN = b"/realms/master/protocol/openid-connect/token"


@pytest.mark.parametrize(
    ("accept", "path", "form", "authorization", "wanted"),
    [
        (b"*/*", TOKEN, FORM, None, Shape.OAUTH),
        (None, TOKEN, FORM, b"Basic eA==", Shape.OAUTH),
        (None, b"/oauth2/token/", None, None, Shape.OAUTH),
        (b"application/json", TOKEN, FORM, None, Shape.OAUTH),
        (b"*/*", b"/api/user", None, b"Bearer x", Shape.OAUTH),
        (b"*/*", b"/x", b"application/x-www-form-urlencoded; charset=utf-8", None, Shape.OAUTH),
        (b"*/*", b"/oauth2/introspect", None, None, Shape.OAUTH),
        (b"application/problem+json", TOKEN, FORM, None, Shape.PROBLEM),
        (b"application/json", b"/x", None, None, Shape.PROBLEM),
        (BROWSER, b"/login", FORM, None, Shape.PAGE),
        (BROWSER, TOKEN, FORM, None, Shape.PAGE),
        (BROWSER, b"/", None, b"Negotiate x", Shape.PAGE),
        (b"*/*", b"/", None, None, Shape.PAGE),
        (None, b"/", None, None, Shape.PAGE),
        (b"*/*", b"/tokens", b"application/json", None, Shape.PAGE),
    ],
)
def test_whom_an_answer_is_for(
    accept: bytes | None,
    path: bytes,
    form: bytes | None,
    authorization: bytes | None,
    wanted: Shape,
) -> None:
    assert shape(accept, path, form, authorization) is wanted


def test_head_has_the_fields_and_no_body() -> None:
    full, short = made(Failure.NO_NODE), made(Failure.NO_NODE, head=True)
    assert short.endswith(b"\r\n\r\n")
    assert full.startswith(short)
    assert read(short, "HEAD")[2] == b""


def test_the_connection_ends_where_the_caller_says_so() -> None:
    data = sent(page(Failure.NO_NODE, Shape.PAGE, b"x", DATE), close=True)
    assert read(data)[1][b"connection"] == b"close"


def test_hidden_paths_look_like_paths_that_are_not_there() -> None:
    assert made(Failure.HIDDEN_PATH) == made(Failure.NO_ROUTE)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, False),
        (b"", False),
        (b"*/*", False),
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"Application/JSON", True),
        (b"application/json, text/plain, */*", True),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        (b"text/html, application/json", False),
        (b"text/html;q=0.5, application/json", True),
        (b"text/html, application/json;q=0.9", False),
        (b"application/json;q=0", False),
        (b"application/json;q=0.1", True),
        (b"application/json;q=0.1, */*", False),
        (b"text/html;q=0.1, */*", True),
        (b"application/json ; charset=utf-8 ; q=0.5, text/html ; q=0.4", True),
        (b"application/*, text/html;q=0.1", True),
        (b"application/json;q=nan, text/html", False),
        (b"application/json;q=1e9, text/html", False),
        (b"application/json;q=\xb2", False),
        (b";;;,,,", False),
        (b"application/jsonp", False),
    ],
)
def test_what_a_client_prefers(accept: bytes | None, expected: bool) -> None:
    assert wants_json(accept) is expected


@pytest.mark.parametrize("filler", [b",", b";", b"a/b,", b"a/b;q=1,", b"x"])
def test_a_list_without_end_says_nothing(filler: bytes) -> None:
    """Who reads it whole pays more than its sender."""
    assert not wants_json(b"application/json," + filler * (60_000 // len(filler)))


@pytest.mark.parametrize(
    ("host", "target", "port", "location"),
    [
        (b"idp.example", b"/a?b=%2F;c", 443, b"https://idp.example/a?b=%2F;c"),
        (b"idp.example:8080", b"/", 8443, b"https://idp.example:8443/"),
        (b"idp.example:80", b"/", 443, b"https://idp.example/"),
        (b"[::1]:8080", b"/", 8443, b"https://[::1]:8443/"),
        (b"[::1]", b"//evil.example/", 443, b"https://[::1]//evil.example/"),
        (b"", b"/", 443, None),
        (b"a b", b"/", 443, None),
        (b"user@idp.example", b"/", 443, None),
        (b"idp.example", b"*", 443, None),
        (b"idp.example", b"@evil.example", 443, None),
    ],
)
def test_redirects_stay_on_the_host(
    host: bytes, target: bytes, port: int, location: bytes | None
) -> None:
    assert https_location(host, target, port) == location


def test_a_redirect_keeps_the_method_and_has_no_body() -> None:
    data = sent(redirect(b"https://idp.example/", b"x", DATE), close=True)
    response, fields, body = read(data)
    assert response.status_code == 308
    assert fields[b"location"] == b"https://idp.example/"
    assert fields[b"connection"] == b"close"
    assert body == b""
