"""Real servers for tests and benchmarks: PostgreSQL and NATS, on a free loopback port, in a folder of their own.

Each server is a child of this process and dies with it. `crash` ends a server as a power cut would, `start` brings it
back on the same port with the same data. Needs the servers' programs (Debian: `postgresql`, `nats-server`), no client.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from penstock.clock import Clock, SystemClock, new_id
from penstock.errors import ConfigError, ConnectorError

__all__ = [
    "HOST",
    "Account",
    "NatsServer",
    "PostgresServer",
    "Server",
    "free_port",
    "nats",
    "new_folder",
    "postgres",
    "program_of",
    "running",
]

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
PORT_TRIES = 5
HOST = "127.0.0.1"


def free_port() -> int:
    """A loopback port that nobody listens on now. Somebody else may take it before you do: be ready to try again."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def program_of(name: str, package: str, folders: Sequence[Path]) -> Path:
    """Where a server's program is: on the PATH, or the last of `folders` that has it. Raises ConfigError."""
    found = shutil.which(name)
    if found:
        return Path(found).resolve()
    for folder in reversed(folders):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"{name} is not installed", hint=f"apt-get install {package} (as root), or `make test`")


def _version_of(folder: Path) -> tuple[int, ...]:
    """The version in `/usr/lib/postgresql/15/bin`, for sorting."""
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system's user that a server runs as. PostgreSQL refuses to be root."""

    uid: int
    gid: int

    @classmethod
    def choose(cls) -> Account:
        """This user; or, for root, the one that the server's package made, or `nobody`."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        for name in ("postgres", "nobody"):
            if name in known:
                return cls(known[name].pw_uid, known[name].pw_gid)
        raise ConfigError("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it")

    def command(self, arguments: Sequence[str], *, dies_with_us: str | None = None) -> list[str]:
        """`arguments` run by this user; with the signal to get when the thread that starts them dies, on Linux."""
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            return list(arguments)
        prefix = [setpriv]
        if os.geteuid() != self.uid:
            prefix += [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        if dies_with_us:
            prefix += ["--pdeathsig", dies_with_us]
        return [*prefix, *arguments] if len(prefix) > 1 else list(arguments)

    def own(self, folder: Path) -> None:
        """Make a folder and give it to this user."""
        folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(folder, self.uid, self.gid)


class Server(ABC):
    """One server process and its folder. Life: `start` -> (`crash` or `stop` -> `start`)* -> `stop`."""

    name: str
    stop_signal: signal.Signals
    crash_signal: signal.Signals

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._clock = clock or SystemClock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server. Raises ConnectorError where it does not run."""
        if self._process is None:
            raise ConnectorError(f"{self.name} does not run")
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has said so far."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @abstractmethod
    def _command(self) -> list[str]:
        """The program and its arguments, for the port as it is now."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether clients can come."""

    def start(self) -> None:
        """Run the server on its port and return when clients can come. Raises ConnectorError with its log."""
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for the tests; they stop the server in their own order
            )
        deadline_s = self._clock.stopwatch_s() + START_TIMEOUT_S
        while not self._is_ready():
            ended = self._process.poll() is not None
            if ended or self._clock.stopwatch_s() > deadline_s:
                self.stop()
                raise ConnectorError(
                    f"{self.name} {'ended' if ended else 'was not ready'} on port {self.port}:\n{self.log[-2000:]}"
                )
            self._clock.sleep(0.02)

    def start_on_free_port(self) -> None:
        """`start`, on another port where somebody took ours in between."""
        for _ in range(PORT_TRIES - 1):
            try:
                return self.start()
            except ConnectorError:
                if "address already in use" not in self.log.lower():
                    raise
                self.port = free_port()
        return self.start()

    def stop(self) -> None:
        """End the server in good order. Does nothing where it does not run."""
        self._end(self.stop_signal)

    def crash(self) -> None:
        """End the server without order: what it had not made durable is gone."""
        self._end(self.crash_signal)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class PostgresServer(Server):
    """A PostgreSQL server that keeps its promises: fsync on, and logical replication possible.

    Give `settings` to change any (`{"max_connections": "10"}`). It listens on the loopback address, with a password of
    its own, and on a socket in its folder.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends sessions, writes a checkpoint
    crash_signal = signal.SIGQUIT  # "immediate": as after a power cut, the log is replayed at the next start
    user = "penstock"

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None, clock: Clock | None = None) -> None:
        super().__init__(folder, clock=clock)
        packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version_of)
        self._program = program_of("postgres", "postgresql", packaged)
        self._account = Account.choose()
        self.password = new_id()
        self.data = folder / "data"
        self.settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": str(folder),
            "wal_level": "logical",
            "max_wal_senders": "20",
            "max_replication_slots": "20",
            "max_connections": "100",
            "shared_buffers": "64MB",
            "fsync": "on",
            "synchronous_commit": "on",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **(settings or {}),
        }
        self._account.own(folder)

    @property
    def dsn(self) -> str:
        """How to connect as the superuser, to the database `postgres`."""
        return self.dsn_of("postgres")

    def dsn_of(self, database: str) -> str:
        """How to connect as the superuser, to a database of that name."""
        return f"postgresql://{self.user}:{self.password}@{HOST}:{self.port}/{database}"

    def create(self) -> None:
        """Write an empty cluster into the folder. Once, before the first `start`."""
        secret = self.folder / "password"
        secret.write_text(self.password)
        os.chown(secret, self._account.uid, self._account.gid)
        arguments = [
            str(self._program.with_name("initdb")),
            f"--pgdata={self.data}",
            f"--username={self.user}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
        done = subprocess.run(
            self._account.command(arguments), cwd=self.folder, capture_output=True, text=True, check=False
        )
        secret.unlink()
        if done.returncode != 0:
            raise ConnectorError(f"initdb failed: {done.stderr or done.stdout}")

    def start(self) -> None:
        """As `Server.start`. What a crashed server left must not look like a ready one."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        super().start()

    def _command(self) -> list[str]:
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        return self._account.command(
            [str(self._program), "-D", str(self.data), "-p", str(self.port), *options], dies_with_us="INT"
        )

    def _is_ready(self) -> bool:
        # The eighth line of this file says what the server is doing: "starting", "ready", "stopping".
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"  # noqa: PLR2004 - see above


class NatsServer(Server):
    """A NATS server with JetStream, which keeps its streams in files in the folder."""

    name = "nats-server"
    stop_signal = signal.SIGINT
    crash_signal = signal.SIGKILL

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        super().__init__(folder, clock=clock)
        self._program = program_of("nats-server", "nats-server", [Path("/usr/sbin"), Path("/usr/local/bin")])
        folder.mkdir(mode=0o700, exist_ok=True)

    @property
    def url(self) -> str:
        """How to connect."""
        return f"nats://{HOST}:{self.port}"

    def _command(self) -> list[str]:
        config = self.folder / "nats.conf"
        store = json.dumps(str(self.folder / "jetstream"))
        config.write_text(
            f"host: {HOST}\nport: {self.port}\n"
            f"jetstream {{ store_dir: {store}, max_memory_store: 256MB, max_file_store: 4GB }}\n"
        )
        account = Account(os.geteuid(), os.getegid())
        return account.command([str(self._program), "-c", str(config)], dies_with_us="INT")

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1.0) as connection:
                return connection.makefile("rb").readline().startswith(b"INFO ")
        except OSError:
            return False


def new_folder(name: str) -> Path:
    """A new folder for a server."""
    # Under the system's folder for temporary files: a socket's path may have 107 bytes, and the server's user must be
    # able to get there.
    return Path(tempfile.mkdtemp(prefix=f"penstock-{name}-"))


ServerT = TypeVar("ServerT", bound="Server")


@contextmanager
def running(name: str, make: Callable[[Path], ServerT]) -> Iterator[ServerT]:
    """A server that `make` makes in a new folder; started, and stopped and removed at the end.

    Raises ConfigError where it is not installed, ConnectorError where it does not start.
    """
    folder = new_folder(name)
    try:
        server = make(folder)
        server.start_on_free_port()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """A running PostgreSQL server with an empty cluster. Raises as `running`."""

    def made(folder: Path) -> PostgresServer:
        server = PostgresServer(folder, settings=settings)
        server.create()
        return server

    with running("postgres", made) as server:
        yield server


@contextmanager
def nats() -> Iterator[NatsServer]:
    """A running NATS server with JetStream and no streams. Raises as `running`."""
    with running("nats", NatsServer) as server:
        yield server
