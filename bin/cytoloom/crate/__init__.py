"""What describes a run to others: the RO-Crate, the methods in words, versions and parameters.

`records` sums up the provenance of all tasks, `graph` holds the entities of a crate, `about`
and `actions` say what was there and what was done, `methods` and `citations` make the text.
"""
