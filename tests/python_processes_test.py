#!/usr/bin/env python3
"""A Miner beside threads, signals and forks: what is promised there is done, and nothing leaks.

  tests/python_processes_test.py [PROGRAM]     PROGRAM: what to compare with; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import gc
import os
import signal
import subprocess
import sys
import threading
import time

from python_package import main, or_skip, resident

with or_skip():
    import numpy as np

    import quarry

from python_world import MinedWorld


class ProcessesTest(MinedWorld):
    recipes = ("balanced",)

    def test_threads_share_a_miner(self):
        wanted, miner = quarry.open("set_balanced"), self.miner()
        compared, failures = [], []

        def work(first):
            for begin in range(first * 40, len(wanted), 160):
                rows = wanted[begin:begin + 40]
                try:
                    self.assert_same(miner.mine(*self.batch(rows), times=rows.time), rows)
                except Exception as error:  # a thread would only print it
                    failures.append((begin, error))
                compared.append(begin)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(sorted(compared), list(range(0, len(wanted), 40)))

    def test_the_lock_of_the_interpreter_is_free_while_mining(self):
        miner, users = self.miner("nv-perc", threads=1), np.tile(np.arange(300), 100)
        done = []
        thread = threading.Thread(target=lambda: done.append(miner.mine(users, users)))
        thread.start()
        ticks = 0
        while thread.is_alive():
            time.sleep(0.002)
            ticks += 1
        self.assertGreater(ticks, 20)
        self.assertEqual(len(done[0]), 30000)

    def test_interrupt(self):
        code = """
import time, numpy as np, quarry
random = np.random.default_rng(1)
items, queries = (random.standard_normal((n, 128), np.float32) for n in (50000, 300000))
miner = quarry.Miner(items, "naive", threads=1, allow_inert=True)
miner.mine(queries=queries[:100], keys=np.arange(100))
start = time.monotonic()
miner.mine(queries=queries[:10000], keys=np.arange(10000))
whole = 30 * (time.monotonic() - start)
print("ready", flush=True)
start = time.monotonic()
try:
    miner.mine(queries=queries, keys=np.arange(len(queries)))
except KeyboardInterrupt:
    share = (time.monotonic() - start) / whole
    print("interrupted", share, *miner.mine(queries=queries[:2], keys=[1, 2]).count)
"""
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        self.assertEqual(child.stdout.readline(), "ready\n")
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        words = child.communicate(timeout=300)[0].split()
        self.assertEqual((words[0], words[2:]), ("interrupted", ["4", "4"]), words)
        self.assertLess(float(words[1]), 0.6)  # of the time of the whole batch, which a stop behind it would take

    def test_a_forked_child_is_told(self):
        miner = self.miner("random")
        miner.mine([0], [1])
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            words = []
            for call in (lambda: miner.mine([0], [1]), lambda: self.miner("random")):
                try:
                    call()
                    words.append("mined")
                except quarry.ForkError as error:
                    words.append("spawn" if "spawn" in str(error) else str(error))
            os.write(writer, " ".join(words).encode())
            os._exit(0)
        os.waitpid(child, 0)
        self.assertEqual(os.read(reader, 1000), b"spawn spawn")

    def test_number_of_threads(self):
        before = quarry.get_num_threads()
        try:
            quarry.set_num_threads(3)
            self.assertEqual((quarry.get_num_threads(), self.miner("random").threads), (3, 3))
            self.assertEqual(self.miner("random", threads=1).threads, 1)
        finally:
            quarry.set_num_threads(0)
        self.assertEqual(quarry.get_num_threads(), before)

    def test_threads_wait_asleep(self):
        code = "import os, quarry; print(os.environ.get('OMP_WAIT_POLICY'), 'quarry.Miner' in repr(quarry.Miner))"
        for given, policy in ((None, "PASSIVE"), ("active", "ACTIVE")):
            environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
            environment.update({"OMP_DISPLAY_ENV": "true"} if given is None else {"OMP_DISPLAY_ENV": "true", "OMP_WAIT_POLICY": given})
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
            self.assertEqual(done.stdout.split()[0], str(given))
            self.assertIn(f"OMP_WAIT_POLICY = '{policy}'", done.stderr.upper())

    def test_blas_takes_kernels_of_the_processor(self):
        """An old OpenBLAS that does not know the processor is told which kernels it has; nothing else of the process hears of it."""
        code = ("import os, re, ctypes, quarry, subprocess, sys\n"
                "print(os.environ.get('OPENBLAS_CORETYPE'), subprocess.run(['printenv', 'OPENBLAS_CORETYPE'], capture_output=True).stdout)\n"
                "names = [line.split()[-1] for line in open('/proc/self/maps') if re.search(r'/libopenblas[^/]*[.]so', line)]\n"
                "core = getattr(ctypes.CDLL(names[0]), 'openblas_get_corename', None) if names else None\n"
                "if core is not None: core.restype = ctypes.c_char_p\n"
                "print(core().decode() if core is not None else 'none')\n")
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((set(line.split(":")[1].split()) for line in file if line.startswith("flags")), set())
        own = "none" if not {"avx2", "fma"} <= flags else "skylakex" if "avx512vl" in flags else "haswell"
        for given, kernels in ((None, own), ("Haswell", "haswell")):
            environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                                  env=environment if given is None else {**environment, "OPENBLAS_CORETYPE": given})
            self.assertEqual(done.returncode, 0, done.stderr)
            seen, core = done.stdout.splitlines()
            self.assertEqual(seen, f"{given} {(given + chr(10) if given else '').encode()}")
            if core != "none" and own != "none":
                self.assertEqual(core.lower(), kernels)

    def test_which_kernels_a_processor_has(self):
        from quarry._environment import blas_kernels
        wide = "fpu avx2 fma avx512f avx512bw avx512dq avx512vl amx_tile"
        for flags, machine, kernels in ((wide, "x86_64", "SkylakeX"), (wide.replace(" avx512vl", ""), "x86_64", "Haswell"), ("avx2 fma", "x86_64", "Haswell"),
                                        ("avx2", "x86_64", None), ("", "x86_64", None), (wide, "aarch64", None), ("avx2fma fma", "x86_64", None)):
            self.assertEqual(blas_kernels(flags, machine), kernels, flags)

    def test_ten_thousand_batches_leak_nothing(self):
        miner, users = self.miner("balanced", threads=1), np.arange(4)
        sizes = []
        for step in range(10001):
            miner.mine(users, users + step % 700, times=users + 1_600_000_000)
            if step % 100 == 0:  # the miner's own way of failing must not keep anything either
                with self.assertRaises(quarry.InputError):
                    miner.mine(users, users + 5000)
            if step in (2000, 10000):
                gc.collect()
                sizes.append(resident())
        self.assertLess(sizes[1] - sizes[0], 1 << 20, sizes)

    def test_miners_leave_their_memory(self):
        def make():
            self.miner("balanced").mine(range(50), range(50))
            gc.collect()
            return resident()
        for _ in range(20):
            make()
        before = make()
        for _ in range(60):
            after = make()
        self.assertLess(after - before, 4 << 20)


if __name__ == "__main__":
    main()
