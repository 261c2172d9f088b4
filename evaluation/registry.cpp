#include "evaluation/registry.h"

#include <algorithm>
#include <iterator>

namespace sisa::evaluation {

// The file of that name under scorers/ defines each. It makes one scorer, or several, as of several tasks, or
// none, where the inputs hold no items for it.
Scorers make_text(const Inputs& inputs);    // scorers/held_out.cpp
Scorers make_tasks(const Inputs& inputs);   // likewise
Scorers make_bigram(const Inputs& inputs);  // scorers/bigram.cpp

namespace {

// In the order in which scores are shown.
constexpr Scorers (*rows[])(const Inputs&) = {make_text, make_tasks, make_bigram};

}  // namespace

Scorers make_scorers(const Inputs& inputs) {
  Scorers all;
  for (const auto make : rows) {
    Scorers made = make(inputs);
    std::move(made.begin(), made.end(), std::back_inserter(all));
  }
  std::erase_if(all, [](const auto& scorer) { return scorer->size() == 0; });
  return all;
}

}  // namespace sisa::evaluation
