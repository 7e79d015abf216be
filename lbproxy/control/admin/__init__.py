"""The admin API and the metrics.

- `server`          the part: serves the API on a socket that was opened for it
- `guard`           who may use it, and errors as problem documents
- `api`             what is asked and commanded
- `metrics`         counters as Prometheus collectors
- `facts`           what metrics tell of the control plane itself
- `settings_facts`  the same of the settings in use: a hash, and the ends of certificates
"""
