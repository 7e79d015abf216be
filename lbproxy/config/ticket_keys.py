"""Keys of session tickets: the file that machines share, and whether this Python can be given any.

Python's `ssl` has no call for them. `lbproxy.proxy.transport.tickets` makes do with OpenSSL's own,
which can be reached only where the module behind `ssl` is a file that shares its OpenSSL.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path as FilePath

from lbproxy.config.findings import Finding, Path, error, warning

# 256 bits, for keys of AES-256 and SHA-256 are made of it.
MIN_SECRET_BYTES = 32
# Longer than anybody's secret: it is another file.
MAX_SECRET_BYTES = 1 << 10
NO_EFFECT = "has no effect: sessions resume on the machine alone that they began on"
_MAKE = "openssl rand -out FILE 48"


def why_no_keys() -> str:
    """Return why this Python cannot be told ticket keys, as far as can be seen; "" if it may."""
    import _ssl

    if sys.implementation.name != "cpython":
        return "it is not CPython"
    if not hasattr(_ssl, "__file__"):
        return "its OpenSSL is built into the program"
    return ""


def read_ticket_secret(file: str) -> bytes:
    """Return the whole content of a file, from which ticket keys are derived.

    Raises: ValueError: it cannot be read, has a wrong size, or others may read it. The text begins
    with a verb, and never holds the content.
    """
    try:
        with FilePath(file).open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            secret = stream.read(MAX_SECRET_BYTES + 1)
    except OSError as problem:
        raise ValueError(f"cannot be read: {problem.strerror}") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ValueError(
            "lets everybody on this machine read or write the secret, who could then read what "
            "clients send; it wants mode 0600 or 0640 (chmod o-rwx FILE)"
        )
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"holds less than {MIN_SECRET_BYTES} bytes; make one with: {_MAKE}")
    if len(secret) > MAX_SECRET_BYTES:
        raise ValueError(f"holds more than {MAX_SECRET_BYTES} bytes: is it the secret's file?")
    return secret


def check_ticket_key(file: str, path: Path) -> Iterator[Finding]:
    """Yield what is wrong with a file of the secret, and whether it will be of no use."""
    try:
        read_ticket_secret(file)
    except ValueError as problem:
        yield error(path, str(problem))
    else:
        if why := why_no_keys():
            yield warning(path, f"{NO_EFFECT}; this Python cannot be told ticket keys, as {why}")
