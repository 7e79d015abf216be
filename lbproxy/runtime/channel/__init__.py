"""How control and the workers reach each other.

- `direct`      in one process
- `to_workers`  control's ends if workers are processes of their own; `to_control` a worker's end
- `to_successor`  the end of a control that stood aside for another version
- `words`       what they say
- `snapshots`   how snapshots cross: the first one whole, then what differs
- `stream`      messages on a pair of sockets; `frames` takes them apart
"""
