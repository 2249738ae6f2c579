"""luludb: one daemon writes `lulu.db`, everyone reads it.

Orchestrators send *commands* to the daemon over a ZeroMQ socket. The daemon applies all that
is waiting in one transaction, commits, and only then replies. Readers open the file themselves.

The modules of this package, from the bottom up: `errors`, `limits`, `model`, `ids`, `times`
import nothing of ours; `wire`, `commands`, `home`, `settings`, `platform`, `tables` import
those; `daemon` and the client package `luludb_client` import both and never each other;
`admin` and `cli` stand on top.
"""

__version__ = "0.1.0"
