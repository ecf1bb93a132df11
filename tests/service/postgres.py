"""A real PostgreSQL for the length of a test run, reached by a socket in a folder of its own."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, NullPool, create_engine

_START_S = 60.0
_CAREFREE = ("fsync=off", "full_page_writes=off", "listen_addresses=", "max_connections=100")


def program(name: str) -> str | None:
    """Find a program of PostgreSQL: Debian keeps them out of PATH, one folder a version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    return shutil.which(name, path=path)


class Postgres:
    """A running PostgreSQL that sorts text as dictionaries do, not by its bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # It refuses to run as root.
        self._as: dict[str, Any] = {"cwd": folder, "stderr": subprocess.PIPE, "text": True}
        if os.geteuid() == 0:
            account = _unprivileged()
            os.chown(folder, account.pw_uid, account.pw_gid)
            self._as |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        data = folder / "data"
        made = subprocess.run(
            [
                *(str(program("initdb")), "--pgdata", str(data), "--username", getpass.getuser()),
                *("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
                *("--locale-provider", "icu", "--icu-locale", "en"),
            ],
            stdout=subprocess.DEVNULL,
            check=False,
            **self._as,
        )
        assert made.returncode == 0, made.stderr
        with (data / "postgresql.conf").open("a") as configuration:
            lines = [*_CAREFREE, f"unix_socket_directories={folder}"]
            configuration.writelines(
                f"{name} = '{value}'\n" for name, value in (line.split("=") for line in lines)
            )
        self._log = (folder / "log").open("wb")
        self._process: subprocess.Popen[str]
        self.start()
        # No pool: a connection that is kept would outlive a stop, and fail whoever asks next.
        self._engine = create_engine(
            self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool
        )

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://{getpass.getuser()}@/{name}?host={self.folder}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(program("postgres")), "-D", str(self.folder / "data")],
            **{**self._as, "stderr": self._log},
        )
        engine = create_engine(self.url("postgres"))
        until_s = time.monotonic() + _START_S
        while not _answers(engine):
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until_s, (self.folder / "log").read_text()
            time.sleep(0.05)
        engine.dispose()

    def stop(self) -> None:
        """Stop at once, as a machine that is switched off does to its clients."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=_START_S)

    def create(self, name: str, template: str = "template0") -> str:
        """Create a database, empty or as a copy of one that nobody is using; returns its URL."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def close(self) -> None:
        self.stop()
        self._log.close()


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    # Not below pytest's own folder, which other accounts may not enter.
    folder = Path(tempfile.mkdtemp(prefix="circumplex-postgres-"))
    try:
        postgres = Postgres(folder)
        try:
            yield postgres
        finally:
            postgres.close()
    finally:
        shutil.rmtree(folder)


def _answers(engine: Engine) -> bool:
    try:
        engine.connect().close()
    except Exception:  # noqa: BLE001 - whatever it says while it starts
        return False
    return True


def _unprivileged() -> pwd.struct_passwd:
    accounts = {account.pw_name: account for account in pwd.getpwall()}
    return next(accounts[name] for name in ("postgres", "nobody") if name in accounts)
