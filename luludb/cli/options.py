"""Options that many commands have: where the home is, how long to wait, and JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from luludb.home import Home, find_home, refuse_closed
from luludb.limits import CLIENT_TIMEOUT_S, CLIENT_TIMEOUT_S_MAX

if TYPE_CHECKING:
    from luludb_client import Client

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any] | click.Command)


@dataclass(slots=True)
class Target:
    """Which luludb a command speaks to; of the levels of the command line the last one wins."""

    home_path: str | None = None
    timeout_s: float = CLIENT_TIMEOUT_S

    @property
    def home(self) -> Home:
        """The home, for what has to enter it.

        Raises:
            LuludbError: this user may not.
        """
        home = self.named_home
        refuse_closed(home)
        return home

    @property
    def named_home(self) -> Home:
        """The home, for what says itself how things are with it."""
        return find_home(self.home_path)

    def client(self) -> Client:
        """A client of this home, to be closed by the caller."""
        from luludb_client import Client

        return Client(self.home.path, timeout_s=self.timeout_s)

    def writer(self) -> Client:
        """The same for a command that writes, and so waits for a daemon where there is none."""
        from luludb.cli.waiting import tell_of_a_wait

        tell_of_a_wait(self.home, self.timeout_s)
        return self.client()


pass_target = click.make_pass_decorator(Target, ensure=True)


def target_options(decorated: _Decorated) -> _Decorated:
    """Add `--home` and `--timeout`, whose values go to the `Target` and not to the function."""
    timeout = click.option(
        "--timeout",
        type=float,
        metavar="SECONDS",
        expose_value=False,
        callback=_set_timeout,
        help=f"How long to wait for the daemon.  [default: {CLIENT_TIMEOUT_S:g}]",
    )
    home = click.option(
        "--home",
        type=click.Path(file_okay=False),
        expose_value=False,
        callback=_set_home,
        help="The directory that holds the database.  [default: $LULUDB_HOME, or the user's"
        " data directory]",
    )
    return home(timeout(decorated))


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _set_home(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Target).home_path = value


def _set_timeout(context: click.Context, parameter: click.Parameter, value: float | None) -> None:
    if value is None:
        return
    if not 0 < value <= CLIENT_TIMEOUT_S_MAX:  # so NaN is refused as well
        raise click.BadParameter(
            f"found {value}; allowed is a number of seconds above 0 and up to"
            f" {CLIENT_TIMEOUT_S_MAX:,.0f}",
            context,
            parameter,
        )
    context.ensure_object(Target).timeout_s = value
