"""The demo: identity nodes to try lbproxy with, and the command that runs the whole house.

- `keys`      one signing key, the same on every node that shares the secret
- `sessions`  logins and sessions in one node's memory
- `origin`    the public origin of a request, as an identity provider works it out
- `oidc`      the OpenID Connect endpoints of a node
- `relying`   the application that logs in: start page and callback
- `pages`     its HTML
- `tools`     what helps to try a proxy: headers shown, echo, streams, a switchable status
- `node`      the node as an aiohttp application
- `house`     certificate, configuration and node processes of a demo
- `private`   secrets that no kill leaves behind
- `run`       all of it behind lbproxy, in one terminal
"""
