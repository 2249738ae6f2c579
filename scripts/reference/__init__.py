"""docs/reference.md, written from the program itself."""
