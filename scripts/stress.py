#!/usr/bin/env python3
"""The stress test: many processes write at once, and every row is checked afterwards.

    scripts/stress.py --processes 64 --messages 500
    scripts/stress.py --seconds 20 --window 64 --durability full --kill

Each process notes in a journal of its own what it sent and what was acknowledged. At the end the
database is read back and held against the journals. Exits with 0 only if no call failed and every
acknowledged row is there, once, unchanged, and in the order in which it was sent.
"""

import importlib.util
import sys
from pathlib import Path

# The repository itself and not this file's directory, so that modules have one name each.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

if importlib.util.find_spec("luludb_client") is None:
    from scripts.environment import enter

    enter("run")

from scripts.load.stress import main  # noqa: E402  # only where luludb is there

if __name__ == "__main__":
    main()
