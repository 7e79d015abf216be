"""lbproxy's own answers: what a client gets when no node's response can be had.

Pages are for the person at the door: what happened, what to do, when it was and the number to tell
support. They name no node, no version and no cause inside. Programs that ask for JSON get RFC 9457;
clients of OAuth, which mostly ask for nothing, get it with the members that they look for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from html import escape
from http import HTTPStatus

from lbproxy.errors import Failure
from lbproxy.wire.authority import valid_authority
from lbproxy.wire.fields import find_part
from lbproxy.wire.request_head import RequestHead

# Seconds after which clients are asked to come back: longer than a probe or two.
RETRY_AFTER_S = 5
# Of an Accept field that is read; browsers send some 150 bytes with a dozen separators.
_MAX_ACCEPT_BYTES = 1024
_MAX_ACCEPT_PARTS = 64


@dataclass(frozen=True, slots=True)
class _Text:
    """What a person reads for one status."""

    title: str
    sentence: str


_TEXTS = {
    400: _Text(
        "This request could not be understood",
        "The address may be incomplete or mistyped. Please go back to the page that you came from "
        "and start again.",
    ),
    404: _Text(
        "There is nothing at this address",
        "Please check the address, or go back to the application that you wanted to sign in to.",
    ),
    408: _Text(
        "The request took too long to arrive",
        "Your connection may be slow. Please try again.",
    ),
    413: _Text("This is too much data", "Please send something smaller."),
    414: _Text(
        "The address is too long",
        "Please go back to the application that you wanted to sign in to and start again.",
    ),
    417: _Text("This request cannot be served", "It expects something that is not offered here."),
    429: _Text(
        "Too many connections",
        "Many connections are open from your network. Please wait a moment and try again.",
    ),
    431: _Text(
        "Your browser sent too much data",
        "Too many cookies are stored for this site. Please delete them and try again.",
    ),
    501: _Text("This is not supported", "The request asks for something that is not offered here."),
    502: _Text(
        "The sign-in service gave no usable answer",
        "Please try again in a moment. You may have to start your sign-in again.",
    ),
    503: _Text(
        "The sign-in service is not available right now",
        "Please try again in a few moments. Nothing is wrong with your account.",
    ),
    504: _Text(
        "The sign-in service takes too long to answer",
        "Please try again in a moment. You may have to start your sign-in again.",
    ),
    505: _Text("This version of HTTP is not supported", "Please use a current browser."),
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1.125rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto 0; \
padding: 0 1.5rem }}
h1 {{ font-size: 1.5rem; line-height: 1.25 }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{sentence}</p>
{again}<p>If this goes on, tell the support the time, {time}, and this number: \
<code>{request_id}</code></p>
</main>
</body>
</html>
"""

_AGAIN = '<p><a href="">Try again</a></p>\n'
# What passes by itself, or may.
_TRY_AGAIN = frozenset({408, 429, 502, 503, 504})

# The ends of paths at which programs talk, and no people.
_OAUTH_ENDS = (
    b"/token",
    b"/introspect",
    b"/introspection",
    b"/revoke",
    b"/revocation",
    b"/userinfo",
    b"/par",
    b"/device_authorization",
    b"/device/auth",
)
_FORM = b"application/x-www-form-urlencoded"


class Shape(Enum):
    """For whom an answer is: a person, a program, a client of OAuth."""

    PAGE = "page"
    PROBLEM = "problem"
    OAUTH = "oauth"


def shape(
    accept: bytes | None, path: bytes, content_type: bytes | None, authorization: bytes | None
) -> Shape:
    """Return what a client can read, by the fields of its request.

    Browsers say that they take HTML; who does not, and sends credentials in a field, posts a form
    or asks a token endpoint, is a client of OAuth. Args: path: without the query.
    """
    asked = wants_json(accept)
    if not asked and accept is not None and b"html" in accept[:_MAX_ACCEPT_BYTES].lower():
        return Shape.PAGE
    form = content_type is not None and content_type.strip().lower().startswith(_FORM)
    if authorization is not None or form or path.rstrip(b"/").endswith(_OAUTH_ENDS):
        problem = accept is not None and b"problem+json" in accept[:_MAX_ACCEPT_BYTES].lower()
        return Shape.PROBLEM if problem else Shape.OAUTH
    return Shape.PROBLEM if asked else Shape.PAGE


def _oauth_error(status: int) -> str:
    """Return the error code of OAuth for a status.

    The codes of token endpoints (section 5.2) have none for a server that cannot answer; those of
    authorization endpoints (section 4.1.2.1) do. Source: RFC 6749.
    """
    if status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.TOO_MANY_REQUESTS:
        return "invalid_request"
    busy = (429, 503, 504)
    return "temporarily_unavailable" if status in busy else "server_error"


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """A whole answer of our own, in no protocol yet.

    Args: reason: for the log; fields: names and values, without those of the body's framing; close:
    the client's connection ends with it.
    """

    status: int
    reason: str
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    close: bool = False

    @property
    def phrase(self) -> bytes:
        """The reason phrase of HTTP/1.1."""
        return HTTPStatus(self.status).phrase.encode()


def refusal(failure: Failure, head: RequestHead, request_id: bytes, date: bytes) -> OwnAnswer:
    """Return the answer to a request that has failed, in the shape that its client can read.

    Args: failure: with a status for the client; head: of the request; request_id: shown and sent
    back; date: an IMF-fixdate.
    """
    parts = head.parts
    form = shape(
        find_part(parts, b"accept"),
        head.path,
        find_part(parts, b"content-type"),
        find_part(parts, b"authorization"),
    )
    return page(failure, form, request_id, date)


def page(failure: Failure, form: Shape, request_id: bytes, date: bytes) -> OwnAnswer:
    """Return the answer of a failure in one shape. Args: as `refusal`."""
    text = _TEXTS[failure.status]
    shown = request_id.decode("ascii", "replace")
    time = date.decode("ascii", "replace")
    if form is Shape.PAGE:
        media_type = b"text/html; charset=utf-8"
        body = _PAGE.format(
            title=escape(text.title),
            sentence=escape(text.sentence),
            again=_AGAIN if failure.status in _TRY_AGAIN else "",
            time=escape(time),
            request_id=escape(shown),
        ).encode()
    else:
        media_type = b"application/problem+json"
        problem: dict[str, object] = {
            "type": "about:blank",
            "title": HTTPStatus(failure.status).phrase,
            "status": failure.status,
            "detail": f"{text.title}. {text.sentence}",
            "request_id": shown,
            "time": time,
        }
        if form is Shape.OAUTH:
            media_type = b"application/json"
            problem |= {
                "error": _oauth_error(failure.status),
                "error_description": problem["detail"],
            }
        body = json.dumps(problem).encode() + b"\n"
    fields = [
        (b"Date", date),
        (b"Content-Type", media_type),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
        (
            b"Content-Security-Policy",
            b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
        (b"X-Request-Id", request_id),
    ]
    if failure.retry_after:
        fields.append((b"Retry-After", b"%d" % RETRY_AFTER_S))
    return OwnAnswer(failure.status, failure.reason, tuple(fields), body, failure.close)


def https_location(host: bytes, target: bytes, port: int) -> bytes | None:
    """Return the https URL of the same host and path on another port.

    Args: host: the request's authority, whose own port is left out; target: in origin form;
    port: of the listener that is redirected to. Returns: None if the request names no valid
    host or no path, so there is no same place to go to.
    """
    if not valid_authority(host) or not target.startswith(b"/"):
        return None
    name = host[: host.rfind(b"]") + 1] if host.startswith(b"[") else host.partition(b":")[0]
    return b"https://" + name + (b"" if port == 443 else b":%d" % port) + target


def redirect(location: bytes, request_id: bytes, date: bytes) -> OwnAnswer:
    """Return the 308 answer to `location`, a URL from `https_location`.

    308 keeps the method and the body. The client may store it; a cache that serves others may not,
    as it may not tell http from https, and who came by https is not redirected.
    """
    fields = (
        (b"Date", date),
        (b"Location", location),
        (b"Cache-Control", b"private"),
        (b"Content-Length", b"0"),
        (b"X-Request-Id", request_id),
    )
    return OwnAnswer(308, "redirect", fields)


def options(request_id: bytes, date: bytes) -> OwnAnswer:
    """Return the answer to an OPTIONS request that goes no further: what is passed on at all.

    Source: RFC 9110 section 7.6.2.
    """
    fields = (
        (b"Date", date),
        (b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"Content-Length", b"0"),
        (b"X-Request-Id", request_id),
    )
    return OwnAnswer(200, "max_forwards", fields)


def wants_json(accept: bytes | None) -> bool:
    """Return True if a client's Accept field prefers JSON to a page.

    Where both are equally good, the one that is named by itself wins over `*/*`, and the page over
    JSON: a client that does not say is a browser or a person with curl. A list too long to be read
    says nothing.
    Source: RFC 9110 section 12.5.1.
    """
    if not accept or len(accept) > _MAX_ACCEPT_BYTES:
        return False
    if accept.count(b",") + accept.count(b";") > _MAX_ACCEPT_PARTS:
        return False
    # (how specific the range is, its quality): the most specific range that matches counts.
    as_json = as_html = (0, 0.0)
    for member in accept.lower().split(b","):
        media_range, *parameters = (part.strip(b" \t") for part in member.split(b";"))
        quality = _quality(parameters)
        match media_range:
            case b"application/json" | b"application/problem+json":
                as_json = max(as_json, (3, quality))
            case b"application/*":
                as_json = max(as_json, (2, quality))
            case b"text/html" | b"application/xhtml+xml":
                as_html = max(as_html, (3, quality))
            case b"text/*":
                as_html = max(as_html, (2, quality))
            case b"*/*":
                as_json = max(as_json, (1, quality))
                as_html = max(as_html, (1, quality))
    return as_json[1] > 0 and as_json[::-1] > as_html[::-1]


def _quality(parameters: list[bytes]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            digits = value.strip()
            if digits.replace(b".", b"", 1).isdigit():
                return min(float(digits), 1.0)
            return 0.0
    return 1.0
