// quarry feedback: what became of negatives, back into the next version.
#include <CLI/CLI.hpp>

#include "tools/quarry/verbs.h"

namespace quarry {

void add_feedback(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand(
      "feedback", "take what became of negatives into the recipe of the next version");
  verb->require_subcommand(1);
  add_feedback_model(*verb, context);
}

}  // namespace quarry
