"""What a line of a job's output means, and how lines become one final state per row."""
