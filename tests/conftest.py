"""Set up what every tier needs."""

import signal

from hypothesis import settings

settings.register_profile("busy", deadline=None)  # the machine may be busy
settings.load_profile("busy")

# A background job such as `nohup make test &` starts with SIGINT ignored, and children
# inherit that. A handler, unlike an ignored signal, is reset when a child starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
