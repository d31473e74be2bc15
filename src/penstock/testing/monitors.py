"""Real Prometheus and Alertmanager for tests, on free loopback ports. See `penstock.testing.servers`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.errors import ConnectorError
from penstock.testing.servers import HOST, Account, Server, program_of, running

__all__ = ["AlertmanagerServer", "PrometheusServer", "alertmanager", "prometheus", "promtool"]

_ANSWER_S = 30.0


class _Web(Server):
    """A server that is spoken to by HTTP and says at a path when it is ready."""

    stop_signal = signal.SIGTERM
    crash_signal = signal.SIGKILL

    @property
    def url(self) -> str:
        """How to speak to it."""
        return f"http://{HOST}:{self.port}"

    def get(self, path: str, **query: str) -> Any:
        """The JSON of an answer. Raises OSError."""
        address = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=_ANSWER_S) as answer:  # noqa: S310 - our own loopback server
            return json.load(answer)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1.0) as answer:  # noqa: S310 - as above
                return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's OK
        except OSError:
            return False

    def _by_us(self, command: list[str]) -> list[str]:
        return Account(os.geteuid(), os.getegid()).command(command, dies_with_us="KILL")


class PrometheusServer(_Web):
    """A Prometheus with the configuration `config` (text of `prometheus.yml`; relative paths are in its folder)."""

    name = "prometheus"

    def __init__(self, folder: Path, config: str = "") -> None:
        super().__init__(folder)
        self._program = program_of("prometheus", "prometheus", [])
        self.data = folder / "data"
        (folder / "prometheus.yml").write_text(config, encoding="utf-8")

    def _command(self) -> list[str]:
        return self._by_us(
            [
                str(self._program),
                f"--config.file={self.folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.data}",
                "--storage.tsdb.retention.time=10y",
                f"--web.listen-address={HOST}:{self.port}",
            ]
        )


class AlertmanagerServer(_Web):
    """An Alertmanager with the configuration `config` (text of `alertmanager.yml`)."""

    name = "alertmanager"

    def __init__(self, folder: Path, config: str) -> None:
        super().__init__(folder)
        self._program = program_of("prometheus-alertmanager", "prometheus-alertmanager", [])
        (folder / "alertmanager.yml").write_text(config, encoding="utf-8")

    def _command(self) -> list[str]:
        return self._by_us(
            [
                str(self._program),
                f"--config.file={self.folder / 'alertmanager.yml'}",
                f"--storage.path={self.folder / 'data'}",
                f"--web.listen-address={HOST}:{self.port}",
                "--cluster.listen-address=",
            ]
        )


def promtool(*arguments: str, folder: Path) -> str:
    """What promtool says. Raises ConnectorError where it finds a fault."""
    command = [str(program_of("promtool", "prometheus", [])), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConnectorError(f"promtool {arguments[0]} failed: {done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def prometheus(
    config: str = "", *, files: Mapping[str, str] | None = None, samples: str = ""
) -> Iterator[PrometheusServer]:
    """A running Prometheus. `files`: texts by name, laid beside its configuration. `samples`: OpenMetrics with times,
    which it knows from the start. Raises as `penstock.testing.servers.running`.
    """

    def made(folder: Path) -> PrometheusServer:
        for name, text in (files or {}).items():
            (folder / name).write_text(text, encoding="utf-8")
        if samples:
            (folder / "samples.txt").write_text(samples, encoding="utf-8")
            promtool("tsdb", "create-blocks-from", "openmetrics", "samples.txt", "data", folder=folder)
        return PrometheusServer(folder, config)

    with running("prometheus", made) as server:
        yield server


@contextmanager
def alertmanager(config: str) -> Iterator[AlertmanagerServer]:
    """A running Alertmanager. Raises as `penstock.testing.servers.running`."""
    with running("alertmanager", lambda folder: AlertmanagerServer(folder, config)) as server:
        yield server
