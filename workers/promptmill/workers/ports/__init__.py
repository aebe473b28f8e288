"""The interfaces to the outside world.

Adapters and fakes implement them and pass the same contract suite.
"""
