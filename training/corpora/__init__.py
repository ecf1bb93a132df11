"""Annotated music for training: recordings, or their features, with arousal-valence curves."""
