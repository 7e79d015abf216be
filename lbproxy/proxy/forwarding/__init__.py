"""Who asks, as far as it is believed, and what the nodes are told of it.

- `claims`  names of fields by which somebody claims who a client is
- `rules`   whom to believe, and which fields to write
- `asker`   the client of one request
"""
