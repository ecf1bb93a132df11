"""Ingest of a folder: tracks a second, how busy the cores are, memory for few and for many files.

A core counts as wanted while a thread of the ingest runs on it or waits for one that something else
has: on a machine that others use too, that is what ``cores_busy`` would be without them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bench.encode import random_weights
from bench.material import mp3, random_bundle
from bench.timing import Report, machine, status_bytes
from models.audio import decode
from models.bundle import Bundle, save_bundle
from models.frontends import LogMelFrontend
from models.threads import core_count, single_threaded
from models.vggish_frontend import VGGishFrontend
from service import catalogue
from service.database import Database
from service.ingest import IngestReport, ingest_files
from service.settings import Settings
from training.recipes import CIRCUMPLEX

_RECORDINGS = 8  # different ones; copies differ by their tags
_SAMPLE_S = 0.05
_COMPARED = 8


def run(
    *,
    files: int = 60,
    few: int = 100,
    seconds: float = 30.0,
    frontends: tuple[str, ...] = ("logmel", "vggish"),
    tempo: bool = False,
) -> Report:
    """Ingest ``few`` files (at most as many), then ``files`` others, of ``seconds`` each."""
    few = min(few, files)
    report: Report = {"machine": machine(), "files": files, "seconds": seconds, "tempo": tempo}
    with TemporaryDirectory() as folder:
        music = Path(folder) / "music"
        write_recordings(music / "few", few, seconds, first=0)
        write_recordings(music / "many", files, seconds, first=few)
        for name in frontends:
            report[name] = _one(music, Path(folder) / name, name, tempo)
    return report


def write_recordings(folder: Path, count: int, seconds: float, *, first: int) -> None:
    """Write MP3s that are different files, though only a few are different music."""
    folder.mkdir(parents=True)
    recordings = [mp3(seconds, seed) for seed in range(min(count, _RECORDINGS))]
    for number in range(count):
        content = id3(first + number) + recordings[number % len(recordings)]
        (folder / f"{number:06}.mp3").write_bytes(content)


def id3(number: int) -> bytes:
    """Return an ID3v2.3 tag whose title is a number."""
    text = b"\0" + str(number).encode()
    frame = b"TIT2" + len(text).to_bytes(4, "big") + b"\0\0" + text
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frame


def _one(music: Path, root: Path, frontend: str, tempo: bool) -> Report:
    settings = Settings(home=root / "home", database_url="")
    weights = random_weights() if frontend == "vggish" else nullcontext(None)
    with weights as path, closing(Database(settings.database)) as database:
        heard_by = LogMelFrontend() if path is None else VGGishFrontend(path, threads=1)
        bundle = random_bundle(CIRCUMPLEX, references=20, frontend=heard_by)
        save_bundle(bundle, root / "bundle")
        bundle.id = catalogue.register_bundle(settings, root / "bundle")

        def ingest(folder: Path) -> tuple[IngestReport, Watch]:
            with watched() as watch:
                report = ingest_files(
                    [folder], database, bundle, max_audio_s=settings.max_audio_s, tempo=tempo
                )
            return report, watch

        _, before = ingest(music / "few")
        report, watch = ingest(music / "many")
        cost = _cost_of_blas_threads(sorted((music / "many").iterdir())[:_COMPARED], bundle)
    return {
        "tracks_per_s": report.tracks_per_s,
        "times_real_time": report.times_real_time,
        "cpu_s_per_track": report.cpu_s / max(report.heard, 1),
        "cpu_with_blas_threads_over_without": cost,
        "cores_busy": report.cores_busy,
        "cores_wanted": watch.ready_s / (report.wall_s * core_count()),
        "most_memory_few_mb": before.most_memory_mb,
        "most_memory_mb": watch.most_memory_mb,
    }


def _cost_of_blas_threads(files: list[Path], bundle: Bundle) -> float:
    """Return the processor time of hearing with BLAS's threads, one a core, over without.

    Which number BLAS starts with depends on what else is imported, and in which order.
    """

    def threaded() -> AbstractContextManager[object]:
        limits: AbstractContextManager[object] = threadpool_limits(core_count(), user_api="blas")
        return limits

    def hear(path: Path) -> None:
        bundle.encode_recording(decode(path.read_bytes()))

    def cpu_s(context: Callable[[], AbstractContextManager[object]]) -> float:
        with context(), ThreadPoolExecutor(core_count()) as pool:
            started_s = time.process_time()
            list(pool.map(hear, files))
            return time.process_time() - started_s

    return cpu_s(threaded) / cpu_s(single_threaded)


class Watch:
    """What was seen of this process: its largest memory, and its threads' time on or for a core."""

    def __init__(self) -> None:
        self.most_memory_mb = 0.0
        self._first: dict[str, float] = _ready_s()
        self._last: dict[str, float] = {}

    @property
    def ready_s(self) -> float:
        return sum(last - self._first.get(thread, 0.0) for thread, last in self._last.items())

    def look(self) -> None:
        self.most_memory_mb = max(self.most_memory_mb, status_bytes("VmRSS") / 1e6)
        self._last |= _ready_s()  # threads that have ended keep what was last seen of them


@contextmanager
def watched() -> Iterator[Watch]:
    """Look at this process again and again."""
    watch, over = Watch(), threading.Event()

    def work() -> None:
        while not over.wait(_SAMPLE_S):
            watch.look()

    thread = threading.Thread(target=work)
    watch.look()
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
        watch.look()


def _ready_s() -> dict[str, float]:
    """Return each thread's seconds on a core and in the queue for one (Linux)."""
    seconds: dict[str, float] = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            running_ns, waiting_ns, _ = (task / "schedstat").read_text().split()
        except OSError:
            continue
        seconds[task.name] = (int(running_ns) + int(waiting_ns)) / 1e9
    return seconds
