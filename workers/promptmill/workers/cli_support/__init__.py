"""Functions of the command line that need the bucket. Producers load them as entry points."""
