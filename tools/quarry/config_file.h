// --config FILE: a TOML file whose keys are the flags of a verb. Flags on the command line override
// it.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace quarry {

/// Registers --config on a verb.
void add_config_option(CLI::App& verb);

/// The command line with the config file's settings added for flags that it does not give itself.
/// `args`: program arguments without the program's name, the verb first. Strings, numbers, arrays
/// (the flag once per entry) and tables
/// (`[pairs] teacher = "t.csv"` is `--pairs teacher=t.csv`) are understood. Throws ConfigError for
/// unknown keys, with line and the nearest known one, and IoError if the file cannot be read.
std::vector<std::string> with_config(const CLI::App& app, const std::vector<std::string>& args);

}  // namespace quarry
