"""The daemon: one process, one thread, one loop, and the only write connection.

`sockets` gives frames to `writer`, which decodes them, applies each command inside one
transaction, commits, and gives back replies and changes; `sockets` sends them. Nothing is
answered or published before COMMIT has returned.
"""

from luludb.daemon.loop import serve

__all__ = ["serve"]
