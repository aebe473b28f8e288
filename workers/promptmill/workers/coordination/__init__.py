"""What workers share in Redis: leases, open jobs, joins and progress. All of it may be lost."""
