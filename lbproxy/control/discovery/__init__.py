"""Nodes and addresses that come from names.

From the question to the node: `resolver` asks, using `system_names` for what this machine knows
itself; `address_rules` says which addresses a name may lead to; then there are two users.

- `names`         keeps the addresses of nodes that are named by a host name
- `follow`        nodes of a pool that come from DNS, and go; `wanted` says which nodes an answer
                  stands for
- `part`          both together, as the control plane starts and stops them
"""
