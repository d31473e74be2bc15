"""A version's own packages: a virtual environment for each lock, made by uv, in `envs/` of an environment's folder.

Its own packages come first on the path, those of the Python that runs Penstock behind them: so a lock names what the
flow needs, and Penstock need not be in it. Two versions with one lock share one.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from penstock.clock import new_id
from penstock.control.bundle_files import requirement_files
from penstock.control.bundles import Bundle
from penstock.errors import ConfigError

__all__ = ["ENVS", "python_of"]

ENVS = "envs"
_READY = "penstock-ready.json"
_PATIENCE_S = 3600
_SHOWN_LINES = 12
_PENSTOCK = Path(__file__).resolve().parents[2]


def python_of(bundle: Bundle) -> Path:
    """The Python to run a version with: this one, or that of its own environment, which is made where it is missing.

    Making it takes as long as installing the packages. Raises ConfigError where uv is not there, or says no.
    """
    lock = bundle.lock
    if lock is None:
        return Path(sys.executable)
    folder = bundle.folder.parent.parent / ENVS / _name(lock, bundle.code)
    if not (folder / _READY).is_file():
        uv = _uv()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _alone(folder.with_name(f".{folder.name}.lock")):
                if not (folder / _READY).is_file():
                    _make(folder, lock, bundle, uv)
        except OSError as error:
            raise ConfigError(
                f"the packages of version {bundle.id} can't be installed: {error.filename or folder}: {error.strerror}",
                flow=bundle.flow,
                state_left="nothing was changed",
                hint="free space, or correct the permissions of the environment's folder",
            ) from error
    return _python(folder)


def _name(lock: Path, code: Path) -> str:
    """Over all that decides what is in it: the lock, the files that it names, Python, and where Penstock is."""
    code = code.resolve()
    parts = [platform.python_version(), sysconfig.get_platform(), *_behind()]
    for path in sorted(requirement_files(lock, code)):
        parts += [path.relative_to(code).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _behind() -> list[str]:
    """The folders that come behind an environment's own packages."""
    installed = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return list(dict.fromkeys([str(_PENSTOCK), *installed]))


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _uv() -> list[str]:
    """How uv is called: as a program beside this Python or on the path, or as a module."""
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.is_file() else shutil.which("uv")
    if program is not None:
        return [program]
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    raise ConfigError(
        "the project pins its packages, and uv, which installs them for each version, is not there",
        state_left="nothing was changed",
        hint=f'install it: {sys.executable} -m pip install uv; or set lock = "" in [project] to run with the packages '
        "of this Python",
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time makes an environment; others wait for it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(folder: Path, lock: Path, bundle: Bundle, uv: Sequence[str]) -> None:
    """Install into a folder of another name, which gets its own when all is there."""
    staged = folder.with_name(f".{folder.name}.{new_id()[:8]}.tmp")
    try:
        _run([*uv, "venv", "--quiet", "--no-project", "--relocatable", "--python", sys.executable, str(staged)], bundle)
        wanted = lock
        if lock.name == "uv.lock":
            wanted = staged / "requirements.txt"
            export = ["export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--format", "requirements-txt"]
            _run([*uv, *export, "--project", str(lock.parent), "--output-file", str(wanted)], bundle)
        python = _python(staged)
        _run([*uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(wanted)], bundle)
        site = Path(
            _run([str(python), "-P", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], bundle).strip()
        )
        (site / "_penstock.pth").write_text("".join(f"{path}\n" for path in _behind()))
        # -P: a module of the project that is called like one of Python's stands in nobody's way.
        _run([str(python), "-P", "-c", "import penstock.engine, penstock.control"], bundle)
        facts = {"lock": lock.name, "version": bundle.id, "python": platform.python_version()}
        (staged / _READY).write_text(json.dumps(facts))
        if folder.exists():  # half of one, from a process that died
            shutil.rmtree(folder)
        staged.rename(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _run(command: Sequence[str], bundle: Bundle) -> str:
    """Run one command in the project's folder, where a relative path in a lock leads. Raises ConfigError."""
    variables = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    try:
        done = subprocess.run(
            command,
            cwd=bundle.root,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(bundle, f"no end within {_PATIENCE_S} s", command) from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()[-_SHOWN_LINES:]
        raise _refused(bundle, "\n".join(lines), command)
    return done.stdout


def _refused(bundle: Bundle, said: str, command: Sequence[str]) -> ConfigError:
    error = ConfigError(
        f"the packages of version {bundle.id} ({bundle.manifest['lock']}) can't be installed: {said}",
        flow=bundle.flow,
        state_left="nothing was changed",
        hint=f"correct {bundle.manifest['lock']} and deploy again",
    )
    error.add_note(f"by {' '.join(command)}")
    return error
