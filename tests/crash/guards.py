"""The guards of the program, and for each the test that turns red where it is taken out."""

from __future__ import annotations

from typing import NamedTuple


class Guard(NamedTuple):
    """What is replaced to take a guard out, and the test that must then turn red."""

    name: str
    file: str
    text: str
    replacement: str
    test: str


WRITER = "luludb/daemon/writer.py"
EXACTLY_ONCE = "tests/system/test_exactly_once.py"
LONG_READER = (
    "tests/crash/test_long_reader.py"
    "::test_the_process_that_keeps_the_log_long_is_named_and_writes_go_on_once_it_left"
)
FOREIGN_WRITER = (
    "tests/crash/test_foreign_writer.py"
    "::test_a_foreign_writer_is_named_and_no_command_fails_before_its_own_timeout"
)
GUARDS = (
    Guard(
        "a repeated command gets its first reply and is not applied",
        WRITER,
        "if seq <= client.last_seq:\n                return self._repeat(client, item)",
        "if seq <= client.last_seq:\n                return self._apply(item, refusal)",
        f"{EXACTLY_ONCE}::test_a_command_sent_again_gets_the_same_bytes_and_is_applied_once",
    ),
    Guard(
        "other content under a used seq is refused",
        WRITER,
        "if digest != item.digest:",
        "if False:",
        f"{EXACTLY_ONCE}::test_other_content_is_sequence_reused_and_changes_nothing",
    ),
    Guard(
        "a gap holds back what is behind it",
        WRITER,
        "if seq != client.last_seq + 1:",
        "if False:",
        f"{EXACTLY_ONCE}::test_a_gap_holds_back_everything_behind_it",
    ),
    Guard(
        "frames left behind on an old connection are not applied",
        WRITER,
        "if client.connection != exchange.envelope[0]:",
        "if False:",
        "tests/unit/test_writer.py::test_frames_left_behind_on_an_old_connection_change_nothing",
    ),
    Guard(
        "the window is bounded",
        WRITER,
        "if seq - client.acked > WINDOW_COMMANDS_MAX:",
        "if False:",
        "tests/system/test_protocol_passing_errors.py::test_overloaded_above_a_window_of_256_commands",
    ),
    Guard(
        "kept replies are bounded",
        WRITER,
        "if not client.may_keep(WINDOW_REPLY_BYTES_MAX):",
        "if False:",
        "tests/system/test_protocol_passing_errors.py::test_overloaded_above_32_mebibytes_of_kept_replies",
    ),
    Guard(
        "a batch that was lost runs again one command at a time",
        WRITER,
        "if len(items) == 1 or isinstance(lost.refusal, Busy):",
        "if True:",
        "tests/unit/test_writer.py::test_a_full_disk_in_a_batch_costs_the_command_that_does_not_fit_and_what_follows_it",
    ),
    Guard(
        "appends at once, of which one is refused, are undone before each is looked at",
        "luludb/daemon/transaction.py",
        """            self._connection.execute("ROLLBACK TO appends")
""",
        "",
        "tests/unit/test_appends.py::test_a_pipeline_of_appends_does_what_its_commands_do_alone",
    ),
    Guard(
        "a pipeline left behind on an old connection is not applied at once",
        WRITER,
        "or client.connection != appends.exchange.connection",
        "or False",
        "tests/unit/test_appends.py::test_a_pipeline_of_appends_left_behind_on_an_old_connection_is_not_applied",
    ),
    Guard(
        "a pipeline is applied at once only in its place",
        WRITER,
        "appends.seq != client.last_seq + 1",
        "False",
        "tests/unit/test_appends.py::test_a_pipeline_of_appends_in_the_wrong_place_is_not_applied",
    ),
    Guard(
        "where there are triggers each append is looked at",
        "luludb/daemon/transaction.py",
        "if schema.has_triggers(self._connection):",
        "if False:",
        "tests/unit/test_appends.py::test_a_row_that_a_trigger_swapped_for_another_is_not_acknowledged_in_a_transaction_either",
    ),
    Guard(
        "the ledger is written in the data's own transaction",
        "luludb/daemon/group_commit.py",
        "        self.clients.write(self.running_s())\n",
        "",
        "tests/crash/test_kills.py::test_no_client_notices_that_the_daemon_is_killed_but_for_the_time",
    ),
    Guard(
        "a daemon asks for the lock before it touches anything",
        "luludb/home.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "tests/system/test_daemon_life.py::test_a_second_daemon_is_refused_naming_the_first_which_goes_on_unharmed",
    ),
    Guard(
        "a daemon by hand leaves the sockets of systemd alone",
        "luludb/daemon/loop.py",
        "            refuse_held_sockets(home)\n",
        "            pass\n",
        "tests/system/test_service.py"
        "::test_a_daemon_by_hand_is_refused_beside_sockets_of_systemd_and_they_stay",
    ),
    Guard(
        "files are private whatever the umask",
        "luludb/daemon/loop.py",
        "os.umask(0o077)",
        "pass",
        "tests/system/test_files.py::test_directories_are_0700_and_files_0600_whatever_the_umask",
    ),
    Guard(
        "a moved or replaced file stops the daemon",
        "luludb/daemon/guards.py",
        "if _identity(path) != opened:",
        "if False:",
        "tests/unit/test_guards.py::test_a_file_that_is_no_longer_the_one_opened_stops_the_daemon",
    ),
    Guard(
        "a commit at full waits for the disk",
        "luludb/daemon/connection.py",
        "'FULL' if full else 'NORMAL'",
        "'NORMAL' if full else 'NORMAL'",
        "tests/crash/test_power_cuts.py::test_at_full_no_acknowledged_commit_is_lost",
    ),
    Guard(
        "an I/O error at COMMIT stops the daemon without a reply",
        "luludb/daemon/writer.py",
        "raise storage_error(error) from error",
        "raise BatchLost(LuludbError(str(error))) from error",
        "tests/crash/test_syscalls.py::test_a_sync_that_fails_ends_the_daemon_without_a_reply",
    ),
    Guard(
        "replies to a peer that does not read are bounded",
        "luludb/daemon/sockets.py",
        "opened.set(zmq.SNDHWM, SOCKET_QUEUE_MESSAGES_MAX)",
        "opened.set(zmq.SNDHWM, 0)",
        "tests/fuzz/test_fuzz_daemon.py::test_clients_that_never_read_their_replies_hold_up_nobody_and_cost_bounded_memory",
    ),
    Guard(
        "a reply that finds no room in its peer's queue is noticed",
        "luludb/daemon/sockets.py",
        "self._router.set(zmq.ROUTER_MANDATORY, 1)",
        "self._router.set(zmq.ROUTER_MANDATORY, 0)",
        "tests/system/test_daemon_life.py::test_a_peer_that_never_reads_is_spoken_of_and_finds_its_replies_kept",
    ),
    Guard(
        "the limit on open files is raised",
        "luludb/daemon/loop.py",
        "            raise_open_files_limit()\n",
        "",
        "tests/system/test_open_files.py::test_the_limit_is_raised_as_far_as_it_may_be",
    ),
    Guard(
        "the log is bounded",
        "luludb/daemon/checkpoints.py",
        "if self.wal_bytes_min < self._wal_bytes_max:",
        "if True:",
        "tests/unit/test_checkpoints.py::test_a_log_at_its_bound_refuses_commands_until_the_reader_leaves",
    ),
    Guard(
        "commands are refused while the log is at its bound",
        "luludb/daemon/loop.py",
        "refusal or self._checkpoints.overload()",
        "refusal",
        LONG_READER,
    ),
    Guard(
        "who keeps the log long is named in the log",
        "luludb/daemon/checkpoints.py",
        "if wal_bytes > self._wal_bytes_max // 4 and",
        "if False and",
        LONG_READER,
    ),
    Guard(
        "a log that grew long is emptied once nobody reads it",
        "luludb/daemon/loop.py",
        "                self._checkpoints.shrink()\n",
        "",
        LONG_READER,
    ),
    Guard(
        "who holds the write lock is named in the log",
        "luludb/daemon/connection.py",
        "if waited_ms >= LOCK_WAIT_LOGGED_MS and not self._logged:",
        "if False:",
        FOREIGN_WRITER,
    ),
    Guard(
        "a lock that goes on being held is only looked at",
        "luludb/daemon/connection.py",
        "self._wait_ms = LOCK_WAIT_AGAIN_MS_MAX if kept else LOCK_WAIT_MS_MAX",
        "self._wait_ms = LOCK_WAIT_MS_MAX",
        FOREIGN_WRITER,
    ),
    Guard(
        "the files are looked at between COMMIT and the reply",
        "luludb/daemon/loop.py",
        "            self._files.check_places()\n",
        "            pass\n",
        "tests/system/test_files.py::test_nothing_is_acknowledged_once_a_file_was_removed",
    ),
    Guard(
        "what a frame holds is looked at before it is used",
        "luludb/wire.py",
        "[*map(type, elements[:6])] == _REQUEST_TYPES",
        "True",
        "tests/fuzz/test_fuzz_wire.py::test_a_request_with_one_element_of_any_kind_gets_one_answer",
    ),
    Guard(
        "a running time that no wall clock moves decides who is forgotten",
        "luludb/daemon/group_commit.py",
        "clock: Callable[[], float] = time.monotonic,",
        "clock: Callable[[], float] = time.time,",
        "tests/crash/test_clock.py::test_no_client_is_forgotten_because_of_the_wall_clock",
    ),
    Guard(
        "a stop takes what has arrived",
        "luludb/daemon/loop.py",
        "                self._answer_what_has_arrived(sockets)\n",
        "",
        "tests/system/test_daemon_life.py::test_what_had_arrived_before_the_signal_is_applied_and_answered",
    ),
    Guard(
        "a client sends again what was not answered",
        "clients/python/luludb_client/core.py",
        "and now_s >= flight.sent_s + RESEND_S",
        "and now_s < flight.sent_s",
        "tests/unit/test_core.py::test_without_an_answer_it_is_sent_again_by_the_timer",
    ),
    Guard(
        "another database is data loss",
        "clients/python/luludb_client/hello.py",
        "if self._database_id not in (None, hello.database_id):",
        "if False:",
        "tests/unit/test_core.py::test_lost_writes_end_the_client",
    ),
    Guard(
        "another database is data loss, however far it has gone",
        "clients/python/luludb_client/hello.py",
        "if self._database_id not in (None, hello.database_id):",
        "if False:",
        "tests/system/test_client_outages.py::test_another_database_is_data_loss_for_a_client_that_knew_the_first",
    ),
    Guard(
        "frames left behind on a connection that was given up are not applied",
        WRITER,
        "if client.connection != exchange.envelope[0]:",
        "if False:",
        f"{EXACTLY_ONCE}::test_frames_left_behind_on_a_connection_given_up_change_nothing",
    ),
    Guard(
        "a database that went back is data loss",
        "clients/python/luludb_client/hello.py",
        "if hello.last_rev < self._rev:",
        "if False:",
        "tests/unit/test_core.py::test_lost_writes_end_the_client",
    ),
    Guard(
        "a database that knows less of a client than it was told is data loss",
        "clients/python/luludb_client/hello.py",
        "if not hello.registered and hello.last_seq < self._seq:",
        "if False:",
        "tests/unit/test_core.py::test_lost_writes_end_the_client",
    ),
    Guard(
        "a backup sees one state",
        "luludb/admin/copying.py",
        '            connection.execute("BEGIN")\n',
        "",
        "tests/unit/test_copying.py"
        "::test_a_copy_ends_and_is_one_state_though_each_of_its_steps_meets_a_commit",
    ),
    Guard(
        "a restored database has its new id before it is in place",
        "luludb/admin/replacement.py",
        '    meta.write(connection, "database_id", new_random_id())\n',
        "",
        "tests/crash/test_restore_kills.py"
        "::test_a_kill_at_any_moment_leaves_the_old_database_or_the_new_one",
    ),
    Guard(
        "a restore after a failed sync writes the log again",
        "luludb/admin/restore.py",
        "            _write_log_again(connection, home)\n",
        "            pass\n",
        "tests/crash/test_restore_power.py"
        "::test_a_loss_of_power_leaves_the_old_database_or_the_new_one",
    ),
    Guard(
        "a watcher goes on behind what it was given",
        "clients/python/luludb_client/feed.py",
        "        self.rev = look.through_rev\n",
        "        self.rev = self.rev or 0\n",
        "tests/crash/test_watching.py"
        "::test_every_watcher_is_given_every_change_once_and_in_order_while_the_daemon_is_killed",
    ),
    Guard(
        "a change is found though nothing rang",
        "clients/python/luludb_client/feed.py",
        "self.due_s = min(now_s + WATCH_LOOK_S, self._settled_s)",
        "self.due_s = min(now_s + 3600, self._settled_s)",
        "tests/system/test_watch.py"
        "::test_where_nothing_rings_a_change_is_found_by_the_next_look_a_second_later",
    ),
)
