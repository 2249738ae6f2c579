"""The benchmark: the same rows into luludb and its rivals, measured side by side and read back.

`main` runs `loads`, one after the other. A load starts each system (`systems` and a module for
each) with a `crowd` of `client` processes, lets them write in turns, and checks the rows. What came
of it are `figures`, from which `report` and `plots` are made.
"""
