"""Batches mined ahead of the training."""
from __future__ import annotations

import collections
import concurrent.futures
import os
from typing import Any, Callable, Iterable, Iterator, Mapping

from . import _quarry
from ._errors import ConfigError, ForkError, InputError


class Prefetcher(Iterator[tuple[Any, Any]]):
    """(batch, Negatives) of an iterable of batches, mined up to `depth` ahead; made by `Miner.prefetch`, whose docstring says all."""

    def __init__(self, miner: Any, batches: Iterable[Any], depth: int, arguments: Callable[[Any], Any] | None, fixed: Mapping[str, Any]) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= 1024:
            raise ConfigError(f"depth: {depth!r} is out of range; a whole number from 1 to 1024")
        self._miner, self._batches, self._depth, self._arguments, self._fixed = miner, iter(batches), depth, arguments, dict(fixed)
        self._ahead: collections.deque[tuple[Any, concurrent.futures.Future[Any]]] = collections.deque()
        self._end: BaseException | None = None  # what ended the batches, raised behind those that were mined
        self._closed = False
        self._process = os.getpid()
        self._stop = _quarry.StopFlag()
        self._worker = concurrent.futures.ThreadPoolExecutor(1, "quarry-prefetch")  # one, so that batches are mined in their order

    def __iter__(self) -> "Prefetcher":
        return self

    def __next__(self) -> tuple[Any, Any]:
        if self._closed:
            raise StopIteration
        if self._process != os.getpid():
            raise ForkError("this process was forked after the prefetch had begun, and lacks its thread; prefetch in the process that forked")
        try:
            self._fill()
            if not self._ahead:
                raise self._end or StopIteration
            batch, mined = self._ahead[0]
            negatives = mined.result()
        except BaseException:
            self.close()
            raise
        self._ahead.popleft()
        return batch, negatives

    def _fill(self) -> None:
        while len(self._ahead) <= self._depth and self._end is None:
            try:
                batch = next(self._batches)
                keywords = self._keywords(batch)
            except (StopIteration, Exception) as error:  # due behind those that are ahead
                self._end = error
                return
            self._ahead.append((batch, self._worker.submit(self._miner._mine, self._stop, **keywords)))

    def _keywords(self, batch: Any) -> dict[str, Any]:
        given = batch if self._arguments is None else self._arguments(batch)
        if isinstance(given, Mapping):
            return {**self._fixed, **given}
        if isinstance(given, tuple) and len(given) == 2:
            return {**self._fixed, "users": given[0], "positives": given[1]}
        raise InputError(f"prefetch: a batch is a {type(given).__name__}; what mine() takes is a dict of its keywords or (users, positives). "
                         "Give arguments=, which makes one of a batch")

    def close(self) -> None:
        """Ends what is ahead: batches that have not begun are dropped, the one in work ends with its tile. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        for _, mined in self._ahead:
            mined.cancel()
        self._worker.shutdown(wait=True)
        self._ahead.clear()

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_worker", None) is not None and self._process == os.getpid():
            self._stop.set()
            self._worker.shutdown(wait=False, cancel_futures=True)
