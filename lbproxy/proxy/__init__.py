"""The data plane of one worker.

Terms: *downstream* is the client's side, *upstream* the node's; an *exchange* is one request and
its response; a *link* is what a worker holds of one node: idle connections, counters, TLS.
"""
