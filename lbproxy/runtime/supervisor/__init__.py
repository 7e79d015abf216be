"""The supervisor: owns every socket, forks control and the workers, and starts anew what dies.

It has no event loop and no thread, and imports nothing that starts one: a fork copies the thread
that forks, and no other.

- `supervisor`  what it does at each event
- `children`    the children: how they are forked, joined to each other, told and heard
- `reloading`   reads the configuration again and has every child follow it
- `resizing`    changes how many workers there are
- `upgrading`   replaces the program; `succession` takes over from the version before
- `restarts`    when a process that died is started anew, and who accepts for it meanwhile
- `fork`        makes a child; `ticket_trial` one that tries whether ticket keys can be set
"""
