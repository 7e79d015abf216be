"""Host and port, as a request names whom it is for (RFC 9110 section 7.2)."""

from __future__ import annotations

MAX_HOST = 255 + 6  # a DNS name, a colon and a port
# HOST[byte]: 1 if the byte may stand in a host name or IPv4 address. Brackets are apart.
HOST = bytes(1 if (chr(c).isalnum() and c < 128) or c in b".-_" else 0 for c in range(256))
_HEX = bytes(1 if c in b"0123456789abcdefABCDEF" else 0 for c in range(256))


def valid_authority(authority: bytes) -> bool:
    """Return True for a host name, an IPv4 address or a bracketed IPv6 address, with a port of
    digits or none (RFC 9110 section 7.2; stricter: no user, no percent escapes). The port may be
    empty behind its colon (RFC 3986 section 3.2.3)."""
    octets = authority
    n = len(authority)
    host = HOST
    hexadecimal = _HEX
    if n == 0 or n > MAX_HOST:
        return False
    p = 0
    if octets[0] == ord("["):
        p = 1
        colons = 0
        while p < n and (hexadecimal[octets[p]] or octets[p] == ord(":") or octets[p] == ord(".")):
            if octets[p] == ord(":"):
                colons += 1
            p += 1
        if colons < 2 or p >= n or octets[p] != ord("]"):
            return False
        p += 1
    else:
        while p < n and host[octets[p]]:
            p += 1
        if p == 0 or octets[0] == ord("."):
            return False
    if p == n:
        return True
    if octets[p] != ord(":") or n - p > 6:
        return False
    p += 1
    if p == n:
        return True
    port = 0
    while p < n:
        if octets[p] < ord("0") or octets[p] > ord("9"):
            return False
        port = port * 10 + (octets[p] - ord("0"))
        p += 1
    return 0 < port <= 65535


def without_empty_port(authority: bytes) -> bytes:
    """Return a valid authority without a colon that no port follows (RFC 3986 section 6.2.3)."""
    return authority[:-1] if authority.endswith(b":") else authority


def host_of(authority: bytes) -> bytes:
    """Return the host of a valid authority as routes know it: lower case, no port, no last dot."""
    host = authority.lower()
    colon = host.rfind(b":")
    if colon >= 0 and host.find(b"]", colon) < 0:
        host = host[:colon]
    return host.removesuffix(b".")
