"""Which pool a host and a path lead to, and every reading that a path has. Pure.

- `routes`  the route table: host and path -> the first route that matches
- `paths`   every reading of a path that a node could take, and which paths are hidden
"""
