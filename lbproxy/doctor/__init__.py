"""Checks of a front door from outside: what users will report, found before they do.

Works against any proxy, not lbproxy alone. It sends harmless requests: GET, and to Keycloak's token
endpoint a code that nobody has. Its findings hold no query strings, cookie values or bodies.

- `door`      one origin as a client sees it: requests sent byte for byte, certificates
- `resolve`   addresses of names instead of those in DNS
- `facts`     the paths of each identity provider: discovery, login, those that must stay hidden
- `results`   results of checks; a cause is reported once, with every place
- `addresses` absolute URLs of a provider: can clients follow them
- `survey`    the same questions several times: is anybody there, do the nodes agree
- `believed`  does Keycloak believe the proxy, if its address is set by hand
- `forwarded` checks of redirects, discovery and forged fields
- `exposure`  checks of hidden paths, health and metrics, and the plain listener
- `transport` checks of cookies, certificates and HSTS
- `examine`   all of them in order
"""
