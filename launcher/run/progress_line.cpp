#include "launcher/run/progress_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "common/quantity.h"

namespace sisa::launcher {

using common::format_bytes;
using common::format_count;
using common::format_duration;
using common::format_short;
using Clock = std::chrono::steady_clock;

namespace {

constexpr auto quiet = std::chrono::seconds(10);  // the time between lines where there is no terminal

}  // namespace

ProgressLine::ProgressLine(bool active)
    : active_(active), terminal_(isatty(STDERR_FILENO) != 0), last_(Clock::now()) {}

ProgressLine::~ProgressLine() {
  if (drawn_) fmt::print(stderr, "\r\x1b[K");
}

void ProgressLine::show(const std::string& text) {
  if (!active_) return;
  if (terminal_) {
    fmt::print(stderr, "\r{}\x1b[K", text);
    drawn_ = true;
  } else if (Clock::now() - last_ >= quiet) {
    fmt::print(stderr, "{}\n", text);
    last_ = Clock::now();
  }
}

std::string describe_progress(const data::PrepareProgress& p, int64_t input_bytes, double seconds) {
  std::string text = fmt::format("{} documents, {}, {} tokens, {:.1f} MB/s", format_count(p.documents),
                                 format_bytes(static_cast<double>(p.text_bytes)),
                                 format_short(static_cast<double>(p.tokens)),
                                 static_cast<double>(p.text_bytes - p.found_text_bytes) / 1e6 / seconds);
  if (p.bad > 0) text += fmt::format(", {} skipped", format_count(p.bad));
  const auto read = static_cast<double>(p.input_bytes - p.found_input_bytes);
  if (input_bytes > 0 && read > 0) {
    const auto left = static_cast<double>(std::max<int64_t>(0, input_bytes - p.input_bytes));
    text += fmt::format(", {:.0f}%, {} left",
                        100 * static_cast<double>(p.input_bytes) / static_cast<double>(input_bytes),
                        format_duration(left / read * seconds));
  }
  return text;
}

}  // namespace sisa::launcher
