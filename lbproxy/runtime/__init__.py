"""Processes: puts the data plane and the control plane together and runs them.

- `process`      a service with signals, from start to drained end
- `service`      both planes in one event loop
- `channel`      how control and a worker reach each other in one process
- `snapshots`    how snapshots cross to a worker in another process
- `sockets`      every socket that is listened on, opened before anything else; `binding` says why
                 one cannot be
- `keys`         what signs affinity cookies
- `descriptors`  as many file descriptors as the limits allow connections
- `state_place`  where state is kept that nobody has named a file for
"""
