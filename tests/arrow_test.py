#!/usr/bin/env python3
"""quarry.arrow: columns of Arrow are matrices at the same address, and a Miner reads them there; what would need a copy is refused.

  tests/arrow_test.py

Run it with a Python that has the package and pyarrow (tools/check_python makes one); else it ends with 77, which means skipped."""
import unittest

from python_package import main, or_skip

with or_skip("pip install pyarrow, or tools/check_python"):
    import numpy as np
    import pyarrow as pa

    import quarry
    from quarry import arrow

from arrow_tables import lists


class ArrowTest(unittest.TestCase):
    def test_the_same_address(self):
        for dtype in (np.float32, np.float16):
            values = np.random.default_rng(0).standard_normal((100, 12)).astype(dtype)
            array = lists(values, "fixed")
            address = array.values.buffers()[1].address
            size = np.dtype(dtype).itemsize
            for begin, count in ((0, 100), (7, 60), (99, 1)):
                part = array.slice(begin, count)
                for given in (part, pa.chunked_array([part]), pa.table({"v": part})["v"]):
                    found = arrow.matrix(given, "v")
                    self.assertEqual(found.__array_interface__["data"][0], address + begin * 12 * size)
                    np.testing.assert_array_equal(found, values[begin:begin + count])
            again = array.slice(10, 50).slice(5, 20)
            self.assertEqual(arrow.matrix(again).__array_interface__["data"][0], address + 15 * 12 * size)
            inner = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)).slice(24), 12).slice(3)  # the numbers are a slice, too
            np.testing.assert_array_equal(arrow.matrix(inner), values[5:])
            self.assertFalse(arrow.matrix(array).flags.writeable)

    def test_a_miner_reads_it_in_place(self):
        values = np.random.default_rng(0).standard_normal((100, 12)).astype(np.float32)
        array = lists(values, "fixed").slice(10, 80)
        miner = quarry.Miner(array, "random", users=lists(values[:5], "fixed"), known_positives=([0], [1]), seed=3)
        self.assertEqual(miner.items_address, array.values.buffers()[1].address + 10 * 12 * 4)
        wanted = quarry.Miner(values[10:90], "random", users=values[:5], known_positives=([0], [1]), seed=3).mine([0, 1], [1, 2])
        del array
        np.testing.assert_array_equal(miner.mine([0, 1], [1, 2]).item, wanted.item)
        with self.assertRaisesRegex(quarry.InputError, "items: lies in 2 chunks"):
            quarry.Miner(pa.chunked_array([lists(values, "fixed")] * 2), "random")

    def test_what_needs_a_copy_is_refused(self):
        values = np.ones((4, 3), np.float32)
        rows = values.tolist()
        for array, words in ((lists(values, "list"), "cast"), (lists(values, "large"), "cast"),
                             (lists(values.astype(np.float64), "fixed"), "double.*cast"),
                             (pa.array([rows[0], None, rows[1]], pa.list_(pa.float32(), 3)), "row 1 is null.*drop_null"),
                             (pa.array([rows[0], [1.0, None, 2.0]], pa.list_(pa.float32(), 3)), "row 1 has a null in place 1"),
                             (pa.chunked_array([lists(values, "fixed")] * 2), "2 chunks.*combine_chunks"), (pa.array([1.0]), "fixed_size_list"),
                             (pa.chunked_array([], pa.list_(pa.float32(), 3)), "0 chunks"), ([[1.0]], "list; a pyarrow array")):
            with self.assertRaisesRegex(quarry.InputError, words):
                arrow.matrix(array, "v")
        good = pa.array([None, rows[0], rows[1], None], pa.list_(pa.float32(), 3))
        np.testing.assert_array_equal(arrow.matrix(good.slice(1, 2)), values[:2])  # nulls outside of the slice do not matter
        copied = lists(values, "list").cast(pa.list_(pa.float32(), 3))
        np.testing.assert_array_equal(arrow.matrix(copied), values)

    def test_tensors_and_exports(self):
        values = np.arange(12, dtype=np.float32).reshape(4, 3)
        tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
        self.assertEqual(arrow.matrix(tensors).__array_interface__["data"][0], tensors.storage.values.buffers()[1].address)

        class Exports:
            def __init__(self, array):
                self.array = array

            def __arrow_c_array__(self, requested_schema=None):
                return self.array.__arrow_c_array__(requested_schema)
        array = lists(values, "fixed").slice(1, 2)
        self.assertEqual(arrow.matrix(Exports(array)).__array_interface__["data"][0], array.values.buffers()[1].address + 12)


if __name__ == "__main__":
    main()
