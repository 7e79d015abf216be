"""The side of the clients: accepting, reading requests, writing answers.

- `listener`       accepts on one socket; `peer` who stands at the other end
- `tls`            the server's side of TLS, until ALPN has chosen a protocol
- `clients`        who is let in and connected; `half_closed` who may have left
- `http1`          a connection of HTTP/1.1: reads requests; `upload` their bodies
- `http1_answers`  plays the downstream: framing, `Connection`, interim answers
- `arrival`        what is decided before a node hears of a request, for every protocol
- `following`      what a changed configuration means for a connection that is open
"""
