"""Which rows an attempt sends, and how a request differs from the one before it."""
