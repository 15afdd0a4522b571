"""xscale: what more English intermediate-task data buys in zero-shot cross-lingual accuracy."""

__version__ = "0.1.0"
