// Recipes that were recorded, changed once more.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/recipe/recipe.h"

namespace quarry {

/// parse_recipe, with overrides as load_recipe takes them.
Recipe parse_recipe_with(std::string_view toml, const std::string& file, std::uint32_t round,
                         const std::vector<std::string>& overrides);

}  // namespace quarry
