"""Network interfaces of this machine, and multicast on them.

Terms: an *interface* has addresses; what the kernel calls a link is an interface without them.

- `interfaces`  interfaces, addresses, routes and what happens to them, as values
- `netlink`     asks and tells the kernel
- `watch`       follows the interfaces while they come, change and go
- `multicast`   where advertisements can go out, and what is in the way elsewhere; pure
- `sender`      sends by one interface
- `listener`    hears what others send to a group
- `readiness`   what this machine has ready for multicast; `switch` changes it

Sockets that follow interfaces are opened here and in `lbproxy.control.mcmp.advertiser`, not at
start with all others: interfaces come and go.
"""
