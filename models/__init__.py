"""Networks and numerics of Circumplex, free of web, database and search-engine code.

Shape letters, one meaning each, here and everywhere:

====== =====================================================================
B      items of a batch
T      time steps: 0.5 s in a curve, 0.96 s in a feature sequence
F      features per time step
D      dimensions of an encoding
N      items searched
K      results asked for
====== =====================================================================

Units are part of a name: durations carry ``_s``, rates ``_hz``, sizes ``_bytes``.
Curves hold valence in column 0 and arousal in column 1, both in [-1, 1], as in Takashima et al.,
"Cross-modal Music Emotion Recognition Using Composite Loss-based Embeddings", IEEE Access 2023
(arXiv 2112.07192), the paper whose equations the docstrings number.
"""

import os

# Patches are multiplied with small matrices, many at a time side by side. OpenBLAS' own threads,
# woken and spinning for each product, cost four times what the products do. It reads this when
# numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# FAISS and torch share the cores with threads of ours; OpenMP's, waiting in a spin, would take the
# time that those need: a search of 480 windows took ten milliseconds in place of a fifth of one.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
