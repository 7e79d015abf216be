"""What survives a restart, if there is a state file.

- `state`    what is saved, and its form
- `file`     reads, writes and locks the file
- `restore`  takes in what the configuration still allows
- `part`     all of it, as the control plane starts and stops it
"""
