// Worlds of any size that satisfy every named recipe: events of all classes, a catalogue, teacher
// values, ties on request.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "host/mine/miner.h"
#include "kernels/core/ids.h"
#include "kernels/core/philox.h"

namespace quarry::test {

struct WorldShape {
  std::uint32_t users = 20;
  std::uint32_t items = 300;
  std::uint32_t dim = 16;
  std::uint32_t rows_per_user = 3;
  std::uint32_t events_per_user = 30;
  bool learned = false;  ///< users are the means of their positives, which then rank high
  bool ties = false;  ///< quantised vectors, and every third item a copy or a near copy of another
  std::uint32_t seed = 1;
};

/// Owns the inputs of a miner. Not copied or moved: `inputs` and `rows_view` point into it.
struct TestWorld {
  std::vector<float> items, users;
  Exposure exposure;
  Catalogue catalogue;
  RowTable rows;
  PairValues pairs;
  std::vector<std::uint32_t> segments;
  MinerInputs inputs;
  RowsView rows_view;

  TestWorld() = default;
  TestWorld(const TestWorld&) = delete;
  TestWorld& operator=(const TestWorld&) = delete;

  void point() {
    inputs.exposure = &exposure;
    inputs.catalogue = &catalogue;
    inputs.rows = &rows;
    rows_view.num_rows = rows.size();
    rows_view.key = rows.key.data();
    rows_view.user = rows.user.data();
    rows_view.time = rows.time.data();
    rows_view.positive_offsets = rows.positive_offsets.data();
    rows_view.positives = rows.positives.data();
  }
};

/// Words by counter: test data only, apart from the engine's key space by its seed.
class Words {
 public:
  explicit Words(std::uint32_t seed) : seed_(seed) {}
  std::uint32_t next() { return philox4x32({seed_, 77}, ++n_, 0, 0, 0).z[0]; }
  std::uint32_t below(std::uint32_t n) {
    return static_cast<std::uint32_t>(std::uint64_t{next()} * n >> 32);
  }
  float unit() { return static_cast<float>(next() >> 8) * 0x1p-24f; }
  /// Sum of four uniforms, centred: near enough to a Gaussian for vectors.
  float normal() { return (unit() + unit() + unit() + unit() - 2.0f) * 1.7f; }

 private:
  std::uint32_t seed_;
  std::uint32_t n_ = 0;
};

inline std::unique_ptr<TestWorld> make_world(const WorldShape& shape) {
  auto w = std::make_unique<TestWorld>();
  Words random(shape.seed);
  const auto value = [&] {
    return shape.ties ? std::round(random.normal() * 2.0f) / 2.0f + 0.25f : random.normal();
  };
  w->items.resize(std::size_t{shape.items} * shape.dim);
  w->users.resize(std::size_t{shape.users} * shape.dim);
  for (float& x : w->items) x = value();
  for (float& x : w->users) x = value();
  for (std::uint32_t i = 3; shape.ties && i < shape.items; i += 3) {
    const std::uint32_t source = random.below(i);
    std::copy_n(w->items.begin() + std::size_t{source} * shape.dim, shape.dim,
                w->items.begin() + std::size_t{i} * shape.dim);
    if (i % 2 == 0) w->items[std::size_t{i} * shape.dim] += 0x1p-10f;
  }
  // Events: a user's items, each with one of the classes; popular items are those with small
  // numbers.
  std::vector<Event> events;
  for (std::uint32_t u = 0; u < shape.users; ++u) {
    for (std::uint32_t e = 0; e < shape.events_per_user; ++e) {
      const float x = random.unit();
      const auto item = static_cast<std::uint32_t>(x * x * static_cast<float>(shape.items - 1));
      events.push_back({u, item, 1000 + static_cast<std::int64_t>(random.below(100000)), 0,
                        static_cast<float>(1 + random.below(5))});
    }
  }
  ExposureRules rules;
  using Op = ExposureTerm::Op;
  rules.rules = {{ExposureClass::kPositive, {{"rating", Op::kGreaterEqual, 4.0}}},
                 {ExposureClass::kAversion, {{"rating", Op::kLessEqual, 2.0}}},
                 {ExposureClass::kDisinterest, {{"rating", Op::kEqual, 3.0}}}};
  w->exposure =
      classify_events(std::move(events), {"rating"}, rules, shape.users, shape.items, 200000);
  for (std::uint32_t u = 0; shape.learned && u < shape.users; ++u) {
    float* user = w->users.data() + std::size_t{u} * shape.dim;
    float positives = 0.0f;
    for (std::uint64_t i = w->exposure.offsets[u]; i < w->exposure.offsets[u + 1]; ++i)
      positives += w->exposure.classes[i] == static_cast<std::uint8_t>(ExposureClass::kPositive);
    if (positives == 0.0f) continue;
    std::fill_n(user, shape.dim, 0.0f);
    for (std::uint64_t i = w->exposure.offsets[u]; i < w->exposure.offsets[u + 1]; ++i) {
      if (w->exposure.classes[i] != static_cast<std::uint8_t>(ExposureClass::kPositive)) continue;
      const float* item = w->items.data() + std::size_t{w->exposure.items[i]} * shape.dim;
      for (std::uint32_t d = 0; d < shape.dim; ++d) user[d] += item[d] / positives;
    }
  }
  w->catalogue.first_seen.resize(shape.items);
  w->catalogue.retired.resize(shape.items, INT64_MAX);
  for (std::uint32_t i = 0; i < shape.items; ++i) {
    w->catalogue.first_seen[i] = random.below(10) == 0 ? 50000 : 0;
    if (random.below(20) == 0) w->catalogue.retired[i] = 150000;
  }
  for (const char* name : {"group", "category", "seller", "segment", "genres", "year"}) {
    CatalogueColumn column;
    column.name = name;
    const std::uint32_t codes = name == std::string("category") ? 6 : 40;
    column.names = {""};
    for (std::uint32_t c = 1; c < codes; ++c) column.names.push_back(name + std::to_string(c));
    for (std::uint32_t i = 0; i < shape.items; ++i) column.codes.push_back(random.below(codes));
    w->catalogue.columns.push_back(std::move(column));
  }
  w->rows.positive_offsets = {0};
  for (std::uint32_t u = 0; u < shape.users; ++u) {
    std::vector<std::uint32_t> own;
    for (std::uint64_t i = w->exposure.offsets[u]; i < w->exposure.offsets[u + 1]; ++i) {
      if (w->exposure.classes[i] == static_cast<std::uint8_t>(ExposureClass::kPositive)) {
        own.push_back(w->exposure.items[i]);
      }
    }
    for (std::uint32_t r = 0; r < shape.rows_per_user; ++r) {
      w->rows.key.push_back((std::uint64_t{u} << 32 | r) * 0x9E3779B97F4A7C15u + shape.seed);
      w->rows.user.push_back(u);
      w->rows.time.push_back(100000 + r);
      if (!own.empty() && (r + u) % 11 != 10) w->rows.positives.push_back(own[r % own.size()]);
      w->rows.positive_offsets.push_back(w->rows.positives.size());
      w->segments.push_back(1 + (u + r) % 3);
    }
  }
  w->pairs.offsets = {0};
  for (std::uint32_t u = 0; u < shape.users; ++u) {
    for (std::uint32_t i = random.below(3); i < shape.items; i += 1 + random.below(5)) {
      w->pairs.items.push_back(i);
      w->pairs.values.push_back(random.unit());
    }
    w->pairs.offsets.push_back(w->pairs.items.size());
  }
  w->inputs.items = {w->items.data(), shape.items, shape.dim, Dtype::kF32};
  w->inputs.users = {w->users.data(), shape.users, shape.dim, Dtype::kF32};
  w->point();
  return w;
}

/// Gives the world every table, feature and list that a recipe names.
inline void satisfy(TestWorld& w, const Recipe& recipe) {
  const auto filters = [&](const std::vector<FilterSpec>& specs) {
    for (const FilterSpec& f : specs) {
      if (f.type == FilterType::kColumn) w.inputs.pairs[f.table] = &w.pairs;
      if (f.type == FilterType::kAllowList) {
        auto& list = w.inputs.item_lists[f.table];
        list.clear();
        for (std::uint32_t i = 0; i < w.inputs.items.rows; i += 2) list.push_back(i);
      }
      if ((f.type == FilterType::kNearDuplicate || f.type == FilterType::kSimilarity) &&
          !f.table.empty()) {
        w.inputs.features[f.table] = w.inputs.items;
      }
    }
  };
  filters(recipe.safety);
  for (const BranchSpec& b : recipe.branches) {
    filters(b.filters);
    if (b.source.kind == SourceKind::kRun) w.inputs.pairs[b.source.table] = &w.pairs;
    for (const WeightSpec& weight : b.weights) {
      if (weight.kind == WeightKind::kPairColumn) w.inputs.pairs[weight.table] = &w.pairs;
    }
  }
}

}  // namespace quarry::test
