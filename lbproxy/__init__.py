"""lbproxy: the front door of identity-provider clusters.

Beside the packages, for all of them:

- `errors`    every named failure of the request path
- `terminal`  texts from outside, escaped for a terminal; `notices` warnings once in a while
- `files`     whether a file has changed; `systemd` is told how a process is
- `tcp`       when the kernel gives a connection up
- `signals`   as bytes on a socket, for who waits at descriptors
"""

__version__ = "0.1.0"
