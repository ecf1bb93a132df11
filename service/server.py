"""Running the service as a process: load, bind, announce, serve, stop."""

from __future__ import annotations

import logging
import logging.config
import signal
import socket
import sys

import uvicorn

from service.app import create_app
from service.errors import StartError
from service.live import LiveService
from service.settings import Settings

_BACKLOG = 512
_GRACE_S = 10
_IDLE_CONNECTION_S = 15


def serve(settings: Settings, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests under way and return.

    Everything is loaded before the port is opened; the address is then written to standard error.
    Port 0 takes a free one.

    Raises:
        StartError: the home folder cannot be served or the port cannot be had; one line says why.
    """
    _set_up_logging()
    live = LiveService(settings)
    try:
        listener = _listen(host, port)
    except StartError:
        live.close()
        raise
    config = uvicorn.Config(
        create_app(settings, live=live),
        access_log=False,  # the application writes its own line, with the request's id
        log_config=None,
        timeout_keep_alive=_IDLE_CONNECTION_S,
        timeout_graceful_shutdown=_GRACE_S,
        server_header=False,
    )
    # uvicorn stops gracefully and then raises the signal once more, for handlers from before it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    name = f"[{host}]" if ":" in host else host
    sys.stderr.write(f"Circumplex serves http://{name}:{listener.getsockname()[1]}\n")
    sys.stderr.flush()
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"{host} is no address to listen on: {error.strerror}") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another --port"
        ) from error
    return listener


def _set_up_logging() -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": "INFO", "handlers": ["stderr"]},
            "loggers": {"alembic": {"level": "WARNING"}},
        }
    )
