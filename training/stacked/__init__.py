"""Networks of several runs trained together, their parameters stacked along a leading axis R.

The runs of one row of a table differ in their split, their initial weights and their batches, not
in their shape: one batched product does the work of R small ones. Row r of every stack is one run
and never meets the others: a run's numbers do not depend on its company beyond float rounding.
Every network is built from R of the plain ones in models/encoders.py or torch.nn, which stay the
definition that tests compare with.
"""
