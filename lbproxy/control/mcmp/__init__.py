"""Nodes that announce themselves."""
