"""The control plane: it observes the nodes, takes commands, and publishes snapshots.

Terms: a *probe* is one health request to a node; a *command* is what an operator wants of a node;
to *publish* is to hand the workers a new snapshot; a *link* is a network interface of this machine.

- `plane`         puts the parts together; what the runtime starts
- `probes`        when each node is probed, and what becomes of the answer
- `probe_client`  one probe: an HTTP request, and failures named by their likely cause
- `ajp_probe`     the same over AJP: CPING, and a GET
- `resolver`      names become addresses and services: hosts file, DNS, how long that holds
- `system_names`  what this machine says of names: its hosts file and search list
- `address_rules` which addresses a name may lead to
- `names`         keeps the addresses of nodes that are named by a host name
- `discovery`     nodes of a pool that come from DNS, and go
- `discovery_plan` which nodes an answer of DNS stands for
- `dns`           the three together
- `state`         what of all that survives a restart; `state_file` reads and writes it,
                  `state_restore` takes in what the configuration still allows
- `metrics`       counters as Prometheus collectors
- `admin`         the admin API: handlers
- `admin_guard`   who may use it, and errors as problem documents
- `admin_server`  where it listens
- `advertiser`    tells nodes by multicast where the MCMP listener is
- `multicast`     where that works, and what is missing elsewhere; `multicast_state` looks,
  `multicast_switch` changes it, `multicast_listener` hears what others send
- `links`         the network interfaces, followed while they change; `netlink` asks the kernel
- `mcmp`          nodes that announce themselves: `mcmp_server` listens, `mcmp_connection` serves
                  one peer, `mcmp_access` says who may, `mcmp_commands` what each command does,
                  `mcmp_admission` which nodes may join, `mcmp_report` what INFO tells
"""
