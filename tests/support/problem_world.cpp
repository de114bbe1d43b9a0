// The worlds of random problems: tables full of ties, events, catalogues, snapshots, rows.
#include <algorithm>
#include <bit>

#include "tests/support/problem_parts.h"

namespace quarry::test {
namespace {

/// Multiples of 1/4 in [-1, 1]: many equal scores, exact in every float format.
float coarse(Rng& rng) { return static_cast<float>(rng.in(0, 8)) / 4.0f - 1.0f; }

std::uint16_t to_half(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) == 0) return static_cast<std::uint16_t>(bits >> 16);
  return static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | (((bits >> 23 & 255u) - 112u) << 10) |
                                    (bits >> 13 & 0x3FFu));
}

/// Distinct sorted numbers below n, about `percent` of them.
std::vector<std::uint32_t> subset(Rng& rng, std::uint32_t n, std::uint32_t percent) {
  std::vector<std::uint32_t> out;
  for (std::uint32_t i = 0; i < n; ++i)
    if (rng.chance(percent)) out.push_back(i);
  return out;
}

PairValues make_pairs(Rng& rng, std::uint32_t users, std::uint32_t items) {
  PairValues p;
  const std::int64_t shift = items % 3 == 0 ? 9 : 0;  // a third has values on both sides of 0
  p.offsets.push_back(0);
  for (std::uint32_t u = 0; u < users; ++u) {
    for (const std::uint32_t i : subset(rng, items, static_cast<std::uint32_t>(rng.in(0, 70)))) {
      p.items.push_back(i);
      p.values.push_back(static_cast<float>(static_cast<std::int64_t>(rng.in(1, 12)) - shift) /
                         8.0f);
    }
    p.offsets.push_back(p.items.size());
  }
  return p;
}

void make_exposure(Rng& rng, Problem& p, std::uint32_t users, std::uint32_t items) {
  Exposure& e = p.exposure;
  e.as_of = kProblemAsOf;
  e.item_count.assign(items, 0);
  e.offsets.push_back(0);
  for (std::uint32_t u = 0; u < users; ++u) {
    for (const std::uint32_t i : subset(rng, items, static_cast<std::uint32_t>(rng.in(0, 40)))) {
      const auto c = static_cast<ExposureClass>(rng.in(1, 4));
      const auto at = static_cast<std::int64_t>(rng.in(0, kProblemAsOf));
      e.items.push_back(i);
      e.classes.push_back(static_cast<std::uint8_t>(c));
      e.last_time.push_back(at);
      e.positive_time.push_back(c == ExposureClass::kPositive ? at : INT64_MIN);
      e.item_count[i] += c == ExposureClass::kPositive;
      e.latest_event = std::max(e.latest_event, at);
    }
    e.offsets.push_back(e.items.size());
  }
  e.events = e.items.size();
}

void make_catalogue(Rng& rng, Problem& p, std::uint32_t items) {
  const char* const kNames[] = {"group", "seller", "genre"};
  for (const char* name : kNames) {
    CatalogueColumn column;
    column.name = name;
    const auto values = static_cast<std::uint32_t>(rng.in(1, 6));
    column.names.push_back("");
    for (std::uint32_t v = 1; v <= values; ++v)
      column.names.push_back(std::string(name) + std::to_string(v));
    for (std::uint32_t i = 0; i < items; ++i)
      column.codes.push_back(static_cast<std::uint32_t>(rng.in(0, values)));
    p.catalogue.columns.push_back(column);
  }
  const bool with_seen = rng.chance(75), with_retired = rng.chance(60);
  for (std::uint32_t i = 0; i < items; ++i) {
    const auto seen = rng.chance(15) ? INT64_MIN : static_cast<std::int64_t>(rng.in(0, 20) * 500);
    if (with_seen) p.catalogue.first_seen.push_back(seen);
    if (with_retired) {
      p.catalogue.retired.push_back(
          rng.chance(80) ? INT64_MAX : static_cast<std::int64_t>(rng.in(0, 30) * 500));
    }
  }
}

void make_rows(Rng& rng, Problem& p, std::uint32_t users, std::uint32_t items) {
  const std::uint64_t rows = rng.in(1, 9);
  const bool timed = rng.chance(70), segmented = rng.chance(70);
  p.rows.positive_offsets.push_back(0);
  const auto genres = static_cast<std::uint32_t>(p.catalogue.columns[2].names.size());
  for (std::uint64_t r = 0; r < rows; ++r) {
    p.rows.key.push_back(rng.next());
    p.rows.user.push_back(static_cast<std::uint32_t>(rng.in(0, users - 1)));
    p.rows.time.push_back(timed ? static_cast<std::int64_t>(rng.in(0, 24) * 500) : INT64_MAX);
    p.segments.push_back(segmented ? static_cast<std::uint32_t>(rng.in(0, genres - 1)) : 0);
    const std::uint64_t positives = rng.chance(20) ? 0 : rng.in(1, 4);
    for (std::uint64_t j = 0; j < positives; ++j) {
      p.rows.positives.push_back(static_cast<std::uint32_t>(rng.in(0, items - 1)));
    }
    p.rows.positive_offsets.push_back(p.rows.positives.size());
  }
  p.rows_view.num_rows = rows;
  p.rows_view.key = p.rows.key.data();
  p.rows_view.user = p.rows.user.data();
  if (timed || rng.chance(50)) p.rows_view.time = p.rows.time.data();
  if (segmented) p.rows_view.segment = p.segments.data();
  p.rows_view.positive_offsets = p.rows.positive_offsets.data();
  p.rows_view.positives = p.rows.positives.data();
}

/// A frozen snapshot, perhaps of fewer items.
void freeze_snapshot(Rng& rng, Problem& p, std::uint32_t items) {
  p.snapshot.num_items = rng.chance(50) ? items : static_cast<std::uint32_t>(rng.in(5, items));
  const bool older = p.snapshot.num_items % 3 == 0;  // than the log at hand
  p.snapshot.as_of = older ? kProblemAsOf / 2 : kProblemAsOf;
  if (older) p.snapshot.positive_users = p.snapshot.num_items % 5;
  for (std::uint32_t i = 0; i < p.snapshot.num_items; ++i) {
    p.snapshot.popularity.push_back(
        static_cast<std::uint32_t>(rng.chance(5) ? rng.in(0, 0xFFFFFFFFu) : rng.in(0, 4)));
  }
  p.inputs.snapshot = &p.snapshot;
}

}  // namespace

std::vector<float> make_table(Rng& rng, std::uint64_t rows, std::uint32_t dim, bool fine) {
  std::vector<float> table(rows * dim);
  for (float& x : table)
    x = fine ? static_cast<float>(rng.in(0, 1u << 20)) / (1 << 19) - 1.0f : coarse(rng);
  for (std::uint64_t r = 1; r < rows; ++r) {
    if (rng.chance(15)) {  // an exact duplicate of an earlier row
      const std::uint64_t of = rng.in(0, r - 1);
      std::copy_n(table.begin() + static_cast<std::ptrdiff_t>(of * dim), dim,
                  table.begin() + static_cast<std::ptrdiff_t>(r * dim));
    }
  }
  for (std::uint64_t r = 0; r < rows; ++r) {  // no row of norm zero: bad data under cosine
    if (std::all_of(table.begin() + static_cast<std::ptrdiff_t>(r * dim),
                    table.begin() + static_cast<std::ptrdiff_t>((r + 1) * dim),
                    [](float x) { return x == 0.0f; })) {
      table[r * dim] = 0.5f;
    }
  }
  return table;
}

void fill_world(Rng& rng, Problem& p, ProblemSize size) {
  const bool large = size == ProblemSize::kLarge;
  const auto items = static_cast<std::uint32_t>(large            ? rng.in(1200, 2500)
                                                : rng.chance(10) ? rng.in(200, 400)
                                                                 : rng.in(5, 90));
  const auto users = static_cast<std::uint32_t>(rng.in(2, 20));
  const auto dim = static_cast<std::uint32_t>(rng.in(1, 40));
  const bool fine = rng.chance(large ? 80 : 30);
  p.items = make_table(rng, items, dim, fine);
  p.users = make_table(rng, users, dim, fine);
  p.feature = make_table(rng, items, 3, false);
  const bool huge = rng.chance(6);  // scores that overflow, some to what is not a number
  for (std::vector<float>* table : {&p.items, &p.users}) {
    for (std::size_t r = 0; huge && r < table->size() / dim; ++r)
      if (rng.chance(40)) (*table)[r * dim + rng.in(0, dim - 1)] = rng.chance(50) ? 3e38f : -3e38f;
  }
  p.inputs.items = {p.items.data(), items, dim, Dtype::kF32};
  if (!fine && !huge && rng.chance(20)) {
    const bool brain = rng.chance(50);
    for (const float x : p.items) {
      p.half_items.push_back(
          brain ? static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16) : to_half(x));
    }
    p.inputs.items = {p.half_items.data(), items, dim, brain ? Dtype::kBf16 : Dtype::kF16};
  }
  p.inputs.users = {p.users.data(), users, dim, Dtype::kF32};
  p.inputs.features["feature"] = {p.feature.data(), items, 3, Dtype::kF32};
  make_exposure(rng, p, users, items);
  make_catalogue(rng, p, items);
  make_rows(rng, p, users, items);
  p.teacher = make_pairs(rng, users, items);
  p.run = make_pairs(rng, users, items);
  p.inputs.exposure = &p.exposure;
  p.inputs.catalogue = &p.catalogue;
  p.inputs.rows = &p.rows;
  p.inputs.pairs = {{"teacher", &p.teacher}, {"run", &p.run}};
  p.inputs.item_lists["allowed"] = subset(rng, items, 70);
  if (rng.chance(40)) freeze_snapshot(rng, p, items);
  if (rng.chance(15)) {
    p.queries = make_table(rng, p.rows.size(), dim, fine);
    p.rows_view.queries = p.queries.data();
  }
}

}  // namespace quarry::test
