// quarry feedback: what comes back from users and models, made into inputs of the next version.
#include <CLI/CLI.hpp>

#include "tools/quarry/review_verbs.h"
#include "tools/quarry/verbs.h"

namespace quarry {

void add_feedback(CLI::App& app, Context& context) {
  CLI::App* verb =
      app.add_subcommand("feedback", "take what users said into the log of the next version");
  verb->require_subcommand(1);
  add_feedback_users(*verb, context);
}

}  // namespace quarry
