"""The loop: it learns, stops, resumes to the same bits, and repeats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import training.trainer
from models.encoders import Tower
from training.evaluation import encode_examples, evaluate_retrieval
from training.examples import Example
from training.recipes import CMER_CL, Recipe
from training.trainer import TrainedTowers, train_towers

CPU = torch.device("cpu")


def _train(
    recipe: Recipe, examples: list[Example], seed: int = 0, checkpoint: Path | None = None
) -> TrainedTowers:
    return train_towers(
        recipe,
        "mlp",
        examples[:28],
        examples[28:36],
        seed=seed,
        checkpoint=checkpoint,
        device=CPU,
    )


def _same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("objective", ["composite", "contrastive"])
@pytest.mark.parametrize("encoder", ["mlp", "bigru", "attention"])
def test_training_beats_chance_on_unseen_pieces(
    objective: str, encoder: str, audible_examples: list[Example], quick_recipe: Recipe
) -> None:
    recipe = replace(quick_recipe, objective=objective)  # type: ignore[arg-type]
    towers = train_towers(
        recipe,
        encoder,  # type: ignore[arg-type]
        audible_examples[:30],
        audible_examples[30:36],
        seed=0,
        device=CPU,
    )
    found = evaluate_retrieval(
        towers.music,
        towers.emotion,
        audible_examples[36:],
        weight=recipe.weight,
        divergence_scale=towers.divergence_scale,
    )
    assert found["m2e"]["mrr"] > 1.5 * found["chance"]["mrr"]
    assert found["e2m"]["mrr"] > 1.5 * found["chance"]["mrr"]


def test_same_seed_gives_the_same_bits_and_another_does_not(
    audible_examples: list[Example], quick_recipe: Recipe
) -> None:
    recipe = replace(quick_recipe, epochs=10)
    first, second = _train(recipe, audible_examples), _train(recipe, audible_examples)
    other = _train(recipe, audible_examples, seed=1)
    assert _same(first.music, second.music)
    assert _same(first.emotion, second.emotion)
    assert not _same(first.music, other.music)


def test_interrupted_training_resumes_to_the_same_bits(
    audible_examples: list[Example],
    quick_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = _train(quick_recipe, audible_examples)
    checkpoint = tmp_path / "run.checkpoint"
    one_epoch = training.trainer._Run.one_epoch

    def interrupted(run: training.trainer._Run, rng: np.random.Generator) -> float:
        if run.epoch == 37:
            raise KeyboardInterrupt
        return one_epoch(run, rng)

    monkeypatch.setattr(training.trainer._Run, "one_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _train(quick_recipe, audible_examples, checkpoint=checkpoint)
    monkeypatch.undo()
    assert checkpoint.exists()
    resumed = _train(quick_recipe, audible_examples, checkpoint=checkpoint)
    assert _same(whole.music, resumed.music)
    assert _same(whole.emotion, resumed.emotion)
    assert (whole.best_epoch, whole.epochs_run) == (resumed.best_epoch, resumed.epochs_run)


def test_training_to_a_given_epoch_keeps_that_epoch(
    audible_examples: list[Example], quick_recipe: Recipe
) -> None:
    towers = train_towers(
        quick_recipe, "mlp", audible_examples[:28], [], seed=0, last_epoch=7, device=CPU
    )
    assert (towers.best_epoch, towers.epochs_run) == (7, 7)


def test_checkpoint_of_another_training_is_refused(
    audible_examples: list[Example], quick_recipe: Recipe, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    torch.save({"identity": "another"}, checkpoint)
    with pytest.raises(ValueError, match="another training"):
        _train(quick_recipe, audible_examples, checkpoint=checkpoint)


def test_early_stopping_keeps_the_best_weights(
    audible_examples: list[Example], quick_recipe: Recipe
) -> None:
    recipe = replace(quick_recipe, patience=2, validate_every=5, epochs=300, averaging=0.0)
    towers = _train(recipe, audible_examples)
    assert towers.epochs_run < 300
    assert towers.epochs_run - towers.best_epoch == 2 * 5


def test_composite_training_folds_cca_into_the_embeddings(
    audible_examples: list[Example],
) -> None:
    recipe = replace(
        CMER_CL,
        dimensions=16,
        bigru_recurrent=12,
        bigru_widths=(24,),
        emotion_recurrent=12,
        emotion_widths=(24,),
        dropout=0.1,
        learning_rate=5e-3,
        epochs=80,
        averaging=0.9,
    )
    towers = _train(recipe, audible_examples)
    heard, felt, _ = encode_examples(towers.music, towers.emotion, audible_examples[:28])
    centred = [part.embedding - part.embedding.mean(axis=0) for part in (heard, felt)]
    cross = centred[0].T @ centred[1] / (len(heard) - 1)
    canonical = np.diag(cross)
    assert 0.9 < canonical[0] <= 1.0
    assert (np.diff(canonical) < 0.01).all()
    np.testing.assert_allclose(cross, np.diag(canonical), atol=0.01)


def test_the_papers_recipe_is_the_papers() -> None:
    shape = CMER_CL.music_shape("mlp", 128)
    assert shape.widths == (256, 512, 512, 1024, 1024)
    assert CMER_CL.music_shape("bigru", 128).recurrent == 512
    assert (shape.dropout, shape.dimensions, CMER_CL.committee) == (0.5, 1024, None)
    assert (CMER_CL.objective, CMER_CL.weight, CMER_CL.margin) == ("composite", 0.5, 1.0)
    assert (CMER_CL.learning_rate, CMER_CL.batch_size, CMER_CL.epochs) == (1e-5, 512, 5001)
    assert (CMER_CL.decay, CMER_CL.trunk_decay, CMER_CL.averaging) == (0.0, 0.0, 0.0)
    assert CMER_CL.curve_regression == 0.0


def test_the_papers_recipe_trains_a_step(audible_examples: list[Example]) -> None:
    recipe = replace(CMER_CL, epochs=1, validate_every=1)
    towers = train_towers(
        recipe, "bigru", audible_examples[:12], audible_examples[12:16], seed=0, device=CPU
    )
    assert towers.divergence_scale == 1.0
    assert isinstance(towers.music, Tower)
    assert towers.music.embedding.out_features == 1024
