"""The cluster: what is known of the nodes, and every decision on them.

Pure: no sockets, no threads, no clock (`now`, monotonic seconds, is passed in), no global random.

Terms: a *node* is one identity-provider instance of a *pool*; its *route* is the suffix that it
writes into session cookies; *health* is what was observed, *admin* what was commanded; a node is
*usable* if neither an observation nor its own word speaks against it; *weight* is set by the
operator, *load* reported by the node; *member* is a node as the balancer of one worker sees it.

- `node`        the model: Node, Health, Admin, what may take traffic
- `contexts`    what a node announces: virtual hosts, aliases, contexts, and their algebra
- `registry`    the one writer; `roster` the nodes of a pool, in which it writes; `membership` what
                nodes that announce themselves may make it write
- `follow`      pools and nodes follow another configuration; `leaving` what becomes of nodes that
                their source names no more
- `snapshot`    the immutable view that workers read; `delta` what differs between two of them
- `health`      rise and fall of probes, passive ejection
- `candidates`  which nodes of a pool may be given a request; panic
- `applications` who may be asked for which path
- `balance`     choosing a member: one class a policy; `turns` whose turn it is in round robin
- `sticky`      finding the owner of a session, step by step; `learned` which node set which id
- `stats`       counters of a worker as plain data; `ledger` those of all workers as one
"""
