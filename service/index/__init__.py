"""The search engine: one protocol, FAISS behind it, and immutable snapshots on disk."""
