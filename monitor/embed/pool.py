"""Decoding in processes of their own, which a poisonous file cannot take the role down with.

Each process (monitor/embed/decoder.py) has one file at a time, so the one that dies, hangs or runs out of memory
names its file. That verdict is given by a second try only: in a new process, which has decoded nothing before, and
with no other file being decoded meanwhile. What is counted is then a function of the file, the limits and the codecs,
not of what was decoded before it or beside it; time is processor time. A machine of another speed may still judge
differently a file that needs nearly all of ``payloads.decode_time``; ordinary files need a hundredth of it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import json
import mmap
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from PIL import Image

from monitor.embed import decoder
from monitor.embed.decoder import IMAGE, PDF_PAGE, PDF_PAGES, REPLY, REQUEST, SOUND, VIEW, VIEW_PAGE, Reply
from monitor.embed.images import WORKING_SIDE, Missing, View
from monitor.embed.pdf import MAX_PAGES, chosen_pages, is_pdf

# A decoder waits for nothing, so wall time is only a backstop for a process that was stopped or starved.
BACKSTOP: Final = 60.0  # seconds on top of
BACKSTOP_FACTOR: Final = 20.0  # times the processor time it may take
START_SECONDS: Final = 120.0  # until a process is ready
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "TMPDIR", "VIRTUAL_ENV")
# One thread and one arena hold less; keeping freed pages saves mapping and clearing them anew for every image.
_MALLOC: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "67108864",
}
_OF_SOUND: Final = {
    "image_decoder_crashed": "audio_decoder_crashed",
    "image_timed_out": "audio_timed_out",
    "image_out_of_memory": "audio_out_of_memory",
}
JPEG: Final = b"\xff\xd8\xff"  # how one begins
_DOUBTFUL: Final = ("image_decoder_crashed", "image_timed_out", "image_out_of_memory")


class DecoderUnavailable(Exception):
    """Decoder processes do not start: no file's fault."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a decoder process found in one image: RGB at the size asked for, conditions, and a JPEG thumbnail."""

    image: Image.Image
    conditions: dict[str, Any]
    thumbnail: bytes

    @property
    def phash(self) -> int:
        """The perceptual hash as a signed 64-bit integer."""
        return int.from_bytes(bytes.fromhex(self.conditions["phash"]), "big", signed=True)


def _environment() -> dict[str, str]:
    """Only what Python needs to start: no token or password of the service."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    root = str(Path(decoder.__file__).resolve().parents[2])
    path = os.pathsep.join([root, *(entry for entry in sys.path if entry and entry != root)])
    return {**kept, **_MALLOC, "PYTHONPATH": path}


class _Process:
    """One decoder process and the two shared memories between it and us. Belongs to one thread at a time."""

    def __init__(self, program: str, memory: int, seconds: float, backstop: float) -> None:
        self.used = False
        self._wait = backstop
        self._given = os.memfd_create("driftline-file", os.MFD_CLOEXEC)
        self._taken = os.memfd_create("driftline-pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._taken, decoder.OUTPUT_BYTES)
        # Were it cut by the process, our reading it would be a bus error here.
        fcntl.fcntl(self._taken, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._output = mmap.mmap(self._taken, decoder.OUTPUT_BYTES, prot=mmap.PROT_READ)
        requests, self._requests = os.pipe2(os.O_CLOEXEC)
        self._replies, replies = os.pipe2(os.O_CLOEXEC)
        handles = (requests, replies, self._given, self._taken)
        command = [sys.executable, "-B", "-P", "-m", program, *map(str, (*handles, memory, seconds))]
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=handles,
                env=_environment(),
                cwd="/",
            )
        except BaseException:
            for handle in (self._requests, self._replies, self._given, self._taken):
                os.close(handle)
            raise
        finally:
            os.close(requests)
            os.close(replies)
        try:
            self._read(REPLY.size, time.monotonic() + START_SECONDS)
        except (TimeoutError, EOFError):
            self.close()
            raise DecoderUnavailable(
                f"a decoder process ended with {self._child.returncode} before it was ready; "
                f"try `{sys.executable} -m {program}` by hand"
            ) from None

    @property
    def pid(self) -> int:
        return self._child.pid

    def ask(self, task: int, data: bytes, max_pixels: int, side: int, page: int) -> Reply:
        """The reply; ``missing`` with one of the doubtful reasons and ``last`` when the process died of it."""
        self.used = True
        try:
            os.ftruncate(self._given, 0)
            view = memoryview(data)
            at = 0
            while at < len(view):
                at += os.pwrite(self._given, view[at:], at)
            os.write(self._requests, REQUEST.pack(task, len(data), max_pixels, side, page))
            until = time.monotonic() + self._wait
            head = self._read(REPLY.size, until)
            body = self._read(REPLY.unpack(head)[0], until)
            os.ftruncate(self._given, 0)
            reply = json.loads(body)
        except TimeoutError:
            return {"missing": "image_timed_out", "last": True}
        except (EOFError, BrokenPipeError, ValueError):
            return {"missing": self._why(), "last": True}
        if not isinstance(reply, dict):
            return {"missing": "image_decoder_crashed", "last": True}
        return reply

    def look(self, reply: Reply) -> Look | Missing:
        """The image of a reply, copied out of the shared memory. ValueError when the reply is not a decoder's."""
        if "missing" in reply:
            return Missing(str(reply["missing"]))
        width, height = map(int, reply["size"])
        pixels, small = 3 * width * height, int(reply["thumbnail"])
        if width < 1 or height < 1 or small < 0 or pixels + small > decoder.OUTPUT_BYTES:
            raise ValueError(f"pixels of {width} x {height} and a thumbnail of {small} bytes do not fit")
        with memoryview(self._output) as view:
            image = Image.frombytes("RGB", (width, height), view[:pixels])
            return Look(image, dict(reply["conditions"]), bytes(view[pixels : pixels + small]))

    def view(self, reply: Reply) -> View:
        """The file of a reply, copied out of the shared memory. ValueError when the reply is not a decoder's."""
        size, width, height = int(reply["view"]), int(reply["width"]), int(reply["height"])
        data = self._output[:size] if 0 < size <= decoder.OUTPUT_BYTES else b""
        if not data.startswith(JPEG) or width < 1 or height < 1:
            raise ValueError(f"{size} bytes of {width} x {height} are no JPEG")
        return View(data, width, height)

    def _read(self, size: int, until: float) -> bytes:
        found = b""
        waiting = select.poll()
        waiting.register(self._replies, select.POLLIN)
        while len(found) < size:
            left = until - time.monotonic()
            if left <= 0 or not waiting.poll(1000 * left):
                raise TimeoutError
            more = os.read(self._replies, size - len(found))
            if not more:
                raise EOFError
            found += more
        return found

    def _why(self) -> str:
        """What ended the process."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._child.wait(10) == -signal.SIGPROF:
                return "image_timed_out"
        return "image_decoder_crashed"

    def kill(self) -> None:
        """End the process, whatever it does."""
        if self._child.poll() is None:
            self._child.kill()

    def close(self) -> None:
        """End the process and let go of what we share with it."""
        self.kill()
        self._child.wait()
        self._output.close()
        for handle in (self._requests, self._replies, self._given, self._taken):
            os.close(handle)


class _Turns:
    """Many may decode at once, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._many = 0
        self._alone = False

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._many += 1
        try:
            yield
        finally:
            with self._changed:
                self._many -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._alone = True
            self._changed.wait_for(lambda: not self._many)
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()


class DecoderPool:
    """``processes`` decoder processes, started when the first file comes. Safe to share between threads.

    Args:
        processes: how many; 0: one a processor, at most 4.
        memory: bytes of address space that one file may take.
        seconds: processor time that one file may take.
        max_pixels: largest width x height that is decoded.
        side: longest side of the images that come back, at most ``WORKING_SIDE``; of views, whatever it is.
        died: called, by one thread at a time, when a process died or was ended.
        backstop: seconds of wall time after which a process without an answer is ended, however little it computed.
        program: module that is run; another one than the decoder is for tests.
    """

    def __init__(
        self,
        processes: int = 0,
        *,
        memory: int,
        seconds: float,
        max_pixels: int,
        side: int = WORKING_SIDE,
        died: Callable[[], None] = lambda: None,
        backstop: float | None = None,
        program: str = decoder.__name__,
    ) -> None:
        count = processes or min(4, os.cpu_count() or 1)
        self._died = died
        self._program, self._memory, self._seconds = program, memory, seconds
        self._backstop = BACKSTOP + BACKSTOP_FACTOR * seconds if backstop is None else backstop
        self._max_pixels, self._side = max_pixels, side
        self._closed = False
        self._turns = _Turns()
        self._lock = threading.Lock()
        self._idle: queue.SimpleQueue[_Process | None] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(None)
        self._live: set[_Process] = set()
        self._threads = concurrent.futures.ThreadPoolExecutor(count, thread_name_prefix="driftline-decode")
        self._finalizer = weakref.finalize(self, _end, self._live)

    def submit(self, data: bytes, pages: int = 1) -> concurrent.futures.Future[tuple[Look | Missing, ...]]:
        """``looks`` in its turn."""
        return self._threads.submit(self.looks, data, pages)

    def looks(self, data: bytes, pages: int = 1) -> tuple[Look | Missing, ...]:
        """What is in a file: one entry for an image, one for each of at most ``pages`` chosen pages of a PDF."""
        if not is_pdf(data):
            return (self.look(data),)
        counted = self._page_count(data)
        if isinstance(counted, Missing):
            return (counted,)
        found: list[Look | Missing] = []
        for index in chosen_pages(sha256(data).digest(), counted, pages):
            page = self._ask(PDF_PAGE, data, index)
            if isinstance(page, Look):
                found.append(replace(page, conditions={**page.conditions, "page": index + 1, "pages": counted}))
            else:
                found.append(Missing(_reason(page), index + 1, counted))
        return tuple(found)

    def views(self, data: bytes, pages: int) -> tuple[View | Missing, ...]:
        """What people are shown of a file: an image, or at most the first ``pages`` pages of a PDF."""
        if not is_pdf(data):
            return (self._view(VIEW, data, 0),)
        counted = self._page_count(data)
        if isinstance(counted, Missing):
            return (counted,)
        return tuple(self._view(VIEW_PAGE, data, page) for page in range(min(pages, counted)))

    def _view(self, task: int, data: bytes, page: int) -> View | Missing:
        found = self._ask(task, data, page)
        return found if isinstance(found, View) else Missing(_reason(found))

    def _page_count(self, data: bytes) -> int | Missing:
        counted = self._ask(PDF_PAGES, data, 0)
        if isinstance(counted, Missing):
            return counted
        total = counted.get("pages") if isinstance(counted, dict) else None
        return total if isinstance(total, int) and 0 < total <= MAX_PAGES else Missing("image_decoder_crashed")

    def look(self, data: bytes) -> Look | Missing:
        """What is in an image file: never an exception on account of the file, DecoderUnavailable where none starts."""
        found = self._ask(IMAGE, data, 0)
        return found if isinstance(found, Look | Missing) else Missing("image_decoder_crashed")

    def hear(self, data: bytes) -> dict[str, Any] | Missing:
        """The conditions of a sound file (monitor/embed/audio.py)."""
        found = self._ask(SOUND, data, 0)
        if isinstance(found, dict) and isinstance(found.get("sound"), dict):
            return dict(found["sound"])
        reason = found.reason if isinstance(found, Missing) else "image_decoder_crashed"
        return Missing(_OF_SOUND.get(reason, reason))

    def processes(self) -> list[int]:
        """Process ids that are alive."""
        with self._lock:
            return sorted(process.pid for process in self._live)

    def close(self) -> None:
        """End every process at once; files that are being decoded get DecoderUnavailable, those that wait no answer."""
        self._closed = True
        with self._lock:
            for process in self._live:
                process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._finalizer()

    def _ask(self, task: int, data: bytes, page: int) -> Look | View | Missing | Reply:
        with self._turns.shared():
            found = self._once(task, data, page, fresh=False)
        if isinstance(found, Missing) and found.reason in _DOUBTFUL:
            with self._turns.alone():
                found = self._once(task, data, page, fresh=True)
        return found

    def _once(self, task: int, data: bytes, page: int, *, fresh: bool) -> Look | View | Missing | Reply:
        process = self._idle.get()
        try:
            if process is not None and fresh and process.used:
                self._drop(process)
                process = None
            if process is None:
                process = _Process(self._program, self._memory, self._seconds, self._backstop)
                with self._lock:
                    self._live.add(process)
                    if self._closed:
                        process.kill()
            side = self._side if task in (VIEW, VIEW_PAGE) else min(self._side, WORKING_SIDE)
            reply = process.ask(task, data, self._max_pixels, side, page)
            if self._closed:  # what it says may be our own doing
                raise DecoderUnavailable("the decoder pool was closed")
            try:
                found: Look | View | Missing | Reply = reply
                if "size" in reply or "missing" in reply:
                    found = process.look(reply)
                elif "view" in reply:
                    found = process.view(reply)
            except (KeyError, TypeError, ValueError):  # nothing a decoder says: it was taken over or is out of order
                found, reply = Missing("image_decoder_crashed"), {"last": True}
            if reply.get("last"):
                with self._lock:
                    self._died()
                self._drop(process)
                process = None
            return found
        finally:
            self._idle.put(process)

    def _drop(self, process: _Process) -> None:
        with self._lock:
            self._live.discard(process)
        process.close()


def _reason(found: Look | View | Missing | Reply) -> str:
    """Why there is no image where one was asked for."""
    return found.reason if isinstance(found, Missing) else "image_decoder_crashed"


def _end(live: set[_Process]) -> None:
    while live:
        live.pop().close()
