"""The bytes of a connection, of either side: TLS, and what is left of a lost one."""
