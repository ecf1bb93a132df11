"""Offline training: corpora, features, losses, the loop, metrics. Imports models, never service."""
