"""The daemon as a service of its user: a systemd user unit, on macOS a launchd agent.

`program` says what is run and by which name; `unit` and `agent` write it down in the words of
systemd and of launchd, and touch nothing; `systemd` and `launchd` put it in its place and work
their managers.
"""
