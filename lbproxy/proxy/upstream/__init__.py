"""The side of the nodes: one module for each protocol that they speak."""
