// quarry review: experts judge a sample of negatives, and what they say comes back.
#include <CLI/CLI.hpp>

#include "tools/quarry/review_verbs.h"
#include "tools/quarry/verbs.h"

namespace quarry {

void add_review(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand(
      "review", "have experts judge a sample of a set's negatives: export, then import");
  verb->require_subcommand(1);
  add_review_export(*verb, context);
  add_review_import(*verb, context);
}

}  // namespace quarry
