"""What the command line needs of the bucket. Producers reach it through entry points."""
