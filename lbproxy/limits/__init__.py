"""What one client, or one pool, may use at most. Pure."""
