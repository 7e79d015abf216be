"""Codecs without I/O: bytes in, heads and events out. No asyncio, no clock, no configuration.

Compiled by Cython from the same files (see the .pxd beside each).

- `http1`           heads and bodies of HTTP/1.0 and 1.1, strict
- `cookies`         values of named cookies, as the sender wrote them
- `proxy_protocol`  the PROXY protocol's first bytes, versions 1 and 2
"""
