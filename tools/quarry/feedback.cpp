// quarry feedback: what users and models say of negatives, made into inputs of the next version.
#include <CLI/CLI.hpp>

#include "tools/quarry/review_verbs.h"
#include "tools/quarry/verbs.h"

namespace quarry {

void add_feedback(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand(
      "feedback", "take what users and models say of negatives into the next version");
  verb->require_subcommand(1);
  add_feedback_users(*verb, context);
  add_feedback_model(*verb, context);
}

}  // namespace quarry
