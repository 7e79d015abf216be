"""The side of the nodes: one module for each protocol that they speak.

- `single`  an upstream on a connection of its own, which serves one exchange at a time
- `http1`   HTTP/1.1, plain or in TLS
- `ajp`     AJP/1.3
"""
