"""Probes of the nodes."""
