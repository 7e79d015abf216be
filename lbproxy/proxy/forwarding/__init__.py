"""Who asks, as far as it is believed, and what the nodes are told of it."""
