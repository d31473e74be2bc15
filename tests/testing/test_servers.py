"""The servers that other tests stand on: they start, they crash, they come back, they die with their parent."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nats as nats_client
import psycopg
import pytest

from penstock.clock import SystemClock, new_id
from penstock.errors import ConfigError, ConnectorError
from penstock.testing import servers


def test_each_test_has_a_database_of_its_own(postgres_dsn: str) -> None:
    """A fresh database holds no table, and can do logical replication durably."""
    with psycopg.connect(postgres_dsn) as connection:
        tables = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()
        settings = connection.execute("select current_setting('wal_level'), current_setting('fsync')").fetchone()

    assert tables == (0,)
    assert settings == ("logical", "on")


def test_postgres_keeps_what_was_committed_through_a_crash() -> None:
    """A committed row is there after a crash and a start on the same port, and nothing is left after the end."""
    with servers.postgres() as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("create table kept (x int)")
            connection.execute("insert into kept values (7)")
        port = server.port
        server.crash()
        server.start()
        with psycopg.connect(server.dsn) as connection:
            row = connection.execute("select x from kept").fetchone()
        folder = server.folder

    assert row == (7,)
    assert server.port == port
    assert not folder.exists()
    with pytest.raises(ConnectorError):
        _ = server.pid


async def _publish(url: str, stream: str) -> int:
    client = await nats_client.connect(url)
    jetstream = client.jetstream()
    await jetstream.add_stream(name=stream, subjects=[f"{stream}.>"])
    sequence = (await jetstream.publish(f"{stream}.a", b"1")).seq
    await client.close()
    return sequence


def test_nats_has_jetstream(nats_url: str) -> None:
    """A message published to a stream is acknowledged with its number."""
    sequence = asyncio.run(_publish(nats_url, f"s{new_id()}"))

    assert sequence == 1


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_servers_die_with_their_parent(tmp_path: Path) -> None:
    """When the process that started a server is killed, the server ends too."""
    script = (
        "import sys, time\n"
        "from penstock.testing import servers\n"
        "with servers.nats() as server:\n"
        "    print(server.pid, server.folder, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        server_pid, folder = parent.stdout.readline().split()
        parent.send_signal(signal.SIGKILL)
    clock = SystemClock()
    while _runs(int(server_pid)):
        clock.sleep(0.02)

    shutil.rmtree(folder)


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a server is not installed, the error says what to install."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="no-such-server is not installed") as caught:
        servers.program_of("no-such-server", "some-package", [])

    assert "apt-get install some-package" in str(caught.value)
