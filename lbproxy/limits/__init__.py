"""What one client, or one pool, may use at most. Pure.

- `per_client`  how many connections each client has open
- `budget`      how many retries a pool can afford
"""
