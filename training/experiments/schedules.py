"""How long and how wide the paper's systems are trained: the paper's schedule, and ours."""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.encoders import TowerShape
from training.experiments.systems import Network, RegressionSystem, TowerSystem
from training.recipes import CMER_CL


@dataclass(frozen=True)
class Schedule:
    """Every number of a training but the loss' own.

    ``falling``: the learning rate falls along half a cosine to zero, else it is constant. Widths as
    in models.encoders.TowerShape; a regression's are those of its hidden layers, ``e2m_widths``
    those of RegMLP-E2M, which the paper prints, and which learns slowly through its two last units:
    ``e2m_epochs`` are its own.
    """

    name: str
    title: str
    epochs: int
    learning_rate: float
    falling: bool
    batch_size: int
    dimensions: int
    mlp_widths: tuple[int, ...]
    bigru_recurrent: int
    bigru_widths: tuple[int, ...]
    emotion_recurrent: int
    emotion_widths: tuple[int, ...]
    dropout: float
    regression_recurrent: int
    regression_widths: tuple[int, ...]
    regression_dropout: float
    e2m_widths: tuple[int, ...]
    e2m_epochs: int

    def epochs_of(self, system: TowerSystem | RegressionSystem) -> int:
        """Return for how many epochs a system is trained."""
        return self.e2m_epochs if system == RegressionSystem("mlp", "e2m") else self.epochs

    def music_shape(self, encoder: Network, feature_size: int) -> TowerShape:
        """Return the music tower's shape for features of size F."""
        if encoder == "mlp":
            return self._shape("mlp", feature_size, self.mlp_widths, 0)
        return self._shape("bigru", feature_size, self.bigru_widths, self.bigru_recurrent)

    def emotion_shape(self) -> TowerShape:
        """Return the emotion tower's shape."""
        return self._shape("bigru", 2, self.emotion_widths, self.emotion_recurrent)

    def _shape(
        self, encoder: Network, inputs: int, widths: tuple[int, ...], recurrent: int
    ) -> TowerShape:
        return TowerShape(encoder, inputs, widths, recurrent, self.dropout, self.dimensions)


def published(corpus: str) -> Schedule:
    """Return the paper's schedule (sections III and IV): days of a GPU's time."""
    epochs = 10_001 if corpus == "pmemo" else CMER_CL.epochs
    return Schedule(
        name="published",
        title="the published schedule",
        epochs=epochs,
        learning_rate=CMER_CL.learning_rate,
        falling=False,
        batch_size=CMER_CL.batch_size,
        dimensions=CMER_CL.dimensions,
        mlp_widths=CMER_CL.mlp_widths,
        bigru_recurrent=CMER_CL.bigru_recurrent,
        bigru_widths=CMER_CL.bigru_widths,
        emotion_recurrent=CMER_CL.emotion_recurrent,
        emotion_widths=CMER_CL.emotion_widths,
        dropout=CMER_CL.dropout,
        regression_recurrent=CMER_CL.bigru_recurrent,
        regression_widths=CMER_CL.mlp_widths,
        regression_dropout=CMER_CL.dropout,
        e2m_widths=(32, 2),
        e2m_epochs=epochs,
    )


DEFAULT = Schedule(
    name="default",
    title="a schedule of ours, shorter than the paper's",
    epochs=150,
    learning_rate=3e-3,
    falling=True,
    batch_size=512,
    dimensions=64,
    mlp_widths=(128, 128),
    bigru_recurrent=64,
    bigru_widths=(128, 128),
    emotion_recurrent=32,
    emotion_widths=(64, 64),
    dropout=0.3,
    regression_recurrent=32,
    regression_widths=(64, 64),
    regression_dropout=0.0,
    e2m_widths=(32, 2),
    e2m_epochs=1_000,
)

QUICK = replace(
    DEFAULT,
    name="quick",
    title="a quick schedule, to see that everything runs",
    epochs=20,
    e2m_epochs=100,
)
