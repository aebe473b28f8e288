"""What the tests of every tier share."""

from hypothesis import settings

settings.register_profile(
    "busy", deadline=None
)  # an example may take long beside everything else that is tested
settings.load_profile("busy")
