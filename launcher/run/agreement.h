// What the ranks of one run must have in common, compared before they rely on it.
//
// Ranks may be started with different command lines (mpirun takes several), on hosts with different files and
// with different builds of the program. They would then call different collectives, and hang, or train one
// model from several recipes without a word.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "launcher/recipe/recipe.h"
#include "parallel/world.h"

namespace sisa::launcher {

// Something that every rank must have alike: what a message calls it ("train.batch"), and this rank's value.
// Neither holds a zero byte.
struct Fact {
  std::string name, value;
};
using Facts = std::vector<Fact>;

// Collective. Returns if all ranks have the same facts, in the same order. Otherwise throws one
// parallel::SharedError that names the first rank that differs from rank 0, what differs and both values;
// `advice`, a whole sentence, ends it. It begins with an all_reduce of two 64-bit integers, whatever the
// facts: a program of another version or a rank with another command gets that far as well.
void require_agreement(const parallel::World& world, const Facts& facts, const std::string& advice);

// The program: its version and commit, and LibTorch's version.
Fact program_fact();
// Every key of the recipe that matters to it, with its value as print_recipe has it.
Facts recipe_facts(const Recipe& recipe);

// Collective. Finds out whether every rank can write into a folder that rank 0 has made, and whether what
// one rank writes there is seen by the others, as checkpoints need it: each rank makes an empty file, rank 0
// looks for all of them and every rank for rank 0's, and all are removed. A network file system may show a
// new file late, so that a rank looks for it as long as `patience`. Throws parallel::SharedError that names
// the first rank for which it is not so.
void check_shared_folder(const std::filesystem::path& folder, const parallel::World& world,
                         std::chrono::milliseconds patience = std::chrono::seconds(10));

}  // namespace sisa::launcher
