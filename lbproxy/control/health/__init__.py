"""Probes of the nodes. What results mean is decided in `lbproxy.cluster.health`.

- `probes`  the part: when each node is probed, and what becomes of the answer
- `client`  one probe: an HTTP request, and failures named by their likely cause
- `ajp`     the same over AJP: CPING, and a GET
"""
