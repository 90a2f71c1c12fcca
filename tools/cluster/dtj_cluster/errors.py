"""The one error a user of the cluster meets: what went wrong, and how to mend it.

Anything foreseeable (a port in use, a missing capability, a program that died) is raised as this, so that the
command line prints a few lines and exits 1 where a traceback would tell nobody anything.
"""

from __future__ import annotations


class ClusterError(Exception):
    """A foreseeable failure: ``problem`` says what was found, ``remedy`` what to do about it (or ``problem`` says
    both).
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}\n{remedy}" if remedy else problem)
