"""For all tests, and what they start: Ctrl-C is heard, also where a background job had it ignored."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
