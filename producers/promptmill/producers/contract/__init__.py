"""What producers and workers agree on: messages, results, statuses, sinks, and the keys of the run index."""
