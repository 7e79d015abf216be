"""What one client, or one pool, may use at most. Pure.

- `per_client`  how many connections each client has open
- `board`       what all workers count, where each can read it
- `counter`     one number that workers count together
- `budget`      how many retries a pool can afford
"""
