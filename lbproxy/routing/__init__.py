"""Which pool a host and a path lead to, and every reading that a path has. Pure."""
