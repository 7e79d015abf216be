"""Configuration: a YAML file becomes one validated, frozen `Config`.

Terms: a *listener* accepts clients, a *pool* is the nodes behind one name, a *route* maps host and
path to a pool, a *profile* is an identity provider's defaults for a pool, kept as data.

- `schema`    what a configuration may say (frozen models, units, defaults)
- `units`     durations, sizes, addresses, networks as the schema's field types
- `load`      YAML text -> `Config`; every error at once, with line and column
- `profiles`  the identity providers' presets
- `routes`    the route table: host and path -> pool
- `paths`     every reading of a request path that a node could take
"""
