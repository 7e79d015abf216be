"""The side of the clients: accepting, reading requests, writing answers."""
