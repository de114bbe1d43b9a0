// The rows of a feed, mined into whatever writes them.
#pragma once

#include "tools/quarry/progress.h"
#include "tools/quarry/recall_report.h"
#include "tools/quarry/row_feed.h"
#include "tools/quarry/verbs.h"

namespace quarry {

/// Mines all `rows` of the feed. Writer: SetWriter, PartWriter. The sample is offered every row.
template <class Writer>
void mine_rows(Writer& writer, RecallSample& sample, RowFeed& feed, std::uint64_t rows,
               const Context& context) {
  Progress progress("rows", rows);
  feed.mine(
      [&](const NegativeBatch& batch, std::uint64_t first, const SetRows& set_rows) {
        writer.append(batch, set_rows, context.stop);
        sample.offer(batch, set_rows.key, first);
        progress.update(first + batch.num_rows);
      },
      context.stop);
}

}  // namespace quarry
