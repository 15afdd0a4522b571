"""``python -m harness_tasks.subsets``."""

from harness_tasks.subsets.build import main

main()
