// Faults of the disk on demand, for tests of what the store leaves behind.
#pragma once

namespace quarry {

/// Reads two variables of the environment; without them nothing is done. Steps on disk
/// (host/store/files.h) are counted from 1.
///   QUARRY_CRASH_AT=N     the process ends, as if killed, before step N; N+: behind it
///   QUARRY_FAIL_AT=N:E    step N fails with errno E; N+:E: it is done and says so
void plant_file_faults();

}  // namespace quarry
