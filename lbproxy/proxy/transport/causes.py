"""Why a connection to a node failed or ended, for the log."""

from __future__ import annotations

import ssl


def cause(error: Exception) -> str:
    """Return what an error says to a person: no number, and no file and line of OpenSSL."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
