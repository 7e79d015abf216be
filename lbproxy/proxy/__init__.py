"""The data plane of one process: clients on one side, nodes on the other, exchanges between them.

Terms: a *client* is a connection that a listener accepted; an *exchange* is one request and its
response; its *downstream* is the client's side, its *upstream* the node's, both as roles; an
*asker* is who the client of one request is, as far as that is believed; a *link* is a node as one
worker sees it.

From the bottom up; who stands above may import who stands below:

- `transport`    the bytes of a connection of either side: one `pipe`, TLS, certificates
- `forwarding`   who asks, which claims of clients are dropped, what nodes are told
- `nodes`        pools, links, connections to nodes, who serves a context, the waiting room, routes
- `answers`      what a client gets if no node's response can be had
- `record`       what is counted and logged of a request; `access_log` writes it by `line_output`,
                 `cut_off` tells what was left at the end
- `rules`        what the configuration says, as one value; `request_ids`
- `desk`         what all may ask for: the time, the rules, counters, log
- `exchange`     one request and its response: `choice` of the node, `course` by `stages`, and the
                 roles on its two sides
- `upstream`     the roles that HTTP/1.1 and AJP play
- `downstream`   listeners, clients, requests by HTTP/1.1: `arrival` decides, `http1` reads
- `worker`       owns all that and has the tick; `listening` brings it clients on its sockets;
                 `plane` puts them together with files, and follows a changed configuration

On the way of a request there is no task, no timer, no logging call and no dict of headers.
"""
