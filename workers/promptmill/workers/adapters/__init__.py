"""Outside systems behind their ports. Only this package imports Google's libraries."""
