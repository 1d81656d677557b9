"""What every test run needs, however it was started."""

from __future__ import annotations

import signal

# A run in the background of a script is started with SIGINT ignored, and so would be every command that tests
# interrupt. A handler here gives the commands the default action back (execve(2)).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
