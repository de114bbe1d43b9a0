#!/usr/bin/env python3
"""What the package says: mistakes are named in words of Python, what is left out is said, and things describe themselves.

  tests/python_words_test.py [PROGRAM]     PROGRAM: what to compare with; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import re

from python_package import main, or_skip, run

with or_skip():
    import numpy as np

    import quarry

from python_world import SHARED, MinedWorld, TrainingWorld


class MistakesTest(MinedWorld):
    recipes = ("nv-perc",)

    def test_what_is_left_out_is_said(self):
        with open("data/events.csv", newline="") as file:
            lines = file.read().splitlines()
        with open("strange.csv", "w") as file:
            file.write("\n".join([*lines, "100000,1,1600000000,like,", "1,100000,1600000000,like,"]) + "\n")
        with self.assertRaisesRegex(quarry.InputError, "have no embedding"):
            self.miner(events="strange.csv")
        self.assertEqual(self.miner(unknown_ids="drop").warnings, [])
        warned = self.miner(events="strange.csv", unknown_ids="drop").warnings
        self.assertRegex(" ".join(warned), r"events \(ids of users and items\): 2;")

    def test_mistakes_are_named(self):
        miner, one = self.miner("nv-perc"), self.users[:1]
        cases = [
            (quarry.InputError, "items: is float64.*astype", lambda: self.miner(items=self.items.astype(np.float64))),
            (quarry.InputError, "items: is int32", lambda: self.miner(items=np.zeros((3, 32), np.int32))),
            (quarry.InputError, "two dimensions", lambda: self.miner(items=self.items[0])),
            (quarry.InputError, "ascontiguousarray", lambda: self.miner(items=np.asfortranarray(self.items))),
            (quarry.InputError, "ascontiguousarray", lambda: self.miner(items=self.items[::2])),
            (quarry.InputError, "byte order", lambda: self.miner(items=self.items.astype(">f4"))),
            (quarry.InputError, "is a list", lambda: self.miner(items=[[1.0]])),
            (quarry.InputError, "items: is <U1", lambda: self.miner(items=np.array([["a", "b"]]))),
            (quarry.InputError, "items: is datetime64", lambda: self.miner(items=np.zeros((3, 32), "datetime64[s]"))),
            (quarry.InputError, "items: is", lambda: self.miner(items=self.items.astype(np.longdouble))),
            (quarry.InputError, "queries: is complex64", lambda: miner.mine([0], [2], queries=one.astype(np.complex64))),
            (quarry.InputError, "Python objects", lambda: self.miner(items=self.items.astype(object))),
            (quarry.InputError, "users: have 8 columns, items have 32", lambda: self.miner(users=self.users[:, :8].copy())),
            (quarry.InputError, "items", lambda: self.miner(items=np.full((5, 32), np.nan, np.float32))),
            (quarry.InputError, "0 rows", lambda: self.miner(items=self.items[:0])),
            (quarry.ConfigError, "there is no recipe .nv-pers.*did you mean .nv-perc", lambda: self.miner("nv-pers")),
            (quarry.ConfigError, "recipe:", lambda: self.miner("k = 3\nnonsense = 1\n")),
            (quarry.ConfigError, "catalogue", lambda: self.miner(catalogue=None)),
            (quarry.ConfigError, "known_positives", lambda: quarry.Miner(self.items, "nv-perc", users=self.users)),
            (quarry.ConfigError, "users=", lambda: quarry.Miner(self.items, "nv-perc", events="data/events.csv")),
            (quarry.ConfigError, "threads", lambda: self.miner(threads=0)),
            (quarry.ConfigError, "seed", lambda: self.miner(seed=-1)),
            (quarry.ConfigError, "as_of", lambda: self.miner(as_of="yesterday")),
            (quarry.ConfigError, "event_columns.*'usr'", lambda: self.miner(event_columns={"usr": "x"})),
            (quarry.ConfigError, "unknown_ids", lambda: self.miner(unknown_ids="keep")),
            (quarry.IoError, "missing.csv", lambda: self.miner(events="missing.csv")),
            (quarry.IoError, "missing.npy", lambda: self.miner(items="missing.npy")),
            (quarry.InputError, "known_positives", lambda: self.miner(known_positives=([1, 2], [3]))),
            (quarry.InputError, "known_positives.*800", lambda: self.miner(known_positives=([1], [800]))),
            (quarry.InputError, "known_positives: must be", lambda: self.miner(known_positives=np.array([[3, 10], [4, 11], [5, 12]]))),
            (quarry.InputError, "known_positives: must be", lambda: self.miner(known_positives=([1],))),
            (quarry.InputError, "datetime64.s.", lambda: miner.mine([0], [2], times=np.array(["2021-01-01"], "datetime64[ns]"))),
            (quarry.InputError, "entry 1 is 18446744073709551616", lambda: miner.mine([0, 1], [2, 3], keys=[1, 2**64])),
            (quarry.InputError, "ids for 800 rows", lambda: self.miner(item_ids=["a", "b"])),
            (quarry.InputError, "users: is float64", lambda: miner.mine([0.5], [1])),
            (quarry.InputError, "users: has shape", lambda: miner.mine([[0]], [1])),
            (quarry.InputError, "entry 1 is -3", lambda: miner.mine([0, -3], [1, 2])),
            (quarry.InputError, "entry 0 is 4294967295", lambda: miner.mine(np.array([2**32 - 1], np.uint32), [2])),
            (quarry.InputError, "outside of the 300 that are known.*rows 1", lambda: miner.mine([0, 300], [1, 2])),
            (quarry.InputError, "outside of the 800 items.*rows 0", lambda: miner.mine([0, 1], [800, 2])),
            (quarry.InputError, "is of 1 rows; the batch has 2", lambda: miner.mine([0, 1], [2])),
            (quarry.InputError, "offsets", lambda: miner.mine([0, 1], (np.array([0, 2, 1]), np.array([4, 5])))),
            (quarry.InputError, "3 are needed", lambda: miner.mine([0, 1], (np.array([0, 2]), np.array([4, 5])))),
            (quarry.InputError, "times: has 1", lambda: miner.mine([0, 1], [2, 3], times=[5])),
            (quarry.InputError, "keys: has 3", lambda: miner.mine([0, 1], [2, 3], keys=[1, 2, 3])),
            (quarry.InputError, "queries: must be float32.*\\(1, 32\\)", lambda: miner.mine([0], [2], queries=one.astype(np.float16))),
            (quarry.InputError, "queries: must be float32", lambda: miner.mine([0], [2], queries=one[:, :8].copy())),
            (quarry.InputError, "queries: is float64", lambda: miner.mine([0], [2], queries=one.astype(np.float64))),
            (quarry.InputError, "users: none", lambda: miner.mine()),
            (quarry.InputError, "users: none", lambda: miner.mine(queries=one)),
            (quarry.ConfigError, "k: 0", lambda: miner.mine([0], [2], k=0)),
            (quarry.ConfigError, "k", lambda: miner.mine([0], [2], k=60000)),
            (quarry.InputError, "keys: none", lambda: quarry.Miner(self.items, "naive", allow_inert=True).mine(queries=one)),
            (quarry.Error, "nowhere", lambda: quarry.open("nowhere")),
            (quarry.ConfigError, "set_num_threads: 5000", lambda: quarry.set_num_threads(5000)),
        ]
        for kind, words, call in cases:
            with self.subTest(words=words):
                with self.assertRaisesRegex(kind, words):
                    call()
        rows = [[0, 1, 2], [3, 4]]  # of lists, a tuple is what a list is
        self.assertEqual(miner.mine([0, 1], tuple(rows)).content_hash(), miner.mine([0, 1], rows).content_hash())
        cut = (np.array([0, 3, 5]), np.array([0, 1, 2, 3, 4]))
        self.assertEqual(miner.mine([0, 1], cut).content_hash(), miner.mine([0, 1], rows).content_hash())
        keys = miner.mine([0, 1], rows).key.tolist()  # on both sides of 2^63, mostly
        self.assertEqual(miner.mine([0, 1], rows, keys=[keys[0], 5]).key.tolist(), [keys[0], 5])
        self.assertTrue(issubclass(quarry.InputError, ValueError) and issubclass(quarry.IoError, OSError))
        rows = quarry.open("set_nv-perc")[:9]  # none of these broke it
        self.assert_same(miner.mine(*self.batch(rows), times=rows.time), rows)

    def test_arrays_on_devices_name_the_call_of_their_library(self):
        def array(module, kind, **more):
            """Of a library that is not here: what the package asks before it touches an array's memory."""
            def never(self, **_):
                raise AssertionError("memory of a device was asked for")
            return type("Array", (), {"__module__": module, "__dlpack_device__": lambda self: (kind, 0), "__dlpack__": never, "shape": (3, 32), "ndim": 2,
                                      "dtype": np.dtype(np.float32), **more})()

        def unknown(self):
            raise BufferError("no such device")

        cases = [("cupy", 2, {}, r"lies on device CUDA; .*cupy\.asnumpy\(NAME\) makes a copy"),
                 ("cupy", 10, {}, r"lies on device ROCm; .*cupy\.asnumpy\(NAME\)"),
                 ("cupy.core.core", 13, {}, r"device managed memory of CUDA; .*cupy\.asnumpy\(NAME\)"),
                 ("jaxlib._jax", 2, {"device": "cuda:0"}, r"device CUDA; .*jax\.device_get\(NAME\) makes a copy"),
                 ("jaxlib.xla_extension", 10, {}, r"device ROCm; .*jax\.device_get\(NAME\)"),
                 ("jax._src.array", 0, {"__dlpack_device__": unknown}, r"a device other than the CPU; .*jax\.device_get\(NAME\)"),
                 ("torch", 2, {"device": "cuda:1"}, r"device cuda:1; .*NAME\.cpu\(\) makes a copy"),
                 ("torch.nn.parameter", 2, {"device": "cuda:0"}, r"device cuda:0; .*NAME\.cpu\(\)"),
                 ("torch", 3, {"device": "cpu"}, r"lies in pinned host memory of CUDA; .*NAME\.clone\(\) makes a copy"),
                 ("tinygrad", 8, {}, r"is a tinygrad\.Array and lies on device Metal; .*make a NumPy array of it"),
                 ("other.lib", 99, {"cpu": lambda self: self}, r"a device other than the CPU; .*NAME\.cpu\(\) makes a copy")]
        miner = self.miner("nv-perc")
        for module, kind, more, words in cases:
            there = array(module, kind, **more)
            for name, call in (("items", lambda: self.miner(items=there)), ("users", lambda: self.miner(users=there)),
                               ("features['x']", lambda: self.miner(features={"x": there})), ("items", lambda: miner.update_items(there)),
                               ("queries", lambda: miner.mine([0, 1, 2], queries=there)), ("users", lambda: miner.mine(there)),
                               ("positives", lambda: miner.mine([0, 1, 2], there)), ("times", lambda: miner.mine([0, 1, 2], times=there)),
                               ("events: column 'user'", lambda: self.miner(events={"user": there, "item": [1], "time": [1], "kind": ["like"]}))):
                with self.subTest(module=module, kind=kind, argument=name):
                    with self.assertRaises(quarry.InputError) as caught:
                        call()
                    self.assertRegex(str(caught.exception), "^" + re.escape(name) + ": .*" + words.replace(
                        "NAME", "column" if ":" in name else re.escape(name)))
                    if "cpu" not in words:
                        self.assertNotIn(".cpu()", str(caught.exception))

    def test_arrays_of_jax_on_the_cpu_are_read_in_place(self):
        try:
            import jax.numpy as jnp
        except ImportError:
            self.skipTest("no jax")
        items, users = jnp.asarray(self.items), jnp.asarray(self.users)
        miner, rows = self.miner("nv-perc", items=items, users=users), quarry.open("set_nv-perc")[:64]
        self.assertEqual((miner.items_address, miner.users_address), (items.unsafe_buffer_pointer(), users.unsafe_buffer_pointer()))
        of_jax = jnp.asarray(rows.user.astype(np.int32))
        offsets, values = (jnp.asarray(part.astype(np.int32)) for part in self.batch(rows)[1])
        self.assert_same(miner.mine(of_jax, (offsets, values), times=rows.time), rows)
        by_queries = miner.mine(rows.user, times=rows.time, queries=users[of_jax])
        np.testing.assert_array_equal(by_queries.item, miner.mine(rows.user, times=rows.time).item)
        halves = jnp.asarray(self.items, jnp.bfloat16)
        self.assertEqual(self.miner("nv-perc", items=halves).items_address, halves.unsafe_buffer_pointer())

    def test_words_are_those_of_the_program(self):
        for recipe, events, call in (("nv-pers", "data/events.csv", lambda: self.miner("nv-pers")),
                                     ("nv-perc", "missing.csv", lambda: self.miner("nv-perc", events="missing.csv")),
                                     ("nv-perc", "data/planted.csv", lambda: self.miner("nv-perc", events="data/planted.csv"))):
            words = run("mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events", events, "--recipe", recipe, "--out",
                        "never", ok=(2, 3, 5)).stderr.strip()
            with self.assertRaises(quarry.Error) as caught:
                call()
            words = words.replace("--event-columns time=COLUMN", "event_columns={'time': COLUMN}")  # what is an argument here
            self.assertEqual("quarry: %s: %s" % (words.split(": ")[1], caught.exception), words)


class WordsTest(TrainingWorld):
    def test_messages_name_arguments(self):
        with open("odd.csv", "w") as file:
            file.write("who,item,time,kind\n1,2,3,like\n")
        recipe = SHARED % ('"topk"', '"top"')
        for words, call in ((r"event_columns=\{'user': COLUMN\}", lambda: self.miner(events="odd.csv")),
                            (r"item_lists=\{'shown': FILE\}", lambda: self.miner(recipe.replace(
                                '["positives"]', '["positives", { kind = "allow_list", list = "shown" }]'))),
                            (r"features=\{'text': FILE\}", lambda: self.miner(recipe.replace(
                                '["positives"]', '["positives", { kind = "similarity", max = 0.5, table = "text" }]'))),
                            (r"catalogue= a table", lambda: self.miner(recipe.replace(
                                '["positives"]', '["positives", { kind = "group", column = "nowhere" }]')))):
            with self.subTest(words=words):
                with self.assertRaisesRegex(quarry.Error, words) as caught:
                    call()
                self.assertNotIn("--", str(caught.exception))
        said = quarry._errors.in_words_of_python
        self.assertEqual(said("--retriever: \"X\" is none; --out stays, --as-of too"), "retriever: \"X\" is none; --out stays, as_of= too")

    def test_what_things_say_of_themselves(self):
        miner = self.miner("nv-perc", seed=77)
        self.assertRegex(repr(miner), r"<quarry.Miner of 600 items of 24 numbers and 200 users, recipe 'nv-perc', k 4, .* seed 77, round 0>")
        self.assertRegex(repr(miner.mine(*self.batch)), r"<quarry.Negatives of 150 rows, k 4, .* filled, version 0, round 0>")
        run("mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv", "--recipe", "nv-perc", "--out", "set_r")
        whole = quarry.open("set_r")
        self.assertRegex(repr(whole), rf"<quarry.NegativeSet '.*set_r': {len(whole)} rows, k 4, 1 shards, content [0-9a-f]{{32}}>")
        self.assertRegex(repr(whole[3:9]), r"<quarry.Rows: 6 rows of row_key, .*")


if __name__ == "__main__":
    main()
