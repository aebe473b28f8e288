"""An emulator of Cloud Storage, for development and tests.

It implements the part of the JSON API that Google's client uses. Objects are files in a
directory and survive a crash. Memory depends neither on their number nor on their size.
"""
