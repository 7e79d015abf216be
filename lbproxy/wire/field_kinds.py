"""Names of fields as small integers: found once a field, and then compared as numbers.

A kind is what a name means, whoever sent it and by which protocol. Those up to LAST_OF_REQUESTS
have a rule in requests, those from FIRST_OF_ANSWERS to LAST_OF_ANSWERS in answers; the others are
usual, and go on. OTHER is every name that is not here.

Theory of operation: the first and the last letter but one of a name, and its length, lead to one
slot of a table, and one comparison says whether the name is the one that belongs there.
"""

from __future__ import annotations

NAMES: tuple[bytes, ...] = tuple(
    b"- host cookie te expect proxy-authorization http2-settings x-request-id max-forwards "
    b"connection content-length transfer-encoding trailer upgrade keep-alive proxy-connection "
    b"set-cookie date "
    b"accept accept-charset accept-encoding accept-language authorization content-type cookie2 "
    b"pragma referer user-agent "
    b"cache-control dnt if-modified-since if-none-match origin priority range save-data sec-ch-ua "
    b"sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site "
    b"sec-fetch-user sec-gpc sec-purpose sec-websocket-extensions sec-websocket-key "
    b"sec-websocket-version upgrade-insecure-requests x-requested-with".split()
)
OTHER = 0
HOST, COOKIE, TE, EXPECT, PROXY_AUTHORIZATION, HTTP2_SETTINGS, X_REQUEST_ID = range(1, 8)
MAX_FORWARDS, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER, UPGRADE = range(8, 14)
KEEP_ALIVE, PROXY_CONNECTION, SET_COOKIE, DATE = range(14, 18)
ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION = range(18, 23)
CONTENT_TYPE, COOKIE2, PRAGMA, REFERER, USER_AGENT = range(23, 28)

LAST_OF_REQUESTS = PROXY_CONNECTION
FIRST_OF_ANSWERS, LAST_OF_ANSWERS = CONNECTION, DATE
LAST = len(NAMES) - 1

ROW = 32  # no name is longer


def slot(first: int, last_but_one: int, size: int) -> int:
    """Return where a name belongs: no two of those here share a slot."""
    return ((first & 31) + (last_but_one & 31) * 19 + size) & 255


def _table() -> bytes:
    kinds, sizes, rows = bytearray(256), bytearray(256), bytearray(256 * ROW)
    for kind, name in enumerate(NAMES[1:], start=1):
        kinds[slot(name[0], name[-2], len(name))] = kind
        sizes[kind] = len(name)
        rows[kind * ROW : kind * ROW + len(name)] = name
    return bytes(kinds + sizes + rows)


# What `FieldCursor.kind` looks into: 256 kinds by their slots; by kind, sizes of names; and rows of
# names. One table, since each costs a call if this is compiled.
TABLE = _table()
