#!/usr/bin/env python3
"""tools/gpu_kernels.py: occupancy against figures of the CUDA occupancy calculator, and a changed kernel must be seen."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tools"))
import gpu_kernels  # noqa: E402

REPORT = """sm_80 32 0 0 256 0 quarry::append_kernel(quarry::Tile)
sm_90a 72 688 0 128 1 void quarry::select_kernel<3>(quarry::World)
sm_90a 40 16 0 256 0 void cub::DeviceScanKernel<int>(int)
sm_90a 37 0 0 0 0 quarry::test::warp_collectives_kernel(int)
"""


class Occupancy(unittest.TestCase):
    def test_figures_of_the_occupancy_calculator(self):
        # arch, threads, registers, bytes of shared memory: resident warps of 64, what limits them
        for arch, threads, registers, shared, warps, limit in [
            ("sm_80", 256, 32, 0, 64, "warps"),
            ("sm_80", 256, 33, 0, 48, "registers"),
            ("sm_80", 128, 64, 0, 32, "registers"),
            ("sm_80", 128, 255, 0, 8, "registers"),
            ("sm_80", 32, 16, 0, 32, "blocks"),
            ("sm_80", 128, 32, 48 * 1024, 12, "shared"),
            ("sm_90a", 128, 32, 48 * 1024, 16, "shared"),
            ("sm_90a", 1024, 64, 0, 32, "registers"),
        ]:
            share, limiter = gpu_kernels.occupancy(arch, threads, registers, shared)
            self.assertEqual((share * 64, limiter), (warps, limit), (arch, threads, registers, shared))


class Table(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.report = pathlib.Path(self.folder.name) / "report"
        self.file = pathlib.Path(self.folder.name) / "table.txt"
        self.report.write_text(REPORT)
        self.assertEqual(self.run_tool("--update").returncode, 0)

    def run_tool(self, *more, nvcc="nvcc 13.0"):
        command = [sys.executable, "-B", ROOT / "tools/gpu_kernels.py", self.report, self.file, "--nvcc", nvcc,
                   "--dynamic", "49152", *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_only_our_own_kernels_and_what_dynamic_memory_leaves(self):
        rows = [line.split() for line in self.file.read_text().splitlines() if line.startswith("sm_")]
        self.assertEqual([row[-1] for row in rows], ["append_kernel", "select_kernel<3>"])
        self.assertEqual(rows[0][5:8], ["100%", "warps", "-"])
        self.assertEqual(rows[1][5:8], ["44%", "registers", "25%"])

    def test_the_same_kernels_are_fine(self):
        result = self.run_tool()
        self.assertEqual((result.returncode, result.stdout), (0, ""))

    def test_one_register_more_is_seen(self):
        self.report.write_text(REPORT.replace("sm_90a 72", "sm_90a 73"))
        result = self.run_tool()
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("select_kernel<3>", result.stdout)

    def test_a_kernel_that_went_or_came_is_seen(self):
        lines = REPORT.splitlines(keepends=True)
        for changed in (lines[1:], [*lines, lines[0].replace("append", "other")]):
            self.report.write_text("".join(changed))
            self.assertNotEqual(self.run_tool().returncode, 0)

    def test_another_compiler_is_said_and_not_compared(self):
        self.report.write_text(REPORT.replace("sm_90a 72", "sm_90a 73"))
        result = self.run_tool(nvcc="nvcc 12.4")
        self.assertEqual(result.returncode, 0)
        self.assertIn("not compared", result.stdout)

    def test_without_launch_bounds_or_kernels_it_fails(self):
        for report in (REPORT.replace("sm_90a 72 688 0 128", "sm_90a 72 688 0 0"), REPORT.splitlines()[2] + "\n"):
            self.report.write_text(report)
            self.assertNotEqual(self.run_tool().returncode, 0)


if __name__ == "__main__":
    unittest.main()
