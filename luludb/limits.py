"""Every bound on a queue, a frame, a batch, a loop or a wait, with its unit in its name."""

from __future__ import annotations

from typing import Final

# What a request may hold. These are part of the wire protocol.
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
TRANSPORT_FRAME_BYTES_MAX: Final = 17 * 1024 * 1024  # above this ZeroMQ drops the connection
FRAME_COMMANDS_MAX: Final = 10_000  # those inside transactions counted
TRANSACTION_COMMANDS_MAX: Final = 10_000
PIPELINE_COMMANDS_MAX: Final = 256
AT_ONCE_COMMANDS_MIN: Final = 4  # of a run in a transaction; fewer are looked at one by one
CONTAINER_ELEMENTS_MAX: Final = 65_536  # of any list or map in a frame
CONTAINERS_MAX: Final = 100_000  # lists and maps in a frame; 10,000 commands have 20,002
NESTING_DEPTH_MAX: Final = 32  # maps and lists inside args that are looked at by recursion
INTEGER_MAX: Final = 2**53 - 1
CLIENT_ID_BYTES: Final = 16

# What a reply may hold.
REPLY_BYTES_MAX: Final = 1024 * 1024
PIPELINE_REPLY_BYTES_MAX: Final = 16 * 1024 * 1024
REFUSAL_BYTES_MAX: Final = 1024  # what a refusal takes in a pipeline's reply, at the most
MESSAGE_EXCERPT_CHARACTERS_MAX: Final = 80  # of a value that an error message quotes
DATABASE_ERROR_CHARACTERS_MAX: Final = 160  # of what SQLite says, that an error message quotes

# What a client may have under way.
WINDOW_COMMANDS_MAX: Final = 256
WINDOW_REPLY_BYTES_MAX: Final = 32 * 1024 * 1024

# Texts, in characters.
NAME_CHARACTERS_MAX: Final = 4096
LABEL_CHARACTERS_MAX: Final = 64  # status and role
ID_CHARACTERS_MAX: Final = 128

# The daemon's sockets and batches.
SOCKET_QUEUE_MESSAGES_MAX: Final = 512
SOCKET_BACKLOG_CONNECTIONS_MAX: Final = 1024
SOCKET_LINGER_MS: Final = 1000
DRAIN_BYTES_MAX: Final = 32 * 1024 * 1024
DRAIN_FRAMES_MAX: Final = 1024
TURN_CLIENTS_MIN: Final = 8  # fewer that wait for an answer are not worth a COMMIT of their own
RING_COMMITS_MAX: Final = 4  # that are rung for together, while the next one waits already
BATCH_COMMANDS_MAX: Final = (
    10_000  # a frame is never split, so a batch ends at most one frame later
)
CLIENTS_IN_MEMORY_MAX: Final = 4096
KEPT_CHUNKS_MAX: Final = 1024  # rows of kept replies a client, see tables.ledger
CHANGES_TRIMMED_MIN: Final = 10_000  # rows of lulu_changes that one batch may delete, at the least

# The daemon's waits.
POLL_MS_MAX: Final = 3000
LOOK_MS_MAX: Final = 0.2  # for frames that are expected at once, before the daemon sleeps
FRAMES_WERE_WAITING_MS_MAX: Final = 0.1  # a poll that takes longer had to wait for the first frame
LOCK_WAIT_MS_MAX: Final = 5000  # for a foreign writer's lock: busy_timeout
LOCK_RETRY_MS_MAX: Final = 20
STOP_DRAIN_MS_MAX: Final = 300
STOP_QUIET_MS: Final = 50  # without a frame, then all that was sent before the stop has arrived
SOCKET_LET_GO_S_MAX: Final = 1.0  # in which a daemon that was killed is rid of its sockets
SOCKET_LET_GO_POLL_S: Final = 0.01  # between looks whether it is
CHECKPOINT_PAGES_MIN: Final = 1000
CHECKPOINT_COMMITS_MIN: Final = 4  # of the size of the last one
JOURNAL_BYTES_KEPT_MAX: Final = 64 * 1024 * 1024
GUARD_S: Final = 3  # between looks at the files and the log
LOCK_WAIT_LOGGED_MS: Final = 500
LOCK_WAIT_AGAIN_MS_MAX: Final = 250  # for a lock that was just waited for in vain
LOCK_FORGOTTEN_S: Final = 1  # after that the next wait is a full one again
WAL_BYTES_SHRUNK_MIN: Final = 16 * 1024 * 1024  # above this an unused log is emptied
WAL_WARNING_S: Final = 60  # between warnings
HOUSEKEEPING_S: Final = 3600  # of running time, between looks for clients to forget
CLIENTS_FORGOTTEN_MAX: Final = 100  # a look
NOTIFY_S_MAX: Final = 1.0  # for systemd to take the word that the daemon serves
FIGURES_WINDOW_S: Final = 60
RUNNING_TIME_WRITTEN_S: Final = 60

# The daemon's log.
LOGGED_AGAIN_S: Final = 60  # between lines of one kind, where anyone could cause many

# A daemon in the background.
BACKGROUND_POLL_S: Final = 0.02  # between looks whether it answers, or is gone
START_REASON_BYTES_MAX: Final = 64 * 1024  # of its log that are read for why it did not start
COMPACT_PAGES_MAX: Final = 10_000  # that one request may ask to give back
COMPACT_STEP_PAGES: Final = 8  # between two looks at the clock
COMPACT_MS_MAX: Final = 5  # for which one request moves pages while others wait

# The client's waits and pages.
CLIENT_TIMEOUT_S: Final = 10.0
CLIENT_TIMEOUT_S_MAX: Final = 1_000_000.0
RESEND_S: Final = 2.0  # without an answer, the oldest frame is sent again
RETRY_PAUSE_S_MIN: Final = 0.005
RETRY_PAUSE_S_MAX: Final = 0.1
CONNECT_PAUSE_S_MIN: Final = 0.002
CONNECT_PAUSE_S_MAX: Final = 0.05
GREETING_S_MAX: Final = 7.0  # longer than LOCK_WAIT_MS_MAX, or `busy` would come too late
ALONE_MS_MAX: Final = 50  # for which a blocking call keeps other threads out
POLL_S_MAX: Final = 3600.0  # of a client that waits for nothing in particular
RECEIVE_BYTES_MAX: Final = 64 * 1024  # at once
ENDING_MARGIN_S_MAX: Final = 1.0
CALLBACKS_S_MAX: Final = 1.0  # for which `close` waits for them at the least, where they take long
UNANSWERED_FRAMES_MAX: Final = 2  # before what waits is collected into one frame
COLLECTED_COMMANDS_MIN: Final = 64  # that many are sent all the same
OVERDUE_FRAMES_MAX: Final = 4  # unanswered for RESEND_S; then the connection is given up
MESSAGE_FRAMES_MAX: Final = 16  # of one message from the daemon
CLIENT_FRAME_BYTES_MAX: Final = (
    1024 * 1024
)  # of a pipeline frame that the client makes of several commands
CLIENT_BYTES_MAX: Final = 32 * 1024 * 1024  # of commands in line
READ_PAGE_ROWS_MAX: Final = 256
READ_PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
READ_ATTEMPTS_MAX: Final = 5
READ_CONNECTIONS_IDLE_MAX: Final = 8
READ_BUSY_TIMEOUT_MS: Final = 5000
WATCH_LOOK_S: Final = 1.0  # between looks of a watcher for whom nothing rings
WATCH_SETTLE_S: Final = 0.01  # in which a daemon that is not busy takes in a subscription
WATCH_FAILING_S_MAX: Final = 10.0  # of looks that fail, before the watcher raises why
WATCH_PAGE_ROWS_MAX: Final = 1000  # a row has two ids at the most, and so 1.2 KB
WATCH_SCANNED_CHANGES_MAX: Final = 10_000  # of all sessions, that one look passes over
ASYNC_READ_THREADS_MAX: Final = 4  # threads of an AsyncClient
ASYNC_WATCH_READ_S_MAX: Final = 0.25  # for which `AsyncClient.watch` holds its event loop

# What the command line shows.
CHANGES_SHOWN: Final = 10  # by `tail`, of those that are there
LOG_LINES_SHOWN: Final = 50  # by `service logs`
SESSIONS_SHOWN_MAX: Final = 10  # by a dry run of `prune`
FACE_ANSWER_S_MAX: Final = 2.0  # that `luludb` alone waits for an answer of the daemon
FACE_MESSAGES_COUNTED_MAX: Final = 1_000_000  # by `luludb` alone; that takes 50 ms
TOP_LOOK_S: Final = 1.0  # between looks of `top`
TOP_WINDOW_S: Final = 5.0  # in which it looks for the busiest
TOP_ANSWER_S_MAX: Final = 2.0  # that one look of `top` waits for the daemon, and for a lock
TOP_CHANGES_LOOKED_MAX: Final = 10_000  # by one look, of those since the last one
TOP_CHUNKS_LOOKED_MAX: Final = 5000  # of kept replies, by one look
TOP_SESSIONS_MAX: Final = 100  # of one look
TOP_SHOWN_MAX: Final = 20  # of the busiest sessions, and of the busiest clients
COMPLETED_SESSIONS_MAX: Final = 50  # offered by the shell's completion
COMPLETED_S_MAX: Final = 1.0  # for which the completion waits for a lock
NAME_CHARACTERS_SHOWN_MIN: Final = 8  # of a name in a table on a narrow terminal

# What `doctor` waits for and looks at.
DOCTOR_ANSWER_S_MAX: Final = 6.0  # longer than LOCK_WAIT_MS_MAX, for which a daemon stands still
DOCTOR_CHECKED_BYTES_MAX: Final = 1024 * 1024 * 1024  # of a database that is checked unasked
DOCTOR_DAMAGE_LINES_MAX: Final = 5
DOCTOR_LOOK_S: Final = 0.1  # between looks at who holds a lock
DOCTOR_LOOK_ATTEMPTS_MAX: Final = 4  # a lock that is there in each of them is not passing
DOCTOR_COMMAND_S_MAX: Final = 2.0  # of `systemctl` and its like
DISK_FREE_BYTES_MIN: Final = 64 * 1024 * 1024
DISK_FREE_FILES_MIN: Final = 100
CLOCK_AHEAD_S_MAX: Final = 60
FREE_PAGES_BYTES_MIN: Final = 64 * 1024 * 1024  # below that `compact` would win little

# A service manager.
SERVICE_LOOK_S: Final = 0.05  # between looks whether the daemon answers, or is gone
SERVICE_STOP_S_MAX: Final = 70.0  # longer than the manager itself waits before it kills

# Files.
SOCKET_PATH_BYTES_MAX_LINUX: Final = 107
SOCKET_PATH_BYTES_MAX_MACOS: Final = 103
COPY_PAGES_MAX: Final = 256  # of a database that is copied, between two looks at the progress
FILE_CHUNK_BYTES: Final = 1024 * 1024  # of a file that is read in pieces
DISCOVERY_BYTES_MAX: Final = 64 * 1024
LOG_FILE_BYTES_MAX: Final = 4 * 1024 * 1024
LOG_FILES_KEPT_MAX: Final = 5  # the one that is written included
PRUNE_MESSAGES_MAX: Final = 100  # deleted by one command; others wait some 10 ms for it
PRUNE_BYTES_MAX: Final = 1024 * 1024  # of the messages that one command deletes
PRUNE_PAUSE_S_MAX: Final = 0.05  # between commands, for others
PRUNE_AGE_DAYS_MAX: Final = 36_500
COMPACT_PAUSE_S: Final = 0.02  # between requests, for others
COMPACT_ROWS_SHOWN: Final = 10_000  # compared, between two looks at the progress
COMPACT_CHECKPOINT_S_MAX: Final = 2.0  # in which the file gets shorter, where nobody reads
DAMAGE_ATTEMPTS_MAX: Final = 100_000  # past one damaged place of a file that is imported; 2 s
IMPORT_LINE_BYTES_MAX: Final = 6 * FRAME_BYTES_MAX  # JSON writes a control character in six bytes
IMPORT_CHUNK_ROWS_MAX: Final = 1000  # of one transaction; others wait some 15 ms for it
IMPORT_CHUNK_CHARACTERS_MAX: Final = 1024 * 1024
IMPORT_CHUNK_BYTES_MAX: Final = 8 * 1024 * 1024  # above that, by one large row, each goes alone
LINES_SHOWN_MAX: Final = 20  # of those that an import refused; --json has them all
