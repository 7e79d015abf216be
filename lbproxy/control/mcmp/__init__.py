"""Nodes that announce themselves. The way of a message, from the socket to the registry:

- `server`      accepts: how many, for how long; `tls` demands client certificates
- `access`      who may say anything, and as what: a node or an agent
- `connection`  one peer: requests in, answers out
- `commands`    what each command does, and what is answered
- `admission`   which nodes may join, and at which address
- `ping`        is there a node at an address
- `report`      what INFO and DUMP tell
- `advertiser`  tells nodes by multicast where the listener is
- `follow`      what becomes of nodes that joined under other settings
- `part`        all of it, as the control plane starts and stops it
"""
