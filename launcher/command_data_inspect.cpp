#include <fmt/format.h>

#include "data/dataset.h"
#include "data/inspect.h"
#include "data/tokenizer.h"
#include "launcher/commands.h"
#include "launcher/dataset_table.h"
#include "launcher/on_root.h"

namespace sisa::launcher {

int run_data_inspect(const DataInspectArguments& arguments, const parallel::World& world) {
  return on_root(world, [&] {
    constexpr int64_t num_previewed = 64;  // tokens
    fmt::print("{}", dataset_table(arguments.folder));
    for (const data::Split split : {data::Split::train, data::Split::validation}) {
      const auto dataset = data::TokenDataset::open(arguments.folder, split);
      dataset.verify();
      if (dataset.tokens() == 0) continue;
      // Only a tokenizer of that fingerprint can show the text.
      std::string begins;
      if (const auto bytes = data::make_tokenizer("bytes");
          bytes->fingerprint() == dataset.manifest().tokenizer)
        begins = fmt::format("; it begins {}", data::preview(dataset, *bytes, 0, num_previewed));
      fmt::print("{}: every checksum and token id is right{}\n", data::split_name(split), begins);
    }
  });
}

}  // namespace sisa::launcher
