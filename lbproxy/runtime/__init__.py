"""Processes: puts the data plane and the control plane together and runs them.

- `service`  one worker and the control plane in one event loop, joined by a direct channel
- `process`  a service with signals, from start to drained end
- `sockets`  opening listening sockets, and saying why that failed
- `keys`     what signs affinity cookies
"""
