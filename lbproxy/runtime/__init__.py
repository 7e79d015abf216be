"""Processes: puts the data plane and the control plane together and runs them."""
