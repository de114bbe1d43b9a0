"""Batches mined ahead of the training."""
from __future__ import annotations

import collections
import concurrent.futures
import inspect
import os
import threading
from typing import Any, Callable, Iterable, Iterator, Mapping, NoReturn

import numpy as np

from . import _quarry
from ._errors import Cancelled, ConfigError, ForkError, InputError


class Prefetcher(Iterator[tuple[Any, Any]]):
    """(batch, Negatives) of an iterable of batches, mined up to `depth` ahead; made by `Miner.prefetch`, whose docstring says all. Several
    threads may take from one: each batch goes to one of them."""

    def __init__(self, miner: Any, batches: Iterable[Any], depth: int, arguments: Callable[[Any], Any] | None, fixed: Mapping[str, Any]) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= 1024:
            raise ConfigError(f"depth: {depth!r} is out of range; a whole number from 1 to 1024")
        self._known = [name for name in inspect.signature(miner.mine).parameters]
        self._check(fixed, "prefetch")
        self._miner, self._batches, self._depth, self._arguments, self._fixed = miner, iter(batches), depth, arguments, dict(fixed)
        self._ahead: collections.deque[tuple[Any, concurrent.futures.Future[Any]]] = collections.deque()
        self._end: BaseException | None = None  # what ended the batches, raised behind those that were mined
        self._closed = False
        self._process = os.getpid()
        self._queue = miner.queue if miner._has_queue else None
        self._taking = threading.RLock()  # what a signal runs may take too
        self._stop = _quarry.StopFlag()
        self._worker = concurrent.futures.ThreadPoolExecutor(1, "quarry-prefetch")  # one, so that batches are mined in their order

    @property
    def queue(self) -> tuple[np.ndarray, np.ndarray]:
        """`Miner.queue` as it was behind the batch that came last: what goes into a checkpoint, where `Miner.queue` itself has those that
        are mined ahead too. As long as no other thread mines with the Miner."""
        return self._miner.queue if self._queue is None else self._queue

    def __iter__(self) -> "Prefetcher":
        return self

    def __next__(self) -> tuple[Any, Any]:
        if self._closed:
            raise StopIteration
        if self._process != os.getpid():
            raise ForkError("this process was forked after the prefetch had begun, and lacks its thread; prefetch in the process that forked")
        try:
            with self._taking:
                self._fill()
                if not self._ahead:
                    self._ended()
                batch, mined = self._ahead.popleft()
            negatives, queue = mined.result()
        except StopIteration:
            raise
        except (concurrent.futures.CancelledError, Cancelled):
            if not self._closed:
                raise
            raise StopIteration from None  # closed by another thread meanwhile
        except BaseException:
            self.close()
            raise
        if queue is not None:
            self._queue = queue
        return batch, negatives

    def _ended(self) -> NoReturn:
        """Raises what ended the batches, once; what others wait for is still mined."""
        self._worker.shutdown(wait=False)
        self._batches = iter(())
        end, self._end = self._end, StopIteration()
        raise end or StopIteration

    def _fill(self) -> None:
        while len(self._ahead) <= self._depth and self._end is None and not self._closed:
            try:
                batch = next(self._batches)
                keywords = self._keywords(batch)
            except (StopIteration, Exception) as error:  # due behind those that are ahead
                self._end = error
                return
            try:
                self._ahead.append((batch, self._worker.submit(_mine, self._miner, self._stop, self._queue is not None, keywords)))
            except RuntimeError:
                if not self._closed:
                    raise
                return  # closed by another thread meanwhile

    def _keywords(self, batch: Any) -> dict[str, Any]:
        given = batch if self._arguments is None else self._arguments(batch)
        if isinstance(given, Mapping):
            self._check(given, "prefetch: a batch")
            return {**self._fixed, **given}
        if isinstance(given, tuple) and len(given) == 2:
            return {**self._fixed, "users": given[0], "positives": given[1]}
        raise InputError(f"prefetch: a batch is a {type(given).__name__}; what mine() takes is a dict of its keywords or (users, positives). "
                         "Give arguments=, which makes one of a batch")

    def _check(self, keywords: Mapping[str, Any], what: str) -> None:
        for name in keywords:
            if name not in self._known:
                raise InputError(f"{what}: has {name!r}, which mine() does not take; it takes {', '.join(self._known)}. Give arguments=, which "
                                 "makes them of a batch")

    def close(self) -> None:
        """Ends what is ahead: batches that have not begun are dropped, the one in work ends with its tile, and `batches` is let go. A thread
        that waits for a batch gets StopIteration. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._process != os.getpid():
            return  # the thread, and whatever locks it held, are the other process's
        self._stop.set()
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._ahead.clear()
        self._batches = iter(())

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_worker", None) is not None and self._process == os.getpid():
            self._stop.set()
            self._worker.shutdown(wait=False, cancel_futures=True)


def _mine(miner: Any, stop: Any, with_queue: bool, keywords: Mapping[str, Any]) -> tuple[Any, Any]:
    """Not of the Prefetcher, which a thread in work would keep alive."""
    negatives = miner._mine(stop, **keywords)
    return negatives, miner.queue if with_queue else None
