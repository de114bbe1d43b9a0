// [strata] and [quota]: how items are cut into cells, what each cell gets, caps and the backfill
// order.
#include <algorithm>
#include <cmath>
#include <set>

#include "host/recipe/parts.h"
#include "kernels/model/plan.h"

namespace quarry::recipe_text {
namespace {

constexpr std::uint64_t kMillion = 1'000'000;

std::vector<std::string> read_names(Section& s, std::size_t cells) {
  std::vector<std::string> names;
  for (const auto& [name, at] : s.texts("names")) names.push_back(name);
  const Node* node = s.node().find("names");
  if (node != nullptr && node->kind == Node::Kind::kArray && names.size() != cells) {
    s.reader().problems.add(node->at, "names of " + s.what() + " has " +
                                          std::to_string(names.size()) + " entries for " +
                                          std::to_string(cells) + " cells; give one name per cell");
  }
  return names;
}

void read_popularity(Section& s, StratumAttribute& out) {
  out.kind = StratumAttribute::Kind::kPopularity;
  out.bins =
      static_cast<std::uint32_t>(s.integer("bins", 2, kMaxStrata, Need::kRequired).value_or(2));
  out.names = read_names(s, out.bins);
  if (out.names.size() != out.bins) {
    out.names.clear();
    for (std::uint32_t b = 1; b <= out.bins; ++b) out.names.push_back("q" + std::to_string(b));
  }
}

void read_recency(Section& s, StratumAttribute& out) {
  out.kind = StratumAttribute::Kind::kRecency;
  std::vector<std::string> texts;
  const Node* edges = s.find("edges", Need::kRequired);
  if (edges != nullptr && (edges->kind != Node::Kind::kArray || edges->elements.empty() ||
                           edges->elements.size() >= kMaxStrata)) {
    s.reader().problems.add(edges->at, "edges of " + s.what() + " is " + describe(*edges) +
                                           "; expected a list of ages; try [\"30d\", \"180d\"]");
  } else if (edges != nullptr) {
    for (const Node& edge : edges->elements) {
      const auto age = s.reader().duration(edge, "an edge of " + s.what());
      if (!age) continue;
      if (!out.edges.empty() && *age <= out.edges.back()) {
        s.reader().problems.add(edge.at, "edge " + describe(edge) + " of " + s.what() +
                                             " does not exceed the one before; ages must ascend");
      }
      out.edges.push_back(*age);
      texts.push_back(edge.kind == Node::Kind::kString ? edge.text : std::to_string(*age) + "s");
    }
  }
  out.names = read_names(s, out.edges.size() + 1);
  if (out.names.size() == out.edges.size() + 1 || texts.empty()) return;
  out.names = {"under-" + texts.front()};
  for (std::size_t i = 1; i < texts.size(); ++i) out.names.push_back(texts[i - 1] + "-" + texts[i]);
  out.names.push_back("from-" + texts.back());
}

/// name -> decimal, as millionths that sum to a million.
void read_named_shares(Reader& reader, const Node& node, const StratumAttribute* attribute,
                       QuotaAttribute& out) {
  const std::string what = "shares of " + quoted(out.attribute) + " in [quota]";
  double sum = 0.0;
  std::uint64_t total = 0;
  bool all_read = true;
  for (const Member& member : node.members) {
    // Cells of a column are known only with the catalogue.
    if (attribute != nullptr && attribute->kind != StratumAttribute::Kind::kColumn &&
        std::find(attribute->names.begin(), attribute->names.end(), member.key) ==
            attribute->names.end()) {
      reader.problems.add(member.at, quoted(member.key) + " in " + what +
                                         " is no cell of it; cells: " + joined(attribute->names) +
                                         did_you_mean(member.key, attribute->names));
    }
    const auto share =
        reader.number(member.value, "share of " + quoted(member.key) + " in [quota]", {0.0, 1.0});
    if (!share) {
      all_read = false;
      continue;
    }
    const auto millionths = static_cast<std::uint64_t>(std::llround(*share * 1e6));
    sum += *share;
    total += millionths;
    out.shares.emplace_back(member.key, millionths);
  }
  if (!all_read) return;
  if (node.members.empty() || std::fabs(sum - 1.0) > 1e-6 + 1e-9) {
    reader.problems.add(node.at, what + " sum to " + number_text(std::round(sum * 1e7) / 1e7) +
                                     "; they must sum to 1 (within 0.000001)");
    return;
  }
  // What rounding to millionths left over goes to the largest share.
  auto largest = std::max_element(out.shares.begin(), out.shares.end(),
                                  [](const auto& a, const auto& b) { return a.second < b.second; });
  largest->second = largest->second + kMillion - total;
}

void read_attribute_shares(Reader& reader, const Node& node, const StratumAttribute* attribute,
                           QuotaAttribute& out) {
  if (node.kind == Node::Kind::kString && node.text == "equal") {
    out.mode = QuotaAttribute::Shares::kEqual;
  } else if (node.kind == Node::Kind::kString && node.text == "catalogue") {
    out.mode = QuotaAttribute::Shares::kCatalogue;
  } else if (node.kind == Node::Kind::kTable) {
    read_named_shares(reader, node, attribute, out);
  } else {
    reader.problems.add(
        node.at,
        "shares of " + quoted(out.attribute) + " in [quota] is " + describe(node) +
            "; allowed: a table of decimals, \"equal\", \"catalogue\"" +
            (node.kind == Node::Kind::kString ? did_you_mean(node.text, {"equal", "catalogue"})
                                              : ""));
  }
}

const StratumAttribute* find_attribute(const std::vector<StratumAttribute>& strata,
                                       const std::string& name) {
  const auto found = std::find_if(strata.begin(), strata.end(),
                                  [&](const StratumAttribute& a) { return a.name == name; });
  return found == strata.end() ? nullptr : &*found;
}

/// Attributes of `by`, declared ones only.
std::vector<const StratumAttribute*> read_by(Section& s,
                                             const std::vector<StratumAttribute>& strata) {
  std::vector<std::pair<std::string, Place>> names;
  const Node* by = s.node().find("by");
  if (by != nullptr && by->kind == Node::Kind::kString) {
    if (const auto name = s.text("by")) names.emplace_back(*name, by->at);
  } else {
    names = s.texts("by", by != nullptr ? Need::kRequired : Need::kOptional);
  }
  if (names.size() > kMaxLevels) {
    s.reader().problems.add(by->at, "by of [quota] names " + std::to_string(names.size()) +
                                        " attributes; allowed up to " + std::to_string(kMaxLevels));
  }
  std::vector<std::string> known;
  known.reserve(strata.size());
  for (const StratumAttribute& a : strata) known.push_back(a.name);
  std::vector<const StratumAttribute*> out;
  for (const auto& [name, at] : names) {
    const StratumAttribute* attribute = find_attribute(strata, name);
    if (attribute == nullptr) {
      s.reader().problems.add(
          at, "by of [quota] names " + quoted(name) + ", which [strata] does not declare" +
                  (known.empty() ? "; add e.g. popularity = { bins = 3 } under [strata]"
                                 : "; declared: " + joined(known) + did_you_mean(name, known)));
      continue;
    }
    out.push_back(attribute);
  }
  return out;
}

void read_cap_list(Reader& reader, const Node& node, ReadQuota& out) {
  if (node.kind != Node::Kind::kArray) {
    reader.problems.add(node.at,
                        "cap is " + describe(node) +
                            "; expected a list; try [{ column = \"seller\", per_row = 2 }]");
    return;
  }
  if (node.elements.size() > kMaxCaps) {
    reader.problems.add(node.at, "cap has " + std::to_string(node.elements.size()) +
                                     " entries; allowed up to " + std::to_string(kMaxCaps));
  }
  for (const Node& element : node.elements) {
    Section section(reader, element, "cap number " + std::to_string(out.caps.size() + 1));
    CapSpec cap;
    cap.column = section.text("column", Need::kRequired).value_or("");
    cap.per_row = static_cast<std::uint32_t>(
        section.integer("per_row", 1, 65535, Need::kRequired).value_or(1));
    cap.line = static_cast<int>(element.at.line);
    section.finish();
    for (const CapSpec& other : out.caps) {
      if (!cap.column.empty() && other.column == cap.column) {
        reader.problems.add(element.at, "column " + quoted(cap.column) +
                                            " is capped twice; keep the smaller per_row");
      }
    }
    out.caps.push_back(std::move(cap));
    out.cap_places.push_back(element.at);
  }
}

}  // namespace

std::vector<StratumAttribute> read_strata(Reader& reader, const Node& node) {
  std::vector<StratumAttribute> out;
  Section table(reader, node, "[strata]");
  for (const Member& member : node.members) {
    StratumAttribute attribute;
    attribute.name = member.key;
    Section section(reader, member.value, quoted(member.key) + " in [strata]");
    if (member.key == "popularity") {
      read_popularity(section, attribute);
    } else if (member.key == "recency") {
      read_recency(section, attribute);
    } else {
      attribute.kind = StratumAttribute::Kind::kColumn;
      attribute.column = section.text("column", Need::kRequired).value_or("");
    }
    section.finish();
    out.push_back(std::move(attribute));
  }
  return out;
}

ReadQuota read_quota(Reader& reader, const Node* quota, const Node* cap, const Node* backfill,
                     const std::vector<StratumAttribute>& strata) {
  ReadQuota out;
  const Node nothing;
  Section section(reader, quota != nullptr ? *quota : nothing, "[quota]");
  out.at = section.at();
  section.find("by");
  const Node* shares = section.find("shares");
  const auto redistribute = section.boolean("redistribute");
  const Node* inner_cap = section.find("cap");
  const Node* inner_backfill = section.find("backfill");
  section.finish();
  if (cap != nullptr && inner_cap != nullptr) {
    reader.problems.add(cap->at, "cap stands at the top level and in [quota]; keep one");
  }
  if (backfill != nullptr && inner_backfill != nullptr) {
    reader.problems.add(backfill->at, "backfill stands at the top level and in [quota]; keep one");
  }
  if (const Node* caps = inner_cap != nullptr ? inner_cap : cap) read_cap_list(reader, *caps, out);
  if (const Node* order = inner_backfill != nullptr ? inner_backfill : backfill) {
    out.has_backfill = true;
    Member member{"backfill", order->at, *order};
    Node holder;
    holder.at = order->at;
    holder.members.push_back(std::move(member));
    Section list(reader, holder, quota != nullptr && inner_backfill != nullptr ? "[quota]" : "");
    out.backfill = list.texts("backfill");
  }
  const Node* by = quota == nullptr ? nullptr : quota->find("by");
  if (by == nullptr) {
    for (const char* key : {"shares", "redistribute"}) {
      const Node* lone = quota == nullptr ? nullptr : quota->find(key);
      if (lone != nullptr) {
        reader.problems.add(lone->at,
                            std::string(key) + " of [quota] needs by; try by = \"popularity\"");
      }
    }
    return out;
  }
  const auto attributes = read_by(section, strata);
  if (shares == nullptr) {
    reader.problems.add(quota->at, "[quota] has by but no shares; try shares = \"equal\"");
    return out;
  }
  if (attributes.empty()) return out;
  QuotaSpec spec;
  spec.redistribute = redistribute.value_or(false);
  std::uint64_t cells = 1;
  for (const StratumAttribute* attribute : attributes) {
    QuotaAttribute quota_attribute;
    quota_attribute.attribute = attribute->name;
    const Node* own = shares;
    if (shares->kind == Node::Kind::kTable) {
      const Node* nested = shares->find(attribute->name);
      const bool by_attribute =
          attributes.size() > 1 ||
          (shares->members.size() == 1 && nested != nullptr &&
           (nested->kind == Node::Kind::kString ||
            (nested->kind == Node::Kind::kTable && nested->find("schedule") == nullptr)));
      if (by_attribute) own = nested;
    }
    if (own == nullptr) {
      reader.problems.add(shares->at,
                          "shares of [quota] says nothing for " + quoted(attribute->name) +
                              "; with several attributes it is a table of them, e.g. { " +
                              attribute->name + " = \"equal\" }");
    } else {
      read_attribute_shares(reader, *own, attribute, quota_attribute);
    }
    cells *= std::max<std::uint64_t>(1, attribute->names.size());
    spec.by.push_back(std::move(quota_attribute));
  }
  if (attributes.size() > 1 && shares->kind == Node::Kind::kTable) {
    std::vector<std::string> known;
    known.reserve(attributes.size());
    for (const StratumAttribute* a : attributes) known.push_back(a->name);
    for (const Member& member : shares->members) {
      if (std::find(known.begin(), known.end(), member.key) == known.end()) {
        reader.problems.add(member.at, "shares of [quota] names " + quoted(member.key) +
                                           ", which is not in by; allowed: " + joined(known) +
                                           did_you_mean(member.key, known));
      }
    }
  }
  if (cells > kMaxStrata) {
    reader.problems.add(by->at, "[quota] makes " + std::to_string(cells) +
                                    " cells; allowed up to " + std::to_string(kMaxStrata) +
                                    "; use fewer bins or attributes");
  }
  out.spec = std::move(spec);
  return out;
}

}  // namespace quarry::recipe_text
