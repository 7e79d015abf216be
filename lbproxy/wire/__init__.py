"""Codecs without I/O: bytes in, heads and events out. No asyncio, no clock, no configuration.

Compiled by Cython from the same files (see the .pxd beside each).

- `fields`          field lines of a head, one strict cursor for all of them
- `request_head`    a request as a proxy decides by it; `edit` takes lines out of any head
- `http1_request`   request heads of HTTP/1.0 and 1.1, strict; `http1_response` answers of nodes;
                    `http1_render` a request's head for a node
- `http1_body`      bodies in chunks; `http1_head` says what both kinds of head share
- `ajp13_request`   AJP/1.3: a head becomes a packet for a node; `ajp13_response` packets of a node
                    become events and heads; `ajp13` holds the codes of both
- `authority`       host and port
- `cookies`         values of named cookies, as the sender wrote them
- `advertise`       mod_cluster's multicast datagrams, and what a node makes of one
- `proxy_protocol`  the PROXY protocol's first bytes, versions 1 and 2
- `mcmp`            commands of nodes that announce themselves, and the modules for them
- `mcmp_client`     the other side of it, as an agent speaks
"""
