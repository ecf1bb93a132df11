"""Ingest in this process: one file a core, heard in threads.

FFmpeg, soxr, numpy, torch and ONNX Runtime leave the interpreter alone while they work, so threads
fill the cores. Files are taken a bounded number ahead of the writer, so that one long recording
does not keep the other cores waiting; what waits is encodings, never samples.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from models.bundle import Bundle
from models.progress import Progress
from models.tempo import load_librosa
from models.threads import core_count, single_threaded
from service import repository
from service.database import Database
from service.ingest.files import NOT_UNICODE, audio_files, count_audio_files, is_unicode
from service.ingest.hearing import Failed, Hearer, Outcome, Wanted
from service.ingest.report import IngestReport
from service.ingest.writing import Writer

_AHEAD_PER_CORE = 32


def ingest_files(
    paths: Sequence[Path],
    database: Database,
    bundle: Bundle,
    *,
    max_audio_s: float,
    tempo: bool = False,
) -> IngestReport:
    """Take every recording under ``paths`` into the catalogue, encoded by ``bundle``.

    A file that cannot be used is listed in the report and does not stop the others. With ``tempo``
    their tempi are found too, also those that known tracks lack.
    """
    report = IngestReport(cores=core_count())
    started_s, cpu_started_s = time.perf_counter(), time.process_time()
    if tempo:
        load_librosa()

    def wanted(sha256: str) -> Wanted:
        with database.reading() as session:
            known = repository.standing_of_content(session, sha256, bundle.id)
        is_encoded, has_tempo = known or (False, False)
        return Wanted(encoding=not is_encoded, tempo=tempo and not has_tempo)

    _hear_all(paths, Hearer(bundle, wanted, max_audio_s=max_audio_s), database, bundle.id, report)
    report.wall_s = time.perf_counter() - started_s
    report.cpu_s = time.process_time() - cpu_started_s
    return report


def _hear_all(
    paths: Sequence[Path],
    hearer: Hearer,
    database: Database,
    bundle_id: str,
    report: IngestReport,
) -> None:
    writer = Writer(database, bundle_id, report)
    with (
        Progress("Ingesting", count_audio_files(paths), "files") as progress,
        single_threaded(),
        ThreadPoolExecutor(report.cores, thread_name_prefix="ingest") as pool,
    ):
        under_way: deque[tuple[Path, Future[Outcome]]] = deque()

        def write_next() -> None:
            path, future = under_way.popleft()
            progress.note(path.name)
            progress.advance(writer.write(path, future.result()))

        try:
            for path in audio_files(paths, lambda at, why: report.failed.append((at, why))):
                under_way.append((path, pool.submit(_hear, hearer, path)))
                if len(under_way) >= _AHEAD_PER_CORE * report.cores:
                    write_next()
            while under_way:
                write_next()
            progress.advance(writer.flush())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _hear(hearer: Hearer, path: Path) -> Outcome:
    return hearer.hear(path) if is_unicode(path) else Failed(NOT_UNICODE)
