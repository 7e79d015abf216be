"""Configuration: a YAML file becomes one validated, frozen `Config`.

Terms: a *listener* accepts clients, a *pool* is the nodes behind one name, a *route* maps host and
path to a pool, a *profile* is an identity provider's defaults for a pool, kept as data; a *finding*
is a problem whose place in the file is not known yet. Each section of the file is a class that ends
in `Settings`.

The schema:

- `schema`     the sections of lbproxy's file; `sources` those that say where nodes come from
- `agent`      the sections of an agent's file
- `model`      the base of all sections; `units` and `addresses` are the types of their values
- `profiles`   the identity providers' presets
- `reference`  the schema as a document and as JSON Schema

From text to `Config`:

- `read`       YAML text -> `Config`, or every error at once; `agent_load` does so for an agent
- `document`   YAML text -> plain data, and the place of each part in the text
- `draft`      mends a file that has errors, so that all of it can be checked
- `messages`   pydantic's errors in plain words; `foreign` knows the words of other products
- `findings`   problems and their places

From `Config` to `Config`: `changes` says what differs, in the words of the file. `named_files` are
those that it names.

What no section can know alone: `checks`, with `pool_checks`, `source_checks`, `place_checks`,
`certificates`, `secrets`, `ticket_keys` and `check_helpers`; `agent_checks` for an agent.
"""
