// What an approximate retriever lost in a run.
#include "tools/quarry/recall_report.h"

#include <fmt/format.h>

#include <new>
#include <nlohmann/json.hpp>

#include "kernels/core/errors.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/row_feed.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

Json share_json(const RecallShare& s) {
  return {{"found", s.found},
          {"wanted", s.wanted},
          {"share", s.share},
          {"low", s.low},
          {"high", s.high}};
}

/// "97.20 % (95 % interval 96.10 to 98.00 %)"
std::string share_words(const Json& share) {
  const auto percent = [&](const char* key) {
    const auto at = share.find(key);
    return at != share.end() && at->is_number() ? 100 * at->get<double>() : 0.0;
  };
  return fmt::format("{:.2f} % (95 % interval {:.2f} to {:.2f} %)", percent("share"),
                     percent("low"), percent("high"));
}

}  // namespace

MeasuredRecall measure_recall(const RecallSample& sample, const Inputs& inputs,
                              std::uint64_t first_row, Miner& miner,
                              const std::atomic<bool>* stop) {
  const std::vector<std::uint64_t> places = sample.rows();
  if (miner.exact()) return {};
  if (sample.most() == 0) return {{}, "switched off: --recall-rows 0"};
  if (places.empty()) return {{}, "no row was mined"};
  RowTable rows, one;
  rows.positive_offsets = {0};
  std::vector<std::uint32_t> segments;
  for (const std::uint64_t place : places) {
    inputs.rows.read(first_row + place, 1, one);
    rows.key.push_back(one.key[0]);
    rows.user.push_back(one.user[0]);
    rows.time.push_back(one.time[0]);
    rows.positives.insert(rows.positives.end(), one.positives.begin(), one.positives.end());
    rows.positive_offsets.push_back(rows.positives.size());
    for (const std::uint32_t code : segment_codes(one, miner)) segments.push_back(code);
  }
  try {
    return {sample.measure(miner, view_of(rows, segments), stop), ""};
  } catch (const OutOfMemory& error) {
    return {{}, std::string("out of memory: ") + error.what()};
  } catch (const std::bad_alloc&) {
    return {{}, "out of memory"};
  }
}

std::string recall_json(const MeasuredRecall& recall, double mine_seconds) {
  const std::optional<RecallReport>& report = recall.report;
  if (!report) {
    if (recall.why.empty()) return "null";
    return Json({{"rows", 0}, {"why", recall.why}})
        .dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  const double all = mine_seconds + report->seconds;
  const Json json = {{"rows", report->rows},
                     {"depth", report->depth},
                     {"candidates", share_json(report->candidates)},
                     {"negatives", share_json(report->negatives)},
                     {"ranked_negatives", share_json(report->ranked_negatives)},
                     {"seconds", report->seconds},
                     {"share_of_time", all > 0 ? report->seconds / all : 0.0}};
  return json.dump();
}

std::string recall_words(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return "";
  const auto number = [&](const char* key) {
    const auto at = json.find(key);
    return at != json.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : 0;
  };
  if (number("rows") == 0) {
    const Json why = json.value("why", Json(""));
    return fmt::format("recall: not measured ({})\n",
                       why.is_string() ? printable(why.get<std::string>()) : "not known");
  }
  const auto share = [&](const char* key) { return share_words(json.value(key, Json::object())); };
  const auto real = [&](const char* key) {
    const auto at = json.find(key);
    return at != json.end() && at->is_number() ? at->get<double>() : 0.0;
  };
  return fmt::format(
      "recall: on {} rows mined again exactly (in {}, {:.1f} % of the time)\n"
      "  of the {} nearest items {}\n"
      "  of the exact answer's negatives {}, of those that were searched for {}\n",
      words_of_count(number("rows")), words_of_seconds(real("seconds")),
      100 * real("share_of_time"), number("depth"), share("candidates"), share("negatives"),
      share("ranked_negatives"));
}

std::string recall_warning(const MeasuredRecall& recall, double wanted) {
  const std::optional<RecallReport>& report = recall.report;
  if (!report) return "";
  // Filters may pass over the nearest items, so that negatives lie where an index finds less.
  const bool deeper = report->ranked_negatives.share < report->candidates.share;
  const RecallShare& least = deeper ? report->ranked_negatives : report->candidates;
  if (least.share >= wanted) return "";
  const std::string what = deeper ? std::string("exact answer's negatives")
                                  : fmt::format("{} nearest items", report->depth);
  return fmt::format(
      "--recall is {}, but on {} sample rows {:.2f} % of the {} are found (95 % interval {:.2f} to "
      "{:.2f} %); raise --nprobe or --ef-search, take --retriever exact, or say with --recall that "
      "this is enough",
      wanted, report->rows, 100 * least.share, what, 100 * least.low, 100 * least.high);
}

}  // namespace quarry
