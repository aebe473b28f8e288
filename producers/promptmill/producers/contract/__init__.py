"""The contract of producers and workers: messages, results, statuses, sinks, index."""
