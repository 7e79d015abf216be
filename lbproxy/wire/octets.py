"""What an octet may be: tables by its value, for every reader of heads."""

from __future__ import annotations

TCHAR = b"!#$%&'*+-^`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ODD = 2  # the mark of `_` and `.` in TOKEN: tokens that some nodes read as `-`

# TOKEN[octet]: 0 none of a token, 1 one of a token, ODD one with a second reading.
TOKEN = bytes(1 if c in TCHAR else ODD if c in b"_." else 0 for c in range(256))
# VALUE[octet]: 1 if it may stand in a field value (RFC 9110 section 5.5, obs-text included) or in a
# reason phrase (RFC 9112 section 4). Containers hand CR, LF and NUL to the application as they are.
VALUE = bytes(1 if c == 9 or (c >= 32 and c != 127) else 0 for c in range(256))
# LOWER[octet]: ASCII lower case.
LOWER = bytes(range(256)).lower()
