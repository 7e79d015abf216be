"""Nodes and addresses that come from names."""
