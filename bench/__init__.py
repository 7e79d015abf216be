"""Measurements side by side: lbproxy and its peers do the same work in the same run.

The proxy under test has one core to itself, load and origin share another one. What counts is CPU
time a request, as a ratio to nginx and HAProxy; a figure without its neighbour says little.

- `processes`   child processes: pinned, awaited, measured through /proc, ended whatever happens
- `setting`     what a peer is told: ports, nodes, hosts, certificate
- `peers`       one module a peer: the setting as its configuration
- `origin`      the nodes: nginx for answers and downloads, `sink` for uploads
- `load`        wrk, h2load and curl: how they are run, what they print
- `idle`        a crowd of connections that do nothing
- `scenarios`   what is measured, and in which order
- `figures`     medians, ratios, aims
- `report`      the table, the data and the plot under docs/bench/
- `logins`      whole logins by Locust users (`locustfile`) through the demo (`make load`)
- `affinity`    what these users count, and whether affinity held
- `membership`  what nodes that announce themselves cost (`python -m bench.membership`); `nodes` is
                the crowd of them
"""
