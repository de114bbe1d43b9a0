// Reading shares of a recipe's tree and writing them into its text.
#include "host/feedback/recipe_shares.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "host/recipe/document.h"
#include "host/recipe/section.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

using recipe_text::Node;
using recipe_text::Place;

constexpr std::uint64_t kMillion = 1'000'000;
constexpr std::uint64_t kFourDecimals = 100;  // in millionths

// --- places in the text -------------------------------------------------------------------------

/// Where a place of the tree begins; columns count characters.
std::size_t offset_of(std::string_view text, Place at) {
  std::size_t offset = text.substr(0, 3) == "\xEF\xBB\xBF" ? 3 : 0;
  for (std::uint32_t line = 1; line < at.line; ++line) {
    offset = text.find('\n', offset);
    QUARRY_CHECK(offset != std::string_view::npos);
    ++offset;
  }
  const auto is_inner = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
  for (std::uint32_t column = 1; column < at.column; ++column) {
    QUARRY_CHECK(offset < text.size());
    do ++offset;
    while (offset < text.size() && is_inner(text[offset]));
  }
  return offset;
}

/// Behind the text's end quotes, or behind the number's last character.
std::size_t end_of_value(std::string_view text, std::size_t begin) {
  QUARRY_CHECK(begin < text.size());
  const char quote = text[begin];
  if (quote != '"' && quote != '\'') {
    const std::size_t end = text.find_first_of(" \t\r\n,]}#", begin);
    return std::min(end, text.size());
  }
  const std::string three(3, quote);
  const std::string end = text.substr(begin, 3) == three ? three : std::string(1, quote);
  for (std::size_t at = begin + end.size(); at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (text.substr(at, end.size()) == end) {
      return at + end.size();
    }
  }
  return text.size();
}

struct Edit {
  std::size_t begin, end;
  std::string text;
};

/// Notes that `node` becomes what `text` says, in the tree too.
void replace(std::string_view whole, Node& node, const std::string& text,
             std::vector<Edit>& edits) {
  const std::size_t begin = offset_of(whole, node.at);
  const std::size_t end = end_of_value(whole, begin);
  const Node there = recipe_text::parse_value(whole.substr(begin, end - begin), node.at);
  QUARRY_CHECK(there.kind == node.kind &&
               recipe_text::write_value(there) == recipe_text::write_value(node));
  edits.push_back({begin, end, text});
  node = recipe_text::parse_value(text, node.at);
}

// --- shares in the tree -------------------------------------------------------------------------

std::uint64_t millionths(const Node& node) {
  return static_cast<std::uint64_t>(std::llround(node.number * 1e6));
}

void refuse_schedule(const Node& node, const std::string& what, const std::string& where) {
  if (node.kind == Node::Kind::kInteger || node.kind == Node::Kind::kFloat) return;
  throw InputError(fmt::format(
      "{}: {} changes with the round (a schedule, line {} of the set's recipe), and feedback moves "
      "plain numbers alone; mine with the number of this round in its place first, or leave the "
      "lines of this by out",
      where, what, node.at.line));
}

Node* share_of_branch(Node& branch, bool counts) { return branch.find(counts ? "count" : "share"); }

bool counts_branches(const Node& root) {
  const Node* branches = root.find(kBranches);
  return branches->elements.front().find("count") != nullptr;
}

ShareGroup branch_group(const Recipe& recipe, const Node& root, const std::string& where) {
  if (recipe.branches.size() < 2)
    throw InputError(fmt::format(
        "{}: by is branch, and the set's recipe has one branch alone; there is no share to move",
        where));
  ShareGroup group;
  group.by = kBranches;
  const bool counts = counts_branches(root);
  group.unit = counts ? ShareGroup::Unit::kCount : ShareGroup::Unit::kMillionth;
  const Node* branches = root.find(kBranches);
  for (std::size_t b = 0; b < recipe.branches.size(); ++b) {
    Node branch = branches->elements[b];
    const Node* share = share_of_branch(branch, counts);
    const std::string& name = recipe.branches[b].name;
    refuse_schedule(*share, fmt::format("the share of branch '{}'", name), where);
    group.shares.emplace_back(
        name, counts ? static_cast<std::uint64_t>(share->integer) : millionths(*share));
  }
  return group;
}

/// Attributes of the quota, as its text names them.
std::vector<std::string> quota_attributes(const Node& root) {
  std::vector<std::string> names;
  const Node* quota = root.find("quota");
  const Node* by = quota != nullptr ? quota->find("by") : nullptr;
  if (by == nullptr) return names;
  if (by->kind == Node::Kind::kString) names.push_back(by->text);
  for (const Node& element : by->elements) names.push_back(element.text);
  return names;
}

/// The node that says what the cells of an attribute get: a table, or a word, which may stand for
/// all attributes.
Node* cells_node(Node& root, const std::string& attribute) {
  Node* shares = root.find("quota")->find("shares");
  if (shares->kind != Node::Kind::kTable) return shares;
  Node* nested = shares->find(attribute);
  const bool names_a_cell =
      nested == nullptr || nested->kind == Node::Kind::kFloat ||
      nested->kind == Node::Kind::kInteger ||
      (nested->kind == Node::Kind::kTable && nested->find("schedule") != nullptr);
  return names_a_cell && quota_attributes(root).size() == 1 ? shares : nested;
}

std::vector<std::string> parts_of(const std::string& name) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  while (true) {
    const std::size_t end = std::min(name.find('/', at), name.size());
    parts.push_back(name.substr(at, end - at));
    if (end == name.size()) return parts;
    at = end + 1;
  }
}

/// Cells of the attribute in the order of the strata, with the slots asked for.
std::vector<StratumSlots> cells_of_strata(const Recipe& recipe, std::size_t level,
                                          const std::vector<StratumSlots>& strata,
                                          const std::string& where) {
  const std::size_t levels = recipe.quota->by.size();
  std::vector<StratumSlots> cells;
  for (const StratumSlots& stratum : strata) {
    const std::vector<std::string> parts =
        levels == 1 ? std::vector<std::string>{stratum.name} : parts_of(stratum.name);
    if (parts.size() != levels)
      throw InputError(fmt::format(
          "{}: the cells of '{}' cannot be told from the set's strata ('{}' for {} attributes); "
          "name the cells in the recipe's [quota] shares, and mine with that first",
          where, recipe.quota->by[level].attribute, stratum.name, levels));
    const auto found = std::find_if(cells.begin(), cells.end(), [&](const StratumSlots& cell) {
      return cell.name == parts[level];
    });
    StratumSlots& cell = found != cells.end() ? *found : cells.emplace_back();
    cell.name = parts[level];
    cell.requested += stratum.requested;
  }
  return cells;
}

/// Integers in proportion to the weights, by largest remainders.
std::vector<std::uint64_t> apportioned(const std::vector<std::uint64_t>& weights) {
  unsigned __int128 sum = 0;
  for (const std::uint64_t w : weights) sum += w;
  std::vector<std::uint64_t> parts;
  std::vector<unsigned __int128> rest;
  std::uint64_t given = 0;
  for (const std::uint64_t w : weights) {
    const unsigned __int128 product = static_cast<unsigned __int128>(w) * kMillion;
    parts.push_back(static_cast<std::uint64_t>(product / sum));
    rest.push_back(product % sum);
    given += parts.back();
  }
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return rest[a] > rest[b]; });
  for (std::size_t i = 0; given < kMillion; ++i, ++given) ++parts[order[i]];
  return parts;
}

/// So many slots asked for a cell on average: that one with a share gets none is out of the
/// question.
constexpr std::uint64_t kTellingSlots = 20;

ShareGroup cell_group(const Recipe& recipe, Node& root, std::size_t level,
                      const std::vector<StratumSlots>& strata, const std::string& where) {
  const QuotaAttribute& quota = recipe.quota->by[level];
  ShareGroup group;
  group.by = quota.attribute;
  if (quota.mode == QuotaAttribute::Shares::kNamed) {
    const Node* node = cells_node(root, quota.attribute);
    for (std::size_t c = 0; c < quota.shares.size(); ++c)
      refuse_schedule(node->members[c].value,
                      fmt::format("the share of '{}' in [quota]", quota.shares[c].first), where);
    group.shares = quota.shares;
  } else {
    const bool equal = quota.mode == QuotaAttribute::Shares::kEqual;
    group.mode = equal ? "equal" : "catalogue";
    const std::vector<StratumSlots> cells = cells_of_strata(recipe, level, strata, where);
    std::vector<std::uint64_t> weights;
    std::uint64_t sum = 0;
    std::uint64_t slots = 0;
    for (const StratumSlots& cell : cells) slots += cell.requested;
    for (const StratumSlots& cell : cells) {
      // Of a cell without items no slot is ever asked for, of any other one in a few rows.
      if (equal && cell.requested == 0 && slots < kTellingSlots * cells.size())
        throw InputError(fmt::format(
            "{}: its run asked for {} slots, too few to tell which cells of '{}' hold no item; "
            "mine "
            "more rows with this recipe, or name the cells' shares in its [quota] and mine with "
            "that first",
            where, slots, quota.attribute));
      weights.push_back(equal ? std::min<std::uint64_t>(cell.requested, 1) : cell.requested);
      sum += weights.back();
    }
    if (sum == 0)
      throw InputError(
          fmt::format("{}: the set does not say how many slots its strata were asked "
                      "for, from which shares by catalogue could be told; name the "
                      "cells in the recipe's [quota] shares, and mine with that first",
                      where));
    const std::vector<std::uint64_t> parts = apportioned(weights);
    for (std::size_t c = 0; c < cells.size(); ++c)
      group.shares.emplace_back(cells[c].name, parts[c]);
  }
  if (group.shares.size() < 2)
    throw InputError(fmt::format("{}: '{}' has one cell alone with a share; there is none to move",
                                 where, group.by));
  return group;
}

}  // namespace

std::vector<std::string> share_groups(const Recipe& recipe) {
  std::vector<std::string> groups = {kBranches};
  if (recipe.quota) {
    for (const QuotaAttribute& quota : recipe.quota->by) groups.push_back(quota.attribute);
  }
  return groups;
}

ShareGroup share_group(const Recipe& recipe, const std::string& by,
                       const std::vector<StratumSlots>& strata, const std::string& where) {
  Node root = recipe_text::parse_document(recipe.text);
  const std::vector<std::string> known = share_groups(recipe);
  const auto found = std::find(known.begin(), known.end(), by);
  if (found == known.end())
    throw InputError(fmt::format("{}: by is {}; the set's recipe has shares by: {}{}", where,
                                 recipe_text::quoted(by), recipe_text::joined(known),
                                 recipe_text::did_you_mean(by, known)));
  if (by == kBranches && std::count(known.begin(), known.end(), by) > 1)
    throw InputError(fmt::format(
        "{}: by is branch, which may mean the branches or the attribute 'branch' of the recipe's "
        "[quota]; give the attribute another name in [strata] and [quota], and mine with that "
        "first",
        where));
  const auto place = static_cast<std::size_t>(found - known.begin());
  ShareGroup group = place == 0 ? branch_group(recipe, root, where)
                                : cell_group(recipe, root, place - 1, strata, where);
  if (group.unit == ShareGroup::Unit::kMillionth &&
      std::all_of(group.shares.begin(), group.shares.end(),
                  [](const auto& share) { return share.second % kFourDecimals == 0; }))
    group.grain = kFourDecimals;
  return group;
}

std::string share_text(const ShareGroup& group, std::uint64_t units) {
  if (group.unit == ShareGroup::Unit::kCount) return std::to_string(units);
  std::string text = fmt::format("{}.{:06}", units / kMillion, units % kMillion);
  while (text.back() == '0' && text[text.size() - 2] != '.') text.pop_back();
  return text;
}

std::string with_shares(const std::string& text, const ShareGroup& group,
                        const std::vector<std::uint64_t>& shares) {
  QUARRY_CHECK(shares.size() == group.shares.size());
  Node root = recipe_text::parse_document(text);
  std::vector<Edit> edits;
  const auto put = [&](Node& node, std::uint64_t units) {
    const bool counts = group.unit == ShareGroup::Unit::kCount;
    const std::uint64_t there =
        counts ? static_cast<std::uint64_t>(node.integer) : millionths(node);
    if (there != units) replace(text, node, share_text(group, units), edits);
  };
  if (group.by == kBranches) {
    Node* branches = root.find(kBranches);
    for (std::size_t b = 0; b < shares.size(); ++b)
      put(*share_of_branch(branches->elements[b], group.unit == ShareGroup::Unit::kCount),
          shares[b]);
  } else if (group.mode.empty()) {
    Node* cells = cells_node(root, group.by);
    for (std::size_t c = 0; c < shares.size(); ++c) put(cells->members[c].value, shares[c]);
  } else {
    Node table;
    for (std::size_t c = 0; c < shares.size(); ++c) {
      const Node value = recipe_text::parse_value(share_text(group, shares[c]), {});
      table.members.push_back({group.shares[c].first, {}, value});
    }
    Node* word = cells_node(root, group.by);
    const std::vector<std::string> attributes = quota_attributes(root);
    if (word == root.find("quota")->find("shares") && attributes.size() > 1) {
      Node all;  // the word stood for every attribute, and goes on to for the others
      for (const std::string& attribute : attributes)
        all.members.push_back({attribute, {}, attribute == group.by ? table : *word});
      table = std::move(all);
    }
    replace(text, *word, recipe_text::write_value(table), edits);
  }
  std::sort(edits.begin(), edits.end(),
            [](const Edit& a, const Edit& b) { return a.begin > b.begin; });
  std::string changed = text;
  for (const Edit& edit : edits) changed.replace(edit.begin, edit.end - edit.begin, edit.text);
  QUARRY_CHECK(recipe_text::write_document(recipe_text::parse_document(changed)) ==
               recipe_text::write_document(root));
  return changed;
}

}  // namespace quarry
