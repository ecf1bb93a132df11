"""The service: a catalogue of recordings and emotions, searched over HTTP.

HTTP lives in :mod:`service.app` and :mod:`service.api`; everything below them works without it, and
the command line uses it through :mod:`service.catalogue` and :mod:`service.offline`.
"""

import os

# Recordings are encoded side by side, each in many small matrix products. OpenBLAS' own threads,
# woken and spinning for every one of them, cost four times what the products do. It reads this when
# numpy is first imported, so import the service before numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
