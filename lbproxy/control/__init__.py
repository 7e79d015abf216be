"""The control plane: it observes the nodes, takes commands, and publishes snapshots.

Terms: a *probe* is one health request to a node; a *command* is what an operator wants of a node;
to *publish* is to hand the workers a new snapshot; a *part* is one job that starts, runs and ends
with the plane, and knows no other part.

- `plane`      puts the parts together; what the runtime starts
- `part`       what a part is
- `publisher`  when a new snapshot is published
- `kept`       what outlives a control plane that dies, or is replaced
- `leaving`    removes the nodes that their source names no more
- `journal`    what changed and why: the log, and the latest changes for whoever asks
- `reloading`  what came of reading the configuration again
- `takers`     tells which pools have nobody for new sessions by command
- `workers`    the data plane as seen from here, and what it has counted
- `health/`    probes of the nodes
- `discovery/` addresses of named nodes, and nodes that come from DNS
- `mcmp/`      nodes that announce themselves
- `memory/`    what survives a restart
- `admin/`     the admin API and the metrics
"""
