#!/usr/bin/env python3
"""Batches mined ahead: in order, none lost beside updates, ended by errors, Ctrl-C, other threads and forks, and 10,000 of them leak nothing.

  tests/python_prefetch_test.py [PROGRAM]     PROGRAM: what makes the data; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import gc
import signal
import subprocess
import sys
import threading
import time

from python_package import main, or_skip, resident

with or_skip():
    import numpy as np

    import quarry

from python_world import SHARED, TrainingWorld


class PrefetchTest(TrainingWorld):
    def test_prefetch_keeps_order(self):
        miner = self.miner("nv-sample")
        batches = [{"users": self.batch[0][i:i + 30], "positives": self.batch[1][i:i + 30], "round": i % 3} for i in range(0, 120, 5)]
        for depth in (1, 2, 7, 100):
            seen = 0
            for (batch, got), wanted in zip(miner.prefetch(batches, depth), batches, strict=True):
                self.assertIs(batch, wanted)
                self.assert_same(got, miner.mine(**batch))
                seen += 1
            self.assertEqual(seen, len(batches))
        pairs = [(batch["users"], batch["positives"]) for batch in batches]
        for number, (batch, got) in enumerate(miner.prefetch(pairs, k=2, times=np.full(30, 1_600_000_000))):
            self.assert_same(got, miner.mine(*pairs[number], k=2, times=np.full(30, 1_600_000_000)))
        for number, (batch, got) in enumerate(miner.prefetch(range(9), arguments=lambda step: {**batches[step], "round": 4})):
            self.assertEqual(batch, number)
            self.assert_same(got, miner.mine(**{**batches[number], "round": 4}))
        self.assertEqual(list(miner.prefetch([])), [])
        for depth in (0, 1025, True, 2.0):
            with self.assertRaises(quarry.ConfigError):
                miner.prefetch([], depth)

    def test_prefetch_raises_where_it_is_due(self):
        miner = self.miner("nv-perc")

        def until(bad, batch):
            for step in range(10):
                if step == bad and batch is None:
                    raise ZeroDivisionError
                yield batch if step == bad else self.batch
        for kind, batch in ((ZeroDivisionError, None), (quarry.InputError, (self.batch[0], self.batch[1] + 600)), (quarry.InputError, 7)):
            for depth in (1, 3, 20):
                ahead, done = miner.prefetch(until(4, batch), depth), 0
                with self.assertRaises(kind):
                    for _ in ahead:
                        done += 1
                self.assertEqual(done, 4)
                self.assertEqual(list(ahead), [])  # it has ended
        for _ in miner.prefetch(self.batch for _ in range(1000)):
            break  # what is ahead is dropped
        with miner.prefetch(self.batch for _ in range(1000)) as ahead:
            next(ahead)
        self.assertEqual(list(ahead), [])
        gc.collect()
        time.sleep(0.3)
        self.assertEqual([thread.name for thread in threading.enumerate() if "prefetch" in thread.name], [])

    def test_prefetch_serves_several_threads(self):
        miner = self.miner("nv-perc", threads=1)
        batches = [((np.arange(5) + step) % 200, (np.arange(5) * 7 + step) % 600) for step in range(300)]
        ahead, taken, failures = miner.prefetch(iter(batches), 4), [], []

        def take():
            try:
                for batch, negatives in ahead:
                    taken.append((batch, negatives))
            except BaseException as error:  # noqa: B902 (told below)
                failures.append(error)
        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        place = {id(batch): step for step, batch in enumerate(batches)}
        self.assertEqual(sorted(place[id(batch)] for batch, _ in taken), list(range(300)))
        for batch, negatives in taken:
            self.assert_same(negatives, miner.mine(*batch))

    def test_prefetch_closed_by_another_thread_ends(self):
        miner = self.miner("nv-perc", threads=1)
        users = np.arange(60_000) % 200
        for pause in (0.0, 0.05, 0.2):
            released = []

            class Batches:
                def __iter__(self):
                    while True:
                        yield {"users": users, "keys": np.arange(60_000)}

                def __del__(self):
                    released.append(True)
            source = Batches()
            ahead, ended = miner.prefetch(source, 2), []

            def consume():
                try:
                    for _ in ahead:
                        pass
                    ended.append(None)
                except BaseException as error:  # noqa: B902 (told below)
                    ended.append(error)
            thread = threading.Thread(target=consume)
            thread.start()
            time.sleep(pause)
            begin = time.monotonic()
            ahead.close()
            thread.join(timeout=60)
            self.assertEqual(ended, [None])
            self.assertLess(time.monotonic() - begin, 30)
            del source
            gc.collect()
            self.assertEqual(released, [True])  # workers of a DataLoader end with it, though `ahead` is there

    def test_prefetch_names_what_mine_does_not_take(self):
        miner = self.miner("nv-perc")
        with self.assertRaisesRegex(quarry.InputError, r"a batch: has 'user', which mine\(\) does not take; it takes users, positives, .*arguments="):
            next(miner.prefetch([{"user": [1], "item": [2]}]))
        with self.assertRaisesRegex(quarry.InputError, "has 'rounds'"):
            miner.prefetch([self.batch], rounds=3)

    def test_prefetch_keeps_the_queue_of_a_checkpoint(self):
        """What was mined ahead and not trained on is mined again behind a restart, alike."""
        recipe = SHARED % ('{ kind = "queue", depth = 30 }', '"top"')
        batches = [((np.arange(8) + 9 * step) % 200, (np.arange(8) * 7 + 31 * step) % 600) for step in range(24)]
        straight = [self.miner(recipe)]
        wanted = [straight[0].mine(*batch) for batch in batches]
        miner = self.miner(recipe)
        with miner.prefetch(batches, 5) as ahead:
            for stop, (_, negatives) in enumerate(ahead):
                self.assert_same(negatives, wanted[stop])
                if stop == 10:
                    break
            time.sleep(0.3)
            kept = ahead.queue
        self.assertEqual(len(kept[0]), 31)
        resumed = self.miner(recipe)
        resumed.queue = kept
        for step, (_, negatives) in enumerate(resumed.prefetch(batches[11:], 5), 11):
            self.assert_same(negatives, wanted[step])
        plain = self.miner("nv-perc")
        self.assertEqual(plain.prefetch([]).queue[0].tolist(), [0])

    def test_prefetch_mines_while_the_caller_works(self):
        miner = self.miner("nv-perc", threads=1)
        started = []

        def batches():
            for step in range(6):
                started.append(step)
                yield self.batch
        ahead = miner.prefetch(batches(), 2)
        next(ahead)
        self.assertEqual(started, [0, 1, 2])
        time.sleep(1.0)  # both are mined by now, without anybody asking
        begin = time.monotonic()
        next(ahead), next(ahead)
        together = time.monotonic() - begin
        begin = time.monotonic()
        miner.mine(*self.batch), miner.mine(*self.batch)
        self.assertLess(together, 0.5 * (time.monotonic() - begin) + 0.002)
        ahead.close()

    def test_prefetch_beside_updates_loses_and_repeats_none(self):
        for retriever in ("auto", "IVF8,Flat")[:2 if self.has_faiss() else 1]:
            with self.subTest(retriever=retriever):
                miner = self.miner("nv-sample", retriever=retriever)
                fresh = [self.miner("nv-sample", items=items, retriever=retriever) for items in (self.items, *self.later)]
                batches = [{"users": (np.arange(40) + step) % 200, "positives": (np.arange(40) + 3 * step) % 600,
                            "keys": np.arange(40, dtype=np.uint64) + 40 * step} for step in range(400)]
                updates, got = [], []
                for step, (batch, negatives) in enumerate(miner.prefetch(iter(batches), 3)):
                    got.append((batch, negatives))
                    if step % 40 == 0 and len(updates) < 6:
                        updates.append(miner.update_items(self.later[len(updates)], wait=False))
                    if step % 40 == 30:
                        updates[-1].result(timeout=60)
                self.assertEqual([update.result() for update in updates], [1, 2, 3, 4, 5, 6])
                self.assertEqual(len(got), 400)
                versions = [negatives.version for _, negatives in got]
                self.assertEqual((versions, sorted(set(versions))), (sorted(versions), list(range(7))))
                for (batch, negatives), wanted in zip(got, batches):
                    self.assertIs(batch, wanted)
                    np.testing.assert_array_equal(negatives.key, wanted["keys"])
                    self.assert_same(negatives, fresh[negatives.version].mine(**wanted))

    def test_interrupts(self):
        code = """
import sys, time, numpy as np, quarry
random = np.random.default_rng(1)
what = sys.argv[1]
if what == "update":
    items = random.standard_normal((60000, 64), np.float32)
    miner = quarry.Miner(items[:20000].copy(), "naive", threads=1, allow_inert=True, retriever="IVF1024,Flat")
    miner.update_items(items[20000:40000].copy(), wait=False).result()
    print("ready", flush=True)
    try:
        for number in range(2, 1000):
            miner.update_items(items[:20000].copy(), version=number)
    except KeyboardInterrupt:
        version = miner.version
        time.sleep(4)  # the one that was ended does not come later
        print("interrupted", 0 if miner.version == version else "but changed")
        miner.update_items(items[40000:].copy(), version=5000)
        print("usable" if miner.version == 5000 else "unusable")
elif what == "build":
    items = random.standard_normal((200000, 96), np.float32)
    print("ready", flush=True)
    start = time.monotonic()
    try:
        quarry.Miner(items, "naive", threads=1, allow_inert=True, retriever="HNSW64,Flat")
    except KeyboardInterrupt:
        print("interrupted", time.monotonic() - start)
        quarry.Miner(items[:500], "naive", threads=1, allow_inert=True, retriever="HNSW64,Flat")
        print("usable")
else:
    items, queries = (random.standard_normal((n, 128), np.float32) for n in (40000, 3000))
    miner = quarry.Miner(items, "naive", threads=1, allow_inert=True)
    batches = ({"queries": queries, "keys": np.arange(3000) + 3000 * step} for step in range(1000))
    print("ready", flush=True)
    try:
        for _ in miner.prefetch(batches):
            pass
    except KeyboardInterrupt:
        print("interrupted", 0)
        miner.mine(queries=queries[:3], keys=np.arange(3))
        print("usable")
"""
        for what in ("prefetch", "build", "update")[:3 if self.has_faiss() else 1]:
            with self.subTest(what=what):
                child = subprocess.Popen([sys.executable, "-c", code, what], stdout=subprocess.PIPE, text=True)
                self.assertEqual(child.stdout.readline(), "ready\n")
                time.sleep(1.5)
                child.send_signal(signal.SIGINT)
                begin = time.monotonic()
                words = child.communicate(timeout=300)[0].split()
                self.assertEqual((words[0], words[2:], child.returncode), ("interrupted", ["usable"], 0))
                self.assertLess(time.monotonic() - begin, 90)  # building it whole takes several minutes

    def test_forked_processes_are_told(self):
        code = """
import os, numpy as np, quarry
items = np.random.default_rng(1).standard_normal((500, 8), np.float32)
miner = quarry.Miner(items, "naive", allow_inert=True)
miner.update_items(items + 1, wait=False).result()
batch = {"queries": items[:5], "keys": np.arange(5)}
ahead = miner.prefetch([batch] * 9)
next(ahead)
if os.fork() == 0:
    told = 0
    for call in (lambda: miner.update_items(items), lambda: miner.update_items(items, wait=False), lambda: next(ahead), lambda: miner.set_round(2),
                 lambda: next(miner.prefetch([batch]))):
        try:
            call()
        except quarry.ForkError:
            told += 1
    os._exit(told)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.stdout, "5\n", done.stderr)

    def test_ten_thousand_batches_leak_nothing(self):
        miner, sizes = self.miner(SHARED % ('{ kind = "queue", depth = 300 }', '"top"')), []
        batches = ((self.batch[0][:64], (self.batch[1][:64] + step) % 600) for step in range(10_000))
        for step, _ in enumerate(miner.prefetch(batches)):
            if step % 100 == 0:
                miner.update_items(self.later[step // 100 % 6], wait=False)
            if step in (3000, 9999):
                gc.collect()
                sizes.append(resident())
        self.assertLess(sizes[1] - sizes[0], 4 << 20, sizes)


if __name__ == "__main__":
    main()
