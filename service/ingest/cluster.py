"""Ingest by a Ray cluster: actors hear files, this process alone writes to the database.

Ray Data hands paths to actors, which give back encodings; a task whose machine was lost is done
again elsewhere, as often as it takes. Recordings must lie on storage that every machine sees under
the same path; the bundle travels by itself, VGGish's weights do not (every machine takes them from
its own cache folder).
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from models.bundle import Bundle
from models.progress import Progress
from models.threads import core_count
from service import repository
from service.database import Database
from service.errors import StartError
from service.ingest.files import NOT_UNICODE, audio_files, count_audio_files, is_unicode
from service.ingest.report import IngestReport
from service.ingest.writing import Writer

if TYPE_CHECKING:
    from service.ingest.ear import Errand

LOCAL = "local"
"""The address that means a cluster of this machine alone, for as long as the ingest lasts."""

_FILES_A_ROUND = 20_000  # bounds what Ray and this process know at once
_MOST_FILES_A_TASK = 8
_TASKS_AN_ACTOR = 4
_LOCAL_STORE_BYTES = 1_000_000_000
_KNOCK_S = 5.0


@dataclass(frozen=True)
class _Hands:
    """How the cluster hears: ``actors``, each with ``cpus``, on a GPU each or not."""

    actors: int
    cpus: int
    on_gpu: bool


def ingest_files_on_ray(
    paths: Sequence[Path],
    database: Database,
    bundle: Bundle,
    bundle_folder: Path,
    *,
    address: str,
    max_audio_s: float,
    tempo: bool = False,
) -> IngestReport:
    """Do what :func:`service.ingest.ingest_files` does, by the Ray cluster at ``address``.

    ``address`` is ``host:port``, ``auto`` for a cluster that this machine belongs to, or
    :data:`LOCAL`. On processors of one kind the encodings are those of a local ingest to the bit.

    Raises:
        StartError: Ray is not installed, or there is no cluster at ``address``.
    """
    with _connected(address) as ray:
        import ray.data

        from service.ingest.ear import Errand, sorted_digests

        started_s = perf_counter()
        hands = _hands(ray.nodes(), uses_gpu=_uses_gpu(bundle))
        report = IngestReport(cores=hands.actors * hands.cpus)
        with database.reading() as session:
            encoded = sorted_digests(repository.encoded_contents(session, bundle.id))
            with_tempo = sorted_digests(repository.contents_with_tempo(session)) if tempo else None
        errand = Errand(
            bundle_files=ray.put({p.name: p.read_bytes() for p in bundle_folder.iterdir()}),
            encoded=ray.put(encoded),
            with_tempo=None if with_tempo is None else ray.put(with_tempo),
            max_audio_s=max_audio_s,
            threads=hands.cpus,
        )
        del encoded, with_tempo
        _hear_all(paths, errand, hands, Writer(database, bundle.id, report), report)
        report.wall_s = perf_counter() - started_s
    return report


def _hear_all(
    paths: Sequence[Path], errand: Errand, hands: _Hands, writer: Writer, report: IngestReport
) -> None:
    from service.ingest.outcome_table import read_table

    def failed(path: Path, reason: str) -> None:
        report.failed.append((path, reason))

    with Progress("Ingesting", count_audio_files(paths), "files") as progress:

        def readable() -> Iterator[str]:
            for path in audio_files(paths, failed):
                if is_unicode(path):
                    yield str(path)
                else:
                    failed(path, NOT_UNICODE)
                    progress.advance()

        waiting = readable()
        while files := list(islice(waiting, _FILES_A_ROUND)):
            for table in _heard(files, errand, hands):
                for path, outcome, cpu_s in read_table(table):
                    report.cpu_s += cpu_s
                    progress.note(path.name)
                    progress.advance(writer.write(path, outcome))
        progress.advance(writer.flush())


def _heard(files: list[str], errand: Errand, hands: _Hands) -> Iterator[Any]:
    """Yield Arrow tables of outcomes, in the order in which the cluster finishes them."""
    import ray.data

    from service.ingest.ear import Ear
    from service.ingest.outcome_table import PATH_COLUMN

    share = len(files) // (_TASKS_AN_ACTOR * hands.actors)
    files_a_task = min(max(share, hands.cpus), _MOST_FILES_A_TASK * hands.cpus)
    asked = ray.data.from_items(
        [{PATH_COLUMN: file} for file in files],
        override_num_blocks=-(-len(files) // files_a_task),
    )
    heard = asked.map_batches(
        Ear,
        fn_constructor_args=(errand,),
        batch_size=files_a_task,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=hands.actors),
        num_cpus=hands.cpus,
        num_gpus=1 if hands.on_gpu else 0,
    )
    yield from heard.iter_batches(batch_size=None, batch_format="pyarrow")


def _uses_gpu(bundle: Bundle) -> bool:
    identity = bundle.manifest.frontend or {}
    return identity.get("name") == "vggish" and "precision" not in identity


def _hands(nodes: list[dict[str, Any]], *, uses_gpu: bool) -> _Hands:
    """Share out a cluster: an actor a GPU, with its share of cores, or else an actor a core.

    Where there are GPUs for the frontend, machines without one stay idle.

    Raises:
        StartError: the cluster has no core.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    if uses_gpu and (with_gpu := [each for each in resources if each.get("GPU", 0) >= 1]):
        cpus = min(int(each.get("CPU", 0) // each["GPU"]) for each in with_gpu)
        return _Hands(sum(int(each["GPU"]) for each in with_gpu), max(cpus, 1), on_gpu=True)
    cores = sum(int(each.get("CPU", 0)) for each in resources)
    if cores == 0:
        raise StartError("the Ray cluster has no core: give its machines --num-cpus")
    return _Hands(cores, 1, on_gpu=False)


def _require_listener(address: str) -> None:
    """Knock where the address says that a cluster is: Ray itself would wait for minutes.

    Raises:
        StartError: nobody listens there.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise StartError(f"no Ray cluster can be used at '{address}': {error}") from error


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine, and leave it afterwards."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray would report to its makers
    # Ray calls it an error that an actor may be restarted, on the terminal.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise StartError(
            "ingest --ray needs Ray, which is not installed: pip install 'circumplex[ray]'"
        ) from error
    _require_listener(address)
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        options |= {"num_cpus": core_count(), "include_dashboard": False}
        options |= {"object_store_memory": _LOCAL_STORE_BYTES}
    try:
        ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise StartError(f"no Ray cluster can be used at '{address}': {error}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        with redirect_stdout(sys.stderr):  # where Ray tells of lost machines; stdout is for results
            yield ray
    finally:
        ray.shutdown()
