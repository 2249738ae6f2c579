"""Another program holds the write lock for longer than the daemon's patience lasts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from luludb.errors import LuludbError
from luludb.limits import ENDING_MARGIN_S_MAX
from luludb_client import Busy, Client, OutcomeUnknown
from luludb_client.testing import running_daemon
from tests import foreign

SHORT_S = 2.0  # shorter than the daemon's first wait, so that no answer comes in time
LONG_S = 8.0
PATIENT_S = 60.0
CLIENTS_OF_EACH = 2
WINDOW = 50
DEADLINE_S = 30


@contextlib.contextmanager
def clients(home: Path, timeout_s: float) -> Iterator[list[Client]]:
    """Clients that have written already."""
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(Client(home, timeout_s=timeout_s)) for _ in range(CLIENTS_OF_EACH)
        ]
        for client in opened:
            client.update_session_status("s", "running")
        yield opened


def write_blocking(client: Client, content: str) -> tuple[float, LuludbError | None]:
    """How long a write took and the error that it met, if any."""
    began_s = time.monotonic()
    try:
        client.append_message("s", "user", content)
    except LuludbError as error:
        return time.monotonic() - began_s, error
    return time.monotonic() - began_s, None


def write_pipelined(client: Client) -> list[BaseException | None]:
    """The errors that a window of writes met."""
    args = {"session_id": "s", "role": "user", "content": "pipelined"}
    futures = [client.submit("message.append", **args) for _ in range(WINDOW)]
    return [future.exception(PATIENT_S) for future in futures]


def test_a_foreign_writer_is_named_and_no_command_fails_before_its_own_timeout() -> None:
    with (
        running_daemon() as daemon,
        Client(daemon.home) as witness,
        ThreadPoolExecutor(4 * CLIENTS_OF_EACH) as pool,
    ):
        witness.create_session("n", "/w", id="s")
        with (
            clients(daemon.home, SHORT_S) as short,
            clients(daemon.home, LONG_S) as long,
            clients(daemon.home, PATIENT_S) as patient,
            clients(daemon.home, PATIENT_S) as pipelining,
        ):
            with foreign.holding_the_write_lock(daemon.home) as pid:
                windows = [pool.submit(write_pipelined, client) for client in pipelining]
                blocked = {
                    name: [pool.submit(write_blocking, client, name) for client in group]
                    for name, group in {"patient": patient, "long": long, "short": short}.items()
                }
                ended_long = [future.result(DEADLINE_S) for future in blocked["long"]]
                ended_short = [future.result(DEADLINE_S) for future in blocked["short"]]
                log = daemon.stderr()
                assert list(witness.list_messages("s")) == []
                assert not any(future.done() for future in (*windows, *blocked["patient"]))
            ended_patient = [future.result(DEADLINE_S) for future in blocked["patient"]]
            ended_windows = [future.result(DEADLINE_S) for future in windows]

        assert f"pid {pid} (" in log
        assert f") holds the write lock of {daemon.home / 'lulu.db'}" in log
        # A client begins to ask what became of a refused command a moment before its time is over.
        assert all(took_s >= LONG_S - ENDING_MARGIN_S_MAX for took_s, _ in ended_long)
        assert all(isinstance(error, Busy) for _, error in ended_long), ended_long
        assert all(took_s >= SHORT_S for took_s, _ in ended_short)
        assert all(isinstance(error, OutcomeUnknown) for _, error in ended_short), ended_short
        assert [error for _, error in ended_patient] == [None] * CLIENTS_OF_EACH
        assert ended_windows == [[None] * WINDOW] * CLIENTS_OF_EACH
        contents = [message.content for message in witness.list_messages("s")]
        assert contents.count("patient") == CLIENTS_OF_EACH
        assert contents.count("pipelined") == CLIENTS_OF_EACH * WINDOW
        assert contents.count("short") <= CLIENTS_OF_EACH  # its outcome was not known
        assert "long" not in contents
