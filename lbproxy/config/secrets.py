"""Secrets that are shared with nodes, read from their files."""

from __future__ import annotations

from pathlib import Path

# Longer than anybody's secret, and it fits into the smallest AJP packet beside a head.
MAX_SECRET = 1 << 10


def can_be_sent(secret: bytes) -> bool:
    """Return whether it holds no line break or other control byte, which no field may hold."""
    return not any(byte < 32 or byte == 127 for byte in secret)


def read_secret(file: str) -> bytes:
    """Return what the file holds, without a newline at its end.

    Raises: OSError; ValueError: the file is empty, too large, or holds control bytes, which cannot
    be sent. The text never holds the content.
    """
    secret = Path(file).read_bytes()
    secret = secret.removesuffix(b"\n").removesuffix(b"\r")
    if not secret:
        raise ValueError(f"{file} is empty")
    if len(secret) > MAX_SECRET:
        raise ValueError(f"{file} holds more than {MAX_SECRET} bytes: is it the secret's file?")
    if not can_be_sent(secret):
        raise ValueError(f"{file} holds control characters or several lines")
    return secret


def read_key(file: str) -> bytes:
    """Return the security key of advertisements that the file holds, without the end of its line.

    Raises: OSError; ValueError: no key, or one that nodes would read differently. The text never
    holds the content.
    """
    key = Path(file).read_bytes().rstrip(b"\r\n")
    if not key:
        raise ValueError(f"{file} is empty; write the nodes' key to it")
    # Nodes put a question mark for all other letters, so no digest would match.
    if not all(0x20 <= byte < 0x7F for byte in key):
        raise ValueError(f"{file}: nodes understand keys of one line and ASCII only")
    return key
