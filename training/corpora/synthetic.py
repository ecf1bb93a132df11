"""The built-in corpus: music composed by the machine for emotion curves that it knows exactly.

Every piece has a hidden arousal–valence curve and follows it by the cues that listeners are known
to use; everything else about it is drawn independently of the curve. No listener was asked: the
corpus shows that the machinery works, and says nothing of how people feel about real music.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from training.corpora.corpus import CorpusError
from training.synthesis.emotion_curves import RATE_HZ as CURVE_RATE_HZ
from training.synthesis.emotion_curves import draw_curve
from training.synthesis.instruments import RATE_HZ, Samples
from training.synthesis.names import draw_artist, draw_title
from training.synthesis.piece import render

SYNTHETIC_SEED = 20211207
SYNTHETIC_PIECES = 240
# Raise it whenever the same seed no longer gives the same bytes.
ENGINE_VERSION = 1
STEPS = 90

LICENCE = "CC0-1.0"
CITATION = (
    "Synthesised by Circumplex. Cues of emotion after: A. Gabrielsson and E. Lindström, 'The role "
    "of structure in the musical expression of emotions', in Handbook of Music and Emotion, Oxford "
    "University Press, 2010; P. N. Juslin and P. Laukka, 'Communication of emotions in vocal "
    "expression and music performance: different channels, same code?', Psychological Bulletin "
    "129(5), 2003; T. Eerola, A. Friberg and R. Bresin, 'Emotional expression in music: "
    "contribution, linearity, and additivity of primary musical cues', Frontiers in Psychology 4, "
    "2013; S. R. Livingstone, R. Muhlberger, A. R. Brown and W. F. Thompson, 'Changing musical "
    "emotion: a computational rule system for modifying score and performance', Computer Music "
    "Journal 34(1), 2010."
)

# Streams of random numbers of one piece, apart so that none tells anything of another.
CURVE_STREAM, MUSIC_STREAM, NAMES_STREAM = 0, 1, 2


@dataclass(frozen=True)
class _Track:
    index: int
    id: str
    title: str
    artist: str


def synthesise(
    root: Path,
    *,
    pieces: int = SYNTHETIC_PIECES,
    seed: int = SYNTHETIC_SEED,
    workers: int | None = None,
    on_piece: Callable[[int, int], None] | None = None,
) -> None:
    """Write the corpus in the ``folder`` layout under ``root``, or what is missing of it.

    The bytes depend on ``seed`` and nothing else, neither on ``workers`` (default: one a core) nor
    on interruptions: a piece gets its name when it is complete, and a later call writes the rest.
    ``on_piece(done, total)`` is called in this process as pieces become complete, once at the
    start for those that were.

    Raises:
        CorpusError: ``root`` holds a corpus of another seed, number of pieces or engine.
    """
    curves = [hidden_curve(seed, index) for index in range(pieces)]
    tracks = [_name_track(seed, index) for index in range(pieces)]
    curves_csv = _format_curves(tracks, curves)
    manifest = {
        "seed": seed,
        "pieces": pieces,
        "engine_version": ENGINE_VERSION,
        "curves_sha256": hashlib.sha256(curves_csv.encode()).hexdigest(),
    }
    _refuse_another_corpus(root, manifest, curves_csv)
    audio = root / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    _write_whole(root / "curves.csv", curves_csv)
    _write_whole(root / "tracks.csv", _format_tracks(tracks))

    missing = [track for track in tracks if not (audio / f"{track.id}.flac").exists()]
    done = pieces - len(missing)
    if on_piece is not None:
        on_piece(done, pieces)
    if missing:
        # Spawned, not forked: a fork would copy the locks of whatever threads the caller runs.
        with ProcessPoolExecutor(
            min(workers or os.cpu_count() or 1, len(missing)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_leave_interrupts_to_the_parent,
        ) as pool:
            jobs = [pool.submit(_write_piece, audio, seed, track) for track in missing]
            try:
                for job in as_completed(jobs):
                    job.result()
                    done += 1
                    if on_piece is not None:
                        on_piece(done, pieces)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    _write_whole(root / "corpus.json", json.dumps(manifest, indent=2) + "\n")


def hidden_curve(seed: int, index: int) -> NDArray[np.float64]:
    """The curve that a piece follows: (90, 2) at 2 Hz, column 0 valence, column 1 arousal."""
    return draw_curve(np.random.default_rng([seed, index, CURVE_STREAM]), STEPS).round(4)


def _name_track(seed: int, index: int) -> _Track:
    # A digest orders the pieces at random, and again so for another seed or engine.
    digest = hashlib.sha256(f"circumplex {ENGINE_VERSION} {seed} {index}".encode()).hexdigest()
    rng = np.random.default_rng([seed, index, NAMES_STREAM])
    return _Track(index, digest[:12], draw_title(rng), draw_artist(rng))


def _refuse_another_corpus(root: Path, manifest: dict[str, object], curves_csv: str) -> None:
    wanted = f"seed {manifest['seed']}, {manifest['pieces']} pieces, engine {ENGINE_VERSION}"
    advice = "choose another folder, or delete this one to synthesise it anew"
    if (root / "corpus.json").exists():
        found = json.loads((root / "corpus.json").read_text(encoding="utf-8"))
        if found != manifest:
            raise CorpusError(
                f"{root} holds another synthetic corpus (seed {found.get('seed')}, "
                f"{found.get('pieces')} pieces, engine {found.get('engine_version')}), "
                f"not {wanted}: {advice}"
            )
        return
    curves_path = root / "curves.csv"
    if curves_path.exists() and curves_path.read_text(encoding="utf-8") != curves_csv:
        raise CorpusError(f"{root} holds another corpus, not {wanted}: {advice}")


def _format_curves(tracks: list[_Track], curves: list[NDArray[np.float64]]) -> str:
    lines = ["id,time_s,arousal,valence"]
    for track, curve in sorted(zip(tracks, curves, strict=True), key=lambda pair: pair[0].id):
        for step, (valence, arousal) in enumerate(curve):
            lines.append(f"{track.id},{step / CURVE_RATE_HZ:.1f},{arousal:.4f},{valence:.4f}")
    return "\n".join(lines) + "\n"


def _format_tracks(tracks: list[_Track]) -> str:
    rows = sorted((track.id, track.title, track.artist) for track in tracks)
    return "\n".join(["id,title,artist", *(",".join(row) for row in rows)]) + "\n"


def _leave_interrupts_to_the_parent() -> None:
    # Ctrl-C reaches every process of the terminal: the parent stops the pool, without their noise.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_piece(audio: Path, seed: int, track: _Track) -> None:
    """Compose, render and encode one piece; runs in a worker."""
    music_rng = np.random.default_rng([seed, track.index, MUSIC_STREAM])
    samples = render(hidden_curve(seed, track.index), music_rng)
    path = audio / f"{track.id}.flac"
    unfinished = path.with_suffix(".flac.part")
    _encode_flac(unfinished, samples, {"title": track.title, "artist": track.artist})
    unfinished.replace(path)


def _encode_flac(path: Path, samples: Samples, tags: dict[str, str]) -> None:
    """Write samples (n, 2) in [-1, 1] as 16-bit FLAC."""
    integers = np.round(samples * 32767).astype(np.int16)
    with av.open(str(path), "w", format="flac") as container:
        container.metadata.update(tags)
        stream = container.add_stream("flac", rate=RATE_HZ, layout="stereo", format="s16")
        frame = av.AudioFrame.from_ndarray(integers.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = RATE_HZ
        for packet in stream.encode(frame):
            container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def _write_whole(path: Path, text: str) -> None:
    """Write a file under another name first, so that it is there whole or not at all."""
    unfinished = path.with_suffix(path.suffix + ".part")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    unfinished.replace(path)
