"""Settings, status figures, error codes and exit codes, as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields

from luludb import errors
from luludb.admin.meanings import MEANINGS, Kind, figure_names
from luludb.settings import Settings

ALLOWED = {
    "durability": "normal, full",
    "changes_kept_max": "from 1",
    "client_days_kept": "from 1",
    "wal_bytes_max": "bytes, or with KiB, MiB or GiB",
    "log_level": "debug, info, warning, error",
}
ADVICE = {
    "invalid": "Correct the call; the message says what was found and what is allowed.",
    "unknown_op": "The daemon is older than the client: restart it after an update.",
    "not_found": "Look the id up: `luludb session list`.",
    "already_exists": "With an id of your own, sent again after a crash: it is done.",
    "too_large": "Send less at once; see the limits below.",
    "busy": "A client sends again by itself. The daemon's log names the program that holds the"
    " lock: have it write through luludb.",
    "overloaded": "A client sends again by itself. Where the message tells of the log: a reader"
    " keeps it from shrinking; the message names it.",
    "disk_full": "Make room; writes then go on by themselves.",
    "shutting_down": "A client sends again by itself, to the next daemon.",
    "internal": "A bug, or a database that cannot be read: the message and the log say more.",
    "unsupported_protocol": "Update the older one of client and daemon.",
    "unknown_client": "Say hello; the client does it by itself.",
    "stale_connection": "Say hello on this connection; the client does it by itself.",
    "out_of_order": "Go on from `expected`; the client does it by itself.",
    "sequence_reused": "Two programs use one client_id, or one lost count: a new client_id.",
    "daemon_unavailable": "Start the daemon; the message names the command. Nothing was sent.",
    "outcome_unknown": "It may have been applied: look for `id`, or send it again with the same"
    " id and take AlreadyExists for done.",
    "protocol_mismatch": "Update the older one of client and daemon.",
    "data_loss": "Decide what to write again, with a new Client: the database lacks what was"
    " acknowledged.",
    "changes_pruned": "Read the tables anew and watch from now on, or from `after_rev=0`; a larger"
    " `changes_kept_max` keeps more.",
    "start_refused": "Do what the message says.",
    "storage_failed": "Look at the disk, then start the daemon; it checks the database. Else"
    " restore a backup.",
}
"""What to do, by error code."""
EXITS = (
    ("0", "Done. `serve`: stopped when asked to."),
    ("1", "Refused; or there are findings, or lines that an import refused."),
    ("2", "Wrong usage."),
    ("3", "No daemon, or no answer in time."),
    ("4", "Storage failed, or data was lost."),
    ("130", "Interrupted by Ctrl-C."),
)


def error_classes() -> list[type[errors.LuludbError]]:
    """Every class with a code, in the order of their file."""
    found = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.LuludbError)
    ]
    return [*found[1:], errors.LuludbError]


def setting_lines() -> Iterator[str]:
    """Each setting with its key, variable, default and what is allowed."""
    meanings = re.findall(r"^    (\w+): (.*)$", inspect.getdoc(Settings) or "", re.MULTILINE)
    yield "| in `luludb.toml` | environment | default | allowed | |"
    yield "|---|---|---|---|---|"
    for field in fields(Settings):
        yield (
            f"| `{field.name}` | `LULUDB_{field.name.upper()}` | {field.default} |"
            f" {ALLOWED[field.name]} | {dict(meanings)[field.name]} |"
        )
    yield ""


def figure_lines() -> Iterator[str]:
    """Each status figure with its kind, its unit and its meaning."""
    yield "| figure | kind | unit | |"
    yield "|---|---|---|---|"
    for meaning in MEANINGS:
        names = ", ".join(f"`{name}`" for name in figure_names(meaning))
        unit = "" if meaning.kind is Kind.TIME else meaning.unit
        yield f"| {names} | {meaning.kind.value} | {unit} | {meaning.sentence} |"
    yield ""


def error_lines() -> Iterator[str]:
    """Each error code with its class, when it is returned or raised, and what to do."""
    yield "| code | class | when | what to do |"
    yield "|---|---|---|---|"
    for each in error_classes():
        sentence = (inspect.getdoc(each) or "").splitlines()[0]
        when = re.sub(r"^Is (returned|raised) ", "", sentence)
        if each is errors.LuludbError:
            when = "when the daemon met something that it cannot name; base of all others."
        yield f"| `{each.code}` | {each.__name__} | {when} | {ADVICE[each.code]} |"
    yield ""


def exit_lines() -> Iterator[str]:
    """Each exit code of the command line."""
    yield from ("| exit code | |", "|---|---|")
    yield from (f"| {code} | {meaning} |" for code, meaning in EXITS)
    yield ""
