"""What a worker holds of the nodes: pools, links, connections, who may wait for them."""
