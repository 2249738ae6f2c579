"""`python -m luludb` is the command `luludb`."""

from luludb.cli import main

main()
