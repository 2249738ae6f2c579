"""The load that `demo` and `stress.py` put on a database, and the proof of what became of it.

`conversations` says what is written, `writer` is one process that writes it and notes each
acknowledgement in its `journal`, `crowd` runs many of them, and `verify` holds the journals against
the database.
"""
