"""Checks of a front door from outside: what users will report, found before they do.

Works against any proxy, not lbproxy alone. It sends harmless requests: GET, and to Keycloak's token
endpoint a code that nobody has. Its findings hold no query strings, cookie values or bodies.

- `door`      one origin as a client sees it: requests sent byte for byte, certificates
- `resolve`   where a name leads instead of to what DNS says
- `facts`     what each identity provider has where: discovery, login, what must stay hidden
- `findings`  what a check says; one cause is told once, with every place
- `addresses` absolute URLs of a provider: where they lead, and whether clients can follow
- `survey`    the same questions several times: is anybody there, do the nodes agree
- `believed`  whether Keycloak believes the proxy, where its address is set by hand
- `forwarded` checks of redirects, discovery and forged fields
- `exposure`  checks of hidden paths, health and metrics, and the plain listener
- `transport` checks of cookies, certificates and HSTS
- `examine`   all of them in order
"""
