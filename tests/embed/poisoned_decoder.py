"""A decoder that some files poison, by what they begin with. Run by tests in place of monitor.embed.decoder."""

from __future__ import annotations

import mmap
import os
import signal
import time

from monitor.embed import decoder

_seen = 0
_image = decoder.TASKS[decoder.IMAGE]


def _poisoned(given: decoder.Given, output: mmap.mmap) -> decoder.Reply:
    global _seen
    _seen += 1
    word = given.data[:6]
    if word == b"crash!":
        os.abort()
    if word == b"killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == b"spins!":
        while True:
            pass
    if word == b"sleeps":
        time.sleep(1000)
    if word == b"eating":
        bytearray(10**12)
    if word == b"second" and _seen > 1:  # harmless to a process that has decoded nothing before
        os.abort()
    if word == b"lying!":
        return {"size": [10**6, 10**6], "thumbnail": 1, "conditions": {}}
    if word in (b"second", b"secret"):
        return {"missing": " ".join(sorted(name for name in os.environ if "DRIFTLINE" in name)) or "none"}
    return _image(given, output)


if __name__ == "__main__":
    decoder.TASKS[decoder.IMAGE] = _poisoned
    decoder.main()
