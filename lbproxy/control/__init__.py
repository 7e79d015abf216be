"""The control plane: it observes the nodes, takes commands, and publishes snapshots."""
