"""The program of a decoder process: bytes in, pixels and measurements out, under limits it cannot lift.

Started by monitor/embed/pool.py, one file at a time: a request names the task, the bytes lie in one shared memory,
the pixels go back in another, and the reply is JSON. Nothing of the service is imported or inherited here, so that
a file that breaks a codec breaks a small process that knows no secret.

Limits, for each task anew: address space beyond what the process holds already (``RLIMIT_AS``), and processor time
(a timer that ends the process). Processor time, since a busy machine must not decide what becomes of an image.
"""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from PIL import Image

from monitor.embed import audio, conditions, images, pdf
from monitor.embed.images import Missing

REQUEST: Final = struct.Struct("<BQQII")  # task, bytes, most pixels, longest side, argument of the task
REPLY: Final = struct.Struct("<I")  # bytes of JSON that follow
IMAGE: Final = 0
PDF_PAGES: Final = 1  # how many there are
PDF_PAGE: Final = 2
SOUND: Final = 3
VIEW: Final = 4  # an image for people
VIEW_PAGE: Final = 5  # a page for people
# Pixels at working size, and a thumbnail that would not compress at all.
OUTPUT_BYTES: Final = 3 * images.WORKING_SIDE**2 + 4 * images.THUMBNAIL_SIDE**2
RECYCLE_BYTES: Final = 256_000_000  # a process that keeps more than this beyond its start is replaced

Reply = dict[str, Any]


class Given(NamedTuple):
    """What a task works on: the file, the most pixels that are decoded, the longest side of the image that goes back,
    and which page."""

    data: bytes
    max_pixels: int
    side: int
    page: int


Task = Callable[[Given, mmap.mmap], Reply]


def _look(decoded: images.Decoded | Missing, output: mmap.mmap) -> Reply:
    """Pixels and thumbnail to ``output``, the rest as the reply."""
    if isinstance(decoded, Missing):
        return {"missing": decoded.reason}
    measured = conditions.measure(decoded)
    small = images.thumbnail(decoded.image)
    pixels = decoded.image.tobytes()
    output[: len(pixels)] = pixels
    output[len(pixels) : len(pixels) + len(small)] = small
    return {"size": decoded.image.size, "thumbnail": len(small), "conditions": measured}


def _image(given: Given, output: mmap.mmap) -> Reply:
    return _look(images.decode(given.data, given.max_pixels, given.side), output)


def _pdf_pages(given: Given, _: mmap.mmap) -> Reply:
    found = pdf.count(given.data)
    return {"missing": found.reason} if isinstance(found, Missing) else {"pages": found}


def _pdf_page(given: Given, output: mmap.mmap) -> Reply:
    return _look(pdf.render(given.data, given.page, given.side), output)


def _sound(given: Given, _: mmap.mmap) -> Reply:
    found = audio.measure(given.data)
    return {"missing": found.reason} if isinstance(found, Missing) else {"sound": found}


def _seen(found: images.View | Missing, output: mmap.mmap) -> Reply:
    """The file to ``output``, the rest as the reply."""
    if isinstance(found, Missing):
        return {"missing": found.reason}
    output[: len(found.data)] = found.data
    return {"view": len(found.data), "width": found.width, "height": found.height}


def _view(given: Given, output: mmap.mmap) -> Reply:
    return _seen(images.full_view(given.data, given.max_pixels, given.side, OUTPUT_BYTES), output)


def _view_page(given: Given, output: mmap.mmap) -> Reply:
    return _seen(pdf.full_view(given.data, given.page, given.side, OUTPUT_BYTES), output)


TASKS: Final[dict[int, Task]] = {
    IMAGE: _image,
    PDF_PAGES: _pdf_pages,
    PDF_PAGE: _pdf_page,
    SOUND: _sound,
    VIEW: _view,
    VIEW_PAGE: _view_page,
}


def held() -> int:
    """Address space of this process, in bytes."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - pathlib would be an import more
        return int(file.read().split()[0]) * mmap.PAGESIZE


def _limited(memory: int, seconds: float, work: Callable[[], Reply]) -> Reply:
    """``work`` with ``memory`` bytes more than now and ``seconds`` of processor time, or the end of this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = held() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF is not caught: not even a loop in C goes on
    try:
        return work()
    except MemoryError:
        return {"missing": "image_out_of_memory"}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def serve(requests: int, replies: int, given: int, taken: int, memory: int, seconds: float) -> None:
    """Answer requests until their pipe closes; the arguments are file descriptors, bytes and seconds."""
    output = mmap.mmap(taken, OUTPUT_BYTES)
    start = held()
    os.write(replies, REPLY.pack(0))  # ready
    while len(head := _read(requests, REQUEST.size)) == REQUEST.size:
        task, size, max_pixels, side, page = REQUEST.unpack(head)
        reply = _limited(
            memory,
            seconds,
            lambda task=task, size=size, rest=(max_pixels, side, page): TASKS[task](  # type: ignore[misc]
                Given(os.pread(given, size, 0), *rest), output
            ),
        )
        grown = held() - start
        if grown > RECYCLE_BYTES:
            gc.collect()
            reply["last"] = held() - start > RECYCLE_BYTES
        body = json.dumps(reply, separators=(",", ":")).encode()
        message = REPLY.pack(len(body)) + body
        while message:
            message = message[os.write(replies, message) :]
        if reply.get("last"):
            return


def _read(handle: int, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := os.read(handle, size - len(found))):
        found += more
    return found


def main() -> None:
    requests, replies, given, taken, memory = map(int, sys.argv[1:6])
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which closes the pipe
    for name, value in (("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):  # nothing here writes a file
        resource.setrlimit(getattr(resource, name), (value, value))
    Image.preinit()
    conditions.ready()
    with contextlib.suppress(BrokenPipeError):
        serve(requests, replies, given, taken, memory, float(sys.argv[6]))


if __name__ == "__main__":
    main()
