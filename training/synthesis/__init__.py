"""A small music engine: from an arousal–valence curve to the sound of a piece that follows it."""
