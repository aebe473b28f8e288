"""A stand-in for Cloud Storage, for development and tests: its JSON API, as far as Google's own client uses it.

Objects are files in a directory, and outlive the process however it ends. Memory depends neither on their number nor on
their size.
"""
