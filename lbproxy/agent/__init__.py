"""Announces a node that does not speak MCMP: to one or several lbproxies, for as long as it serves.

An agent runs beside its node, asks for its health, and does for it what mod_cluster does inside a
WildFly: joins, reports load, drains and leaves.

- `life`       what to say next to one proxy, and what its answers mean: tables, no I/O
- `messages`   the node as MCMP parameters
- `link`       one connection to one proxy: signed messages out, answers in, deadlines
- `announcer`  one task a proxy: life and link together
- `page`       pages of the node; `health` judges the one that says whether it may take traffic
- `load`       what is reported, 1 (busy) to 100 (idle): from `cpu`, `metric`, a file or a number
- `agent`      the node's whole life: waits, joins, drains, leaves, comes back
- `control`    the socket by which `lbproxy agent leave` and others reach the running agent
- `process`    signals, systemd, exit code

A *proxy* is one lbproxy (or any other MCMP proxy); *leaving* is draining and then being removed;
*settled* means that no request is left and none can come.
"""
