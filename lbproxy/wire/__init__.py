"""Codecs without I/O: bytes in, heads and events out. No asyncio, no clock, no configuration.

Compiled by Cython from the same files (see the .pxd beside each). One object of bytes has two C
types there, so functions give it two names: `octets` are read as numbers (unsigned char), and of
`data` (char, or `chars` beside a parameter of that name) a slice is one copy, without the slice
object that Python makes. An octet is written as `ord(":")`, which is a constant if compiled.

- `octets`          tables of what an octet may be; `field_kinds` the names of fields as numbers
- `fields`          field lines of a head, one strict cursor for all of them
- `request_head`    a request as a proxy decides by it; `request_rules` what its fields mean,
                    whatever protocol they came by; `edit` takes lines out of any head
- `http1_request`   request heads of HTTP/1.0 and 1.1, strict; `http1_response` answers of nodes;
                    `http1_render` a request's head for a node
- `http1_body`      bodies in chunks; `http1_head` says what both kinds of head share;
                    `partial_head` waits for the rest of one
- `http2`           the same for HTTP/2
- `ajp13_request`   AJP/1.3: a head becomes a packet for a node; `ajp13_response` packets of a node
                    become events, `ajp13_response_head` heads; `ajp13` holds the codes of both
- `authority`       host and port; `forwarded` the field of RFC 7239
- `cookies`         values of named cookies, as the sender wrote them
- `shared_caches`   whether a cache may give an answer to others
- `client_hello`    the name that a client of TLS asks for
- `advertise`       mod_cluster's multicast datagrams, and what a node makes of one
- `proxy_protocol`  the PROXY protocol's first bytes, versions 1 and 2
- `mcmp`            commands of nodes that announce themselves, and the modules for them
- `mcmp_client`     the other side of it, as an agent speaks
"""
