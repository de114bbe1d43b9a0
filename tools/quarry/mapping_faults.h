// A mapped input that is cut while it is used: a message and an exit code in the place of a crash.
#pragma once

namespace quarry {

/// From here on a fault in a mapped file (SIGBUS) ends the process with exit code 5 and a line that
/// names the file. Call once, before threads start.
void report_mapping_faults();

}  // namespace quarry
