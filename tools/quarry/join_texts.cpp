// Joining texts by id.
#include "tools/quarry/join_texts.h"

#include <fmt/format.h>

#include "host/data/table.h"
#include "kernels/core/errors.h"

namespace quarry {

JoinedTexts::JoinedTexts(const std::string& from, const std::string& id_column, const IdMap& ids,
                         const std::string& flag)
    : texts_(ids.size()) {
  const std::size_t colon = from.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == from.size())
    throw ConfigError(fmt::format(
        "{} {}: name the file and the column that holds the texts: FILE:column", flag, from));
  path_ = from.substr(0, colon);
  const auto table = open_table(path_);
  table->select({id_column, from.substr(colon + 1)});
  TableBatch batch;
  while (table->next(batch)) {
    for (std::uint64_t r = 0; r < batch.num_rows; ++r) {
      const auto index = ids.find(batch.columns[0].text[r]);
      if (!index) continue;
      const std::uint64_t line = table->line_of(batch.first_row + r);
      const std::string_view text = batch.columns[1].text[r];
      if (text.empty())
        throw InputError(
            fmt::format("{}:{}: the text is empty; give one, or leave the line out", path_, line));
      if (!texts_[*index].empty())
        throw InputError(fmt::format("{}:{}: the id '{}' has a text already; one line per id",
                                     path_, line, batch.columns[0].text[r]));
      texts_[*index] = text;
    }
  }
}

}  // namespace quarry
