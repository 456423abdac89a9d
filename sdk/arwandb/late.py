"""The lock under which our threads load modules late."""

from __future__ import annotations

import threading

# A fork waits for it: a child that inherits a half-loaded module would wait for ever for the thread that was loading it.
loading = threading.RLock()
