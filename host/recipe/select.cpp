// How a branch selects: select kinds and their weights.
#include <string>

#include "host/recipe/parts.h"

namespace quarry::recipe_text {
namespace {

constexpr std::size_t kMostWeights = 16;

/// min | max | mean | random, or the moving centre of AHNS.
void read_centre(Section& s, WeightSpec& w) {
  const Node* node = s.node().find("centre");
  if (node == nullptr || node->kind != Node::Kind::kTable) {
    w.against = read_against(s, "centre").value_or(PositiveScore::kRandom);
    return;
  }
  s.find("centre");
  Section centre(s.reader(), *node, "centre of " + s.what());
  centre.choice<bool>("kind", {{"ahns", true}}, Need::kRequired);
  w.centre = CentreKind::kAhns;
  w.ahns_a = centre.number("a", kAnyNumber, Need::kRequired).value_or(0.0);
  w.ahns_b = centre.number("b", kAnyNumber, Need::kRequired).value_or(1.0);
  w.ahns_p = centre.number("p", kAnyNumber).value_or(-2.0);
  w.against = read_against(centre, "against").value_or(PositiveScore::kRandom);
  centre.finish();
}

void read_softmax(Section& s, WeightSpec& w) { w.a = s.number("tau", kDivisor).value_or(1.0); }

void read_simans(Section& s, WeightSpec& w) {
  w.a = s.number("a", kNotNegative).value_or(0.5);
  w.b = s.number("b", kAnyNumber).value_or(0.0);
  read_centre(s, w);
}

void read_distance(Section& s, WeightSpec& w) {
  w.a = s.number("tau", kNotNegative).value_or(1.0);
  read_centre(s, w);
}

void read_popularity_weight(Section& s, WeightSpec& w) {
  w.a = s.number("beta", {-4.0, 4.0}).value_or(1.0);
  w.b = s.number("smoothing", kPositiveNumber).value_or(1.0);
}

void read_rank_geometric(Section& s, WeightSpec& w) {
  w.a = s.number("lambda", kDivisor, Need::kRequired).value_or(1.0);
}

void read_rank_beta(Section& s, WeightSpec& w) {
  w.a = s.number("j", {1.0, 4294967294.0}, Need::kRequired).value_or(1.0);
}

void read_pair_column(Section& s, WeightSpec& w) {
  w.table = s.text("table", Need::kRequired).value_or("");
  w.a = s.number("coef", kAnyNumber).value_or(1.0);
}

void read_class_weight(Section& s, WeightSpec& w) {
  bool any = false;
  for (const ExposureClass c : {ExposureClass::kNonConsumption, ExposureClass::kAversion,
                                ExposureClass::kDisinterest, ExposureClass::kAmbiguous}) {
    const auto value = s.number(class_name(c), kPositiveNumber);
    any = any || s.node().find(class_name(c)) != nullptr;
    w.class_weight[static_cast<unsigned>(c)] = value.value_or(0.0);
  }
  if (!any) {
    s.reader().problems.add(s.at(), s.what() +
                                        " names no class; try { kind = \"class\", aversion = 3, "
                                        "disinterest = 1 }");
  }
}

struct WeightKindRow {
  std::string_view kind;
  WeightKind value;
  void (*read)(Section&, WeightSpec&);
};
constexpr WeightKindRow kWeightKinds[] = {
    {"softmax", WeightKind::kSoftmax, read_softmax},
    {"simans", WeightKind::kSimans, read_simans},
    {"distance", WeightKind::kDistance, read_distance},
    {"popularity", WeightKind::kPopularity, read_popularity_weight},
    {"rank_geometric", WeightKind::kRankGeometric, read_rank_geometric},
    {"rank_beta", WeightKind::kRankBeta, read_rank_beta},
    {"column", WeightKind::kPairColumn, read_pair_column},
    {"class", WeightKind::kClass, read_class_weight},
};

void read_weight(Reader& reader, const Node& node, const std::string& owner, BranchSpec& branch) {
  const auto table = with_kind(reader, node, "a weight of " + owner);
  if (!table) return;
  const Node* kind = table->find("kind");
  std::vector<std::string> known = {"uniform"};
  for (const WeightKindRow& row : kWeightKinds) known.emplace_back(row.kind);
  if (kind != nullptr && kind->kind == Node::Kind::kString && kind->text == "uniform") {
    Section section(reader, *table, "weight uniform of " + owner);
    section.find("kind");
    section.finish();
    return;  // a log-weight of 0 for everybody: nothing to add
  }
  for (const WeightKindRow& row : kWeightKinds) {
    if (kind == nullptr || kind->kind != Node::Kind::kString || kind->text != row.kind) continue;
    WeightSpec weight;
    weight.kind = row.value;
    Section section(reader, *table, "weight " + std::string(row.kind) + " of " + owner);
    section.find("kind");
    row.read(section, weight);
    section.finish();
    branch.weights.push_back(weight);
    return;
  }
  reader.problems.add(
      kind == nullptr ? node.at : kind->at,
      "a weight of " + owner + (kind == nullptr ? " has no kind" : " is " + describe(*kind)) +
          "; allowed: " + joined(known) + (kind == nullptr ? "" : did_you_mean(kind->text, known)));
}

}  // namespace

void read_select(Reader& reader, const Node& node, const std::string& owner, BranchSpec& branch) {
  const auto table = with_kind(reader, node, "select of " + owner);
  if (!table) return;
  Section section(reader, *table, "select of " + owner);
  const auto kind =
      section.choice<SelectKind>("kind",
                                 {{"top", SelectKind::kTop},
                                  {"sample", SelectKind::kSample},
                                  {"sample_replacement", SelectKind::kSampleReplacement},
                                  {"top1_sample", SelectKind::kTop1Sample},
                                  {"first_violator", SelectKind::kFirstViolator}},
                                 Need::kRequired);
  const auto by = section.choice<bool>("by", {{"score", false}, {"rank", true}});
  const auto margin = section.number("margin", kNotNegative);
  const Node* weight = section.find("weight");
  section.finish();
  if (weight != nullptr) {
    if (weight->kind == Node::Kind::kArray) {
      if (weight->elements.empty() || weight->elements.size() > kMostWeights) {
        reader.problems.add(weight->at, "weight of " + owner + " is " + describe(*weight) +
                                            "; allowed 1 to " + std::to_string(kMostWeights) +
                                            " weights");
      }
      for (const Node& element : weight->elements) read_weight(reader, element, owner, branch);
    } else {
      read_weight(reader, *weight, owner, branch);
    }
  }
  if (!kind) return;
  branch.select = *kind;
  if (*kind == SelectKind::kTop && by.value_or(false)) branch.select = SelectKind::kTopByRank;
  branch.violation_margin = margin.value_or(0.0);
  const Node* by_node = table->find("by");
  if (by_node != nullptr && *kind != SelectKind::kTop) {
    reader.problems.add(by_node->at,
                        "by of " + section.what() + " belongs to kind = \"top\"; remove it");
  }
  const Node* margin_node = table->find("margin");
  if (margin_node != nullptr && *kind != SelectKind::kFirstViolator) {
    reader.problems.add(
        margin_node->at,
        "margin of " + section.what() +
            " belongs to kind = \"first_violator\"; to keep away from the positive use a "
            "filter { kind = \"absolute_margin\" }");
  }
  if (weight != nullptr && (*kind == SelectKind::kTop || *kind == SelectKind::kFirstViolator)) {
    reader.problems.add(weight->at,
                        "weight of " + section.what() +
                            " does nothing without sampling; try kind = \"sample\" or remove it");
  }
}

}  // namespace quarry::recipe_text
