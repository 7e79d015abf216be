"""Network interfaces of this machine, and multicast on them."""
