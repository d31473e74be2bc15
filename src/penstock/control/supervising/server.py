"""The server of one environment: the supervisor in its loop, until it is told to end."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from penstock.clock import Clock, SystemClock
from penstock.control.bundles import bundle_of
from penstock.control.ledgers import is_shared
from penstock.control.project import Environment
from penstock.control.supervising.crew import Code, Crew, Finder
from penstock.control.supervising.launching import COMMAND, Launcher
from penstock.control.supervising.presence import Presence
from penstock.control.supervising.processes import SystemProcesses
from penstock.control.supervising.supervisor import Duty, Settings, Supervisor
from penstock.control.version_environments import python_of
from penstock.errors import ConfigError, FlowBusy, PenstockError
from penstock.ledger import Event, Ledger

__all__ = ["Server", "find_versions"]

PAUSE_S = 0.2
LEASE_S = 5.0
_PYTHON_PATIENCE_S = 1.0


class _Versions:
    """Finds the code of a version, and its Python. Packages that have to be installed first hold up no other flow."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._makers = ThreadPoolExecutor(1, thread_name_prefix="penstock-packages")
        self._pythons: dict[str, Future[Path]] = {}

    def __call__(self, flow: str, version: str) -> Code:
        if not version:
            return Code(self._environment.root)
        bundle = bundle_of(self._environment, flow, version)
        if bundle.lock is None:
            return Code(self._environment.root)
        known = self._pythons.get(version)
        found = known or self._makers.submit(python_of, bundle)
        self._pythons[version] = found
        try:
            # What is installed already is there in a moment; nobody waits twice for what is not.
            python = found.result(_PYTHON_PATIENCE_S if known is None else 0.0)
        except TimeoutError:
            waits = ConfigError(f"the packages of version {version} are being installed", flow=flow)
            waits.heals = True
            raise waits from None
        except ConfigError:
            del self._pythons[version]
            raise
        return Code(self._environment.root, python=str(python))


def find_versions(environment: Environment) -> Finder:
    """The finder of an environment's versions; the version "" is the working tree."""
    return _Versions(environment)


class Server:
    """Runs the flows of an environment until `stop`. All that it knows is in the ledger; its death stops no flow."""

    def __init__(
        self,
        environment: Environment,
        ledger: Ledger,
        *,
        clock: Clock | None = None,
        settings: Settings | None = None,
        spares: int = 1,
        lease_s: float = LEASE_S,
        command: Sequence[str] = COMMAND,
        find: Finder | None = None,
        duties: Sequence[Duty] = (),
        tell: Callable[[str, str], None] = lambda _flow, _line: None,
    ) -> None:
        self.environment = environment
        self._ledger = ledger
        self._clock = clock or SystemClock()
        self._tell = tell
        self._processes = SystemProcesses()
        self._launcher = Launcher(
            self._processes,
            self._clock,
            folder=environment.folder,
            root=environment.root,
            spares=spares,
            command=command,
        )
        crew = Crew(
            ledger,
            environment,
            clock=self._clock,
            processes=self._processes,
            launcher=self._launcher,
            find=find or find_versions(environment),
        )
        self.presence = Presence(
            ledger.operations,
            self._clock,
            folder=environment.folder,
            env=environment.name,
            ttl_s=lease_s,
            alone=not is_shared(environment),
        )
        self.supervisor = Supervisor(
            crew, self.presence, self._launcher, clock=self._clock, settings=settings, duties=duties, tell=tell
        )
        self._ending = False
        self._stops_flows = False
        self._failed = ""

    def run(self) -> None:
        """Keep the flows until `stop`. Raises FlowBusy where another server is there and may not be waited for."""
        try:
            while not self._is_over():
                self._step()
                self._processes.wait(PAUSE_S)
        finally:
            self.close()

    def stop(self, *, flows: bool) -> None:
        """End the loop; with `flows`, stop all members cleanly before. Called from anywhere, signal handlers too.

        A second call without `flows` ends the waiting for members: they go on.
        """
        self._ending, self._stops_flows = True, flows
        self._processes.wake()

    def close(self) -> None:
        """Give everything back, the lease too. `run` does it at its end; may be called again."""
        self._launcher.close()
        self._leave()
        self._processes.close()

    @property
    def spares(self) -> tuple[int, ...]:
        """The process ids of the spares."""
        return self._launcher.spares

    def wake(self) -> None:
        """Look now instead of in a moment."""
        self._processes.wake()

    def listens_at(self, url: str) -> None:
        """Say in `server.json` where the server is reached."""
        self.presence.tell(url)

    def _is_over(self) -> bool:
        if not self._ending:
            return False
        if not self._stops_flows or not self.presence.leads:
            return True
        self.supervisor.close()
        try:
            return self.supervisor.is_empty
        except PenstockError:
            return False

    def _step(self) -> None:
        """A step; a ledger that is away, and even a bug, is told and tried again: flows must not depend on it."""
        try:
            self.supervisor.step()
            self._failed = ""
        except FlowBusy:
            raise
        except PenstockError as error:
            self._say_once(error.message)
        except Exception:
            self._say_once(f"a bug in Penstock, please report it:\n{traceback.format_exc()}")

    def _say_once(self, line: str) -> None:
        if line != self._failed:
            self._failed = line
            self._tell("", line)

    def _leave(self) -> None:
        try:
            if self.presence.leads:
                body = {"pid": self.presence.me.pid, "host": self.presence.me.host, "flows": self._stops_flows}
                self._ledger.operations.note(Event("server-ended", "", body, "", self._clock.now_us()))
            self.presence.leave()
        except PenstockError as error:
            self._say_once(error.message)
