"""Processes: puts the data plane and the control plane together and runs them.

- `process`          from a configuration to the exit code, in one process or in several
- `alone`            one process: signals, reloads, and an orderly end; `service` both planes in it
- `supervisor`       forks control and the workers, and starts anew what dies
- `control_process`  what control does as a process; `worker_process` what a worker does
- `child`            how both live; `orders` what they are told, by an `order_channel`
- `image`            what each of them finds when it is forked; `board_memory` a part of it
- `inheritance`      what one version leaves to the next
- `control_seat`     the control plane that holds now, and how the next one takes its place
- `reading`          reads a configuration again; `following` how it reaches a child;
                     `watching` when that is due
- `channel`          how control and the workers reach each other
- `keeper`           has what control knows outlive it; `kept_memory` is where
- `sockets`          every socket, opened before anything else; `binding` says why one cannot be;
                     `passed` those that the service manager has opened; `tuning` what they are told
- `spreading`        over how many of its sockets a group spreads new connections
- `first_process`    what init has to do in a container
- `process_facts`    what a process tells of itself
- `keys`             what signs affinity cookies; `ticket_secrets` what keys of tickets are made of
- `cores`            how many workers `auto` means, and on which core each stays if it is to
- `collector`        how seldom garbage is looked for
- `backlog`          how many clients the kernel lets wait
- `descriptors`      as many file descriptors as the limits allow connections
- `state_place`      where state is kept that nobody has named a file for
"""
