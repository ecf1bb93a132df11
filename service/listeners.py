"""Processes that hear uploads beside this one.

Threads that decode and encode side by side wait for the interpreter's lock half of the time: what
libraries do without it comes in pieces of a millisecond. So where somebody is being heard already,
a process of its own hears the next one. The processes are started when that first happens, and a
recording that comes alone is heard here, at no cost.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from models.audio import AudioError, AudioFault, Recording, decode
from models.bundle import Bundle, EncodedRecording, load_bundle
from models.processes import end_with_parent
from models.threads import single_threaded

_LARGEST_BYTES = 16_000_000  # what is larger is heard here, where it need not be in memory twice

logger = logging.getLogger(__name__)

Heard: TypeAlias = tuple[Recording, EncodedRecording]
"""A recording without its samples, and its windows encoded."""


class _Errand(NamedTuple):
    folder: Path
    bundle_id: str
    audio: bytes
    max_duration_s: float


class _Refused(NamedTuple):
    """What an :class:`models.audio.AudioError` says."""

    code: AudioFault
    detail: str


class _Failed(NamedTuple):
    reason: str


def hear_recording(bundle: Bundle, audio: BinaryIO | bytes, max_duration_s: float) -> Heard:
    """Decode an upload and encode it.

    Raises:
        models.audio.AudioError: it is no usable recording.
    """
    recording = decode(audio, rate_hz=bundle.hearing_rate_hz, max_duration_s=max_duration_s)
    return recording.without_samples(), bundle.encode_recording(recording)


class Listeners:
    """Up to ``most`` processes, which end with this one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._hearing = 0
        self._starting: list[_Listener] = []
        self._running: list[_Listener] = []
        self._free: list[_Listener] = []
        self._is_starting = self._closed = False

    @property
    def ready(self) -> int:
        """How many processes there are that can hear."""
        return len(self._running)

    def hear(self, bundle: Bundle, folder: Path, audio: BinaryIO, max_duration_s: float) -> Heard:
        """As :func:`hear_recording`, and the same bits, here or in a process that is free.

        ``folder`` is the bundle's.
        """
        with self._turn(folder) as listener:
            size = audio.seek(0, os.SEEK_END)
            audio.seek(0)
            if listener is not None and size <= _LARGEST_BYTES:
                errand = _Errand(folder, bundle.id, audio.read(), max_duration_s)
                heard = listener.hear(errand)
                if heard is not None:
                    return heard
                audio.seek(0)
            return hear_recording(bundle, audio, max_duration_s)

    def close(self) -> None:
        """End the processes; what they are hearing is heard here."""
        with self._lock:
            self._closed = True
            ended = self._starting + self._running
            self._running, self._free = [], []
        for listener in ended:
            listener.end()

    @contextmanager
    def _turn(self, folder: Path) -> Iterator[_Listener | None]:
        """Count one more that is heard; gives a process if it is not alone and one is free."""
        with self._lock:
            alone, self._hearing = self._hearing == 0, self._hearing + 1
            listener = self._free.pop() if self._free and not alone else None
            wanted = not alone and len(self._running) < self._most
            if wanted and not (self._is_starting or self._closed):
                self._is_starting = True
                threading.Thread(target=self._start, args=(folder,), daemon=True).start()
        try:
            yield listener
        finally:
            with self._lock:
                self._hearing -= 1
                if listener in self._running:
                    if listener.is_alive:
                        self._free.append(listener)
                    else:
                        self._running.remove(listener)
            if listener is not None and not listener.is_alive:
                listener.end()

    def _start(self, folder: Path) -> None:
        """Start the processes that are missing, all at once; each comes in when it is ready."""
        missing = self._most - len(self._running)
        try:
            for _ in range(missing):
                self._starting.append(_Listener(folder))
        except OSError as error:
            logger.warning("no more processes can be started that hear uploads: %s", error)
        self._most -= missing - len(self._starting)  # what cannot even start is not tried again
        while self._starting:
            ready = self._starting[0].wait_until_ready()
            with self._lock:
                listener = self._starting.pop(0)
                if ready and not self._closed:
                    self._running.append(listener)
                    self._free.append(listener)
                    continue
                self._most -= 1
            listener.end()
        self._is_starting = False


class _Listener:
    """One process, at the other end of a pipe; used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        # Spawned, not forked: a fork would copy the locks of this process's threads.
        spawn = multiprocessing.get_context("spawn")
        self._connection, there = spawn.Pipe()
        self._process: BaseProcess = spawn.Process(
            target=_serve, args=(there, folder), name="listener", daemon=True
        )
        self._process.start()
        there.close()
        self.is_alive = True

    def wait_until_ready(self) -> bool:
        """Wait until it has loaded the bundle; returns whether it has."""
        ready: bool = self._received() == "ready"
        return ready

    def hear(self, errand: _Errand) -> Heard | None:
        """Have a recording heard; None where the process is gone.

        Raises:
            models.audio.AudioError: it is no usable recording.
        """
        try:
            self._connection.send(errand)
        except OSError:
            self.is_alive = False
            return None
        answer = self._received()
        if isinstance(answer, _Refused):
            raise AudioError(answer.code, answer.detail)
        if isinstance(answer, _Failed):
            raise RuntimeError(f"a recording could not be heard: {answer.reason}")
        heard: Heard | None = answer
        return heard

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
        self._connection.close()

    def _received(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            logger.warning("a process that hears uploads is gone, perhaps for want of memory")
            self.is_alive = False
            return None


def _serve(connection: Connection, folder: Path) -> None:
    """Hear what comes through the pipe until it closes; runs in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked decides when to stop
    end_with_parent()
    with single_threaded(), suppress(EOFError, BrokenPipeError):
        bundle = load_bundle(folder, threads=1)
        connection.send("ready")
        while True:
            errand: _Errand = connection.recv()
            try:
                if bundle.id != errand.bundle_id:
                    bundle = load_bundle(errand.folder, threads=1)
                answer: object = hear_recording(bundle, errand.audio, errand.max_duration_s)
            except AudioError as error:
                answer = _Refused(error.code, str(error))
            except Exception as error:  # noqa: BLE001  who asked can log it
                answer = _Failed(f"{type(error).__name__}: {error}")
            connection.send(answer)
