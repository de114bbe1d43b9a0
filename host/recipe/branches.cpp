// A [[branch]]: its name, share and source; its filters and selection are read in their own files.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "host/recipe/parts.h"

namespace quarry::recipe_text {
namespace {

constexpr std::int64_t kMostRank = 0xFFFFFFFE;
constexpr std::int64_t kMostDraws = 1'000'000;
constexpr Range kBetaRange{0.0, 4.0};

std::uint32_t as_u32(std::optional<std::int64_t> value, std::uint32_t otherwise) {
  return value ? static_cast<std::uint32_t>(*value) : otherwise;
}

/// "popularity^0.75" becomes { kind = "popularity", beta = 0.75 }.
Node expanded_popularity(Reader& reader, Node table) {
  constexpr std::string_view kPrefix = "popularity^";
  Node* kind = table.find("kind");
  if (kind == nullptr || kind->kind != Node::Kind::kString ||
      kind->text.compare(0, kPrefix.size(), kPrefix) != 0) {
    return table;
  }
  const std::string digits = kind->text.substr(kPrefix.size());
  Node beta;
  beta.at = kind->at;
  beta.kind = Node::Kind::kFloat;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), beta.number);
  if (read.ec != std::errc{} || read.ptr != digits.data() + digits.size()) {
    beta.kind = Node::Kind::kString;
    beta.text = digits;
  }
  if (table.find("beta") != nullptr) {
    reader.problems.add(kind->at,
                        "source " + quoted(kind->text) +
                            " has its exponent twice; remove beta or write \"popularity\"");
  } else {
    table.members.push_back({"beta", kind->at, beta});
  }
  table.find("kind")->text = "popularity";
  return table;
}

void read_topk(Section& s, SourceSpec& out) {
  out.pool = as_u32(s.integer("pool", 1, kMostRank), out.pool);
  out.max_rank = as_u32(s.integer("max_rank", 1, kMostRank), out.max_rank);
}

void read_all(Section&, SourceSpec& out) { out.all = true; }

void read_uniform(Section&, SourceSpec&) {}

void read_popularity(Section& s, SourceSpec& out) {
  out.beta = s.number("beta", kBetaRange).value_or(1.0);
}

void read_pool(Section& s, SourceSpec& out) {
  out.draws = as_u32(s.integer("n", 1, kMostDraws, Need::kRequired), kMostDraws);
  out.popularity_base =
      s.choice<bool>("base", {{"uniform", false}, {"popularity", true}}).value_or(false);
  out.beta = s.number("beta", kBetaRange).value_or(1.0);
  if (const Node* beta = s.node().find("beta"); beta != nullptr && !out.popularity_base) {
    s.reader().problems.add(
        beta->at,
        "beta of " + s.what() + " does nothing here; write base = \"popularity\" or remove beta");
  }
}

void read_exposed(Section& s, SourceSpec& out) {
  // Positive items are never negatives, ambiguous ones neither (they may be liked).
  out.classes = read_classes(s, {ExposureClass::kAversion, ExposureClass::kDisinterest});
  out.max_age = s.duration("max_age");
}

void read_run(Section& s, SourceSpec& out) {
  out.table = s.text("table", Need::kRequired).value_or("");
  out.pool = as_u32(s.integer("pool", 1, kMostRank), out.pool);
}

void read_near(Section& s, SourceSpec& out) {
  out.draws = as_u32(s.integer("n", 1, kMostDraws, Need::kRequired), kMostDraws);
}

void read_batch(Section& s, SourceSpec& out) {
  out.pool = as_u32(s.integer("pool", 1, kMostRank), out.pool);
}

void read_queue(Section& s, SourceSpec& out) {
  out.depth = as_u32(s.integer("depth", 1, kMostDraws, Need::kRequired), kMostDraws);
  out.pool = as_u32(s.integer("pool", 1, kMostRank), out.pool);
}

struct SourceKindRow {
  std::string_view kind;
  SourceKind value;
  SelectKind select;  ///< if the recipe does not say
  void (*read)(Section&, SourceSpec&);
};
constexpr SourceKindRow kSourceKinds[] = {
    {"topk", SourceKind::kTopk, SelectKind::kTop, read_topk},
    {"all", SourceKind::kTopk, SelectKind::kTop, read_all},
    {"uniform", SourceKind::kUniform, SelectKind::kSample, read_uniform},
    {"popularity", SourceKind::kPopularity, SelectKind::kSample, read_popularity},
    {"pool", SourceKind::kPool, SelectKind::kTop, read_pool},
    {"exposed", SourceKind::kExposed, SelectKind::kSample, read_exposed},
    {"run", SourceKind::kRun, SelectKind::kTopByRank, read_run},
    {"near", SourceKind::kNear, SelectKind::kTopByRank, read_near},
    {"batch", SourceKind::kBatch, SelectKind::kTop, read_batch},
    {"queue", SourceKind::kQueue, SelectKind::kTop, read_queue},
};

void read_source(Reader& reader, const Node& node, const std::string& owner, BranchSpec& branch) {
  auto given = with_kind(reader, node, "source of " + owner);
  if (!given) return;
  const Node table = expanded_popularity(reader, std::move(*given));
  std::vector<std::string> known;
  for (const SourceKindRow& row : kSourceKinds) known.emplace_back(row.kind);
  const Node* kind = table.find("kind");
  for (const SourceKindRow& row : kSourceKinds) {
    if (kind == nullptr || kind->kind != Node::Kind::kString || kind->text != row.kind) continue;
    Section section(reader, table, "source " + std::string(row.kind) + " of " + owner);
    section.find("kind");
    branch.source.kind = row.value;
    branch.select = row.select;
    row.read(section, branch.source);
    section.finish();
    return;
  }
  reader.problems.add(
      kind == nullptr ? node.at : kind->at,
      "source of " + owner + (kind == nullptr ? " has no kind" : " is " + describe(*kind)) +
          "; allowed: " + joined(known) + (kind == nullptr ? "" : did_you_mean(kind->text, known)));
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

}  // namespace

ReadBranch read_branch(Reader& reader, const Node& node, std::size_t number) {
  ReadBranch out;
  BranchSpec& branch = out.spec;
  out.at = out.name_at = out.share_at = out.source_at = out.select_at = node.at;
  branch.line = static_cast<int>(node.at.line);
  const Node* name = node.find("name");
  const bool has_name = name != nullptr && name->kind == Node::Kind::kString;
  const std::string owner =
      has_name ? "branch " + quoted(name->text) : "branch number " + std::to_string(number);
  Section section(reader, node, owner);
  branch.name = section.text("name", Need::kRequired).value_or("");
  if (has_name && !branch.name.empty() && !is_plain_name(branch.name)) {
    reader.problems.add(name->at, "name of a branch is " + quoted(branch.name) +
                                      "; allowed: 1 to 64 letters, digits, _ and -");
  }
  if (name != nullptr) out.name_at = name->at;
  if (const Node* share = section.find("share")) {
    out.has_share = true;
    out.share_at = share->at;
    if (const auto value = reader.number(*share, section.name("share"), {0.0, 1.0})) {
      out.millionths = static_cast<std::uint64_t>(std::llround(*value * 1e6));
    }
  }
  if (const Node* count = section.find("count")) {
    out.has_count = true;
    out.share_at = count->at;
    if (const auto value = reader.integer(*count, section.name("count"), 0, 65535)) {
      out.count = static_cast<std::uint64_t>(*value);
    }
  }
  if (const Node* source = section.find("source", Need::kRequired)) {
    out.source_at = source->at;
    read_source(reader, *source, owner, branch);
  }
  if (const Node* filters = section.find("filters")) {
    out.filters = read_filters(reader, *filters, owner);
    for (const ReadFilter& filter : out.filters) branch.filters.push_back(filter.spec);
  }
  if (const Node* select = section.find("select")) {
    out.select_at = select->at;
    read_select(reader, *select, owner, branch);
  }
  section.finish();
  return out;
}

}  // namespace quarry::recipe_text
