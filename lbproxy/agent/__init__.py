"""Announces a node that does not speak MCMP: to one or several lbproxies, for as long as it serves.

An agent runs beside its node, asks for its health, and does for it what mod_cluster does inside a
WildFly: joins, reports load, drains and leaves.

- `life`       the next message to one proxy, and the meaning of its answers: tables, no I/O
- `messages`   the node as MCMP parameters
- `session`    one kept connection to one proxy: signed messages out, answers in, deadlines
- `announcer`  one task a proxy: life and session together
- `page`       asks for pages of the node; `health` judges its health page
- `load`       the load that is reported: from `cpu`, `metric`, a file or a fixed number
- `agent`      the node's whole life: waits, joins, drains, leaves, comes back
- `control`    the socket by which `lbproxy agent leave` and others reach the running agent
- `process`    signals and exit code; `threads` look up names

A *proxy* is one lbproxy (or any other MCMP proxy); *leaving* is draining and then being removed;
*settled* means that no request is left and none can come.
"""
