"""The pipeline in a simulated world: real tasks, and a clock, a queue, a bucket, a Vertex and a Redis that fail by a seed.

outcome = simulate(1234)
assert not outcome.wrong, outcome
"""

from faults.simulation.simulate import Outcome, simulate

__all__ = ["Outcome", "simulate"]
