"""A thread that does things in order.

In: things to do. Out: they are done, one after the other, beside whoever asked for them.

Theory. At most so many are asked for and not done: who asks for more waits, so that nothing piles up. What
one raises is raised where the next is asked for, or at the end, and nothing is done after it. The pool of
`concurrent.futures` would do, but takes 10 ms to import, of the 150 that a start takes.

Never: does two things at once.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Self


class Worker:
    """Does what it is asked for until it is left."""

    def __init__(self, most: int) -> None:
        """`most`: things asked for and not done."""
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._room = Semaphore(most)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="lockscope-worker", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (thing := self._asked.get()) is not None:
            try:
                if self._error is None:
                    thing()
            except BaseException as error:  # noqa: BLE001 (raised again where more is asked for)
                self._error = error
            self._room.release()

    def do(self, thing: Callable[[], None]) -> None:
        """Have something done, when there is room."""
        self._room.acquire()
        self._complain()
        self._asked.put(thing)

    def finish(self) -> None:
        """Wait until everything is done."""
        self._leave()
        self._complain()

    def _complain(self) -> None:
        if self._error is not None:
            raise self._error

    def _leave(self) -> None:
        self._asked.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
