"""What a worker holds of the nodes.

- `connection`  a connection to a node as its link keeps it; `tls` the client's side of TLS on it
- `link`        one node: idle connections, counters, how to connect; `machine` when it is given up
- `pool`        the links behind one name, and who is chosen; `counting` on the request's path
- `announced`   pools whose nodes announce themselves; `serving` who serves a context
- `waiting`     requests that wait for a node; `waking` when they are looked at
- `routing`     which pool serves a request; `readings` of its path
- `notices`     what the log says of nodes
"""
