"""Benchmarks: every figure beside a peer's or a physical limit's, measured in the same run.

``python -m bench`` prints them; ``bench.<name>.run`` returns them, each quantity with its unit in
its name. Absolute times are those of one machine in one hour: what carries over is the ratios.
"""

import models  # noqa: F401  before numpy: it settles how many threads OpenBLAS uses
