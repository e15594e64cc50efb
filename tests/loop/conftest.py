"""Modules whose tests kill and freeze forks of themselves run in a process of their own.

A fork of a process that has run thousands of tests inherits whatever those left open. Named on
the command line they run like any other; the whole suite runs them by ``test_alone``.
"""

ALONE = ("test_killed.py", "test_soft_killed.py", "test_tick_killed.py")
collect_ignore = list(ALONE)
