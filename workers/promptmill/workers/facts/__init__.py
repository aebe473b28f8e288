"""The facts of a run: write-once objects in the bucket. They are the source of truth."""
