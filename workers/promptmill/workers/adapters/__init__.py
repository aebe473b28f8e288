"""The systems outside, each behind its port; Google's libraries are imported here and nowhere else."""
