"""One request and its response, and the roles on its two sides.

- `choice`      which node serves it, which one next after a failure, and its session
- `stages`      the table: what an exchange holds, what limits it, what may follow (pure)
- `course`      stage, whose turn it is, deadline
- `exchange`    the talk itself, and its one end; `connecting` a new connection for it
- `downstream`  the client's side as a role; `upstream` the node's. Exchange and upstream know each
  other, two ends of one talk; nobody else goes in a circle

`Exchange` is a `Course`, that is a `Choice`, and that is a `Record`: one object a request.
"""
