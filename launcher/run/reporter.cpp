#include "launcher/run/reporter.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/quantity.h"

namespace sisa::launcher {
namespace {

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// JSON has no NaN: a value that is not finite is written as null.
nlohmann::ordered_json number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

// The width of `text` on a screen: its characters, not its bytes.
size_t width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string boxed_table(const std::string& title, const Rows& rows) {
  size_t label_width = 0, value_width = 0;
  for (const auto& [label, value] : rows) {
    label_width = std::max(label_width, width(label));
    value_width = std::max(value_width, width(value));
  }
  const size_t inner = std::max(label_width + 2 + value_width, width(title));
  const auto rule = [&](const char* left, const char* right) {
    std::string line = left;
    for (size_t i = 0; i < inner + 2; ++i) line += "─";
    return line + right + "\n";
  };
  const auto line = [&](const std::string& text) {
    return "│ " + text + std::string(inner - width(text), ' ') + " │\n";
  };
  std::string table = rule("┌", "┐") + line(title) + rule("├", "┤");
  for (const auto& [label, value] : rows)
    table += label.empty() ? rule("├", "┤")
                           : line(label + std::string(label_width + 2 - width(label), ' ') + value);
  return table + rule("└", "┘");
}

std::string status_line(const StepReport& r) {
  const auto digits = static_cast<int>(std::to_string(r.total_steps).size());
  std::string line = fmt::format(
      "step {:>{}}/{}  {:5.1f}%  loss {:7.4f}  grad norm {:8.3g}  lr {:.2e}  {:>7} tok/s", r.step, digits,
      r.total_steps, 100.0 * static_cast<double>(r.step) / static_cast<double>(r.total_steps), r.loss,
      r.gradient_norm, r.learning_rate, common::format_short(r.tokens_per_second));
  if (r.mfu) line += fmt::format("  MFU {:4.1f}%", 100 * *r.mfu);
  line += "  ETA " + common::format_duration(r.seconds_left);
  for (const CounterTotal& counter : r.counters)
    if (counter.total > 0)
      line += fmt::format("  {} {}", common::format_short(static_cast<double>(counter.total)), counter.label);
  if (!r.applied) line += "  skipped: the loss or a gradient was not finite";
  return line;
}

Reporter::Reporter(bool active, const std::filesystem::path& metrics_file) : active_(active) {
  if (!active_ || metrics_file.empty()) return;
  try {
    file_.emplace(metrics_file);
  } catch (const SystemError& error) {
    throw Error("{}. Choose an output folder that you may write to.", error.what());
  }
}

void Reporter::say(const std::string& text) const {
  if (!active_) return;
  // A full disk behind standard output is no reason to end a run.
  std::fputs((text + "\n").c_str(), stdout);
  std::fflush(stdout);
}

void Reporter::step(const StepReport& r, bool show) {
  if (!active_) return;
  nlohmann::ordered_json record = {{"step", r.step},
                                   {"tokens", r.tokens},
                                   {"samples", r.samples},
                                   {"loss", number(r.loss)},
                                   {"grad_norm", number(r.gradient_norm)},
                                   {"lr", r.learning_rate},
                                   {"tokens_per_second", r.tokens_per_second},
                                   {"seconds", r.seconds},
                                   {"seconds_waited", r.seconds_waited}};
  for (const CounterTotal& counter : r.counters) record[counter.name] = counter.total;
  if (r.mfu) record["mfu"] = *r.mfu;
  if (r.mfu_exact) record["mfu_exact"] = *r.mfu_exact;
  write(record);
  if (!r.applied)
    event("skip", r.step, {}, status_line(r));
  else if (show)
    say(status_line(r));
}

void Reporter::event(const std::string& kind, int64_t step, nlohmann::ordered_json fields,
                     const std::string& text) {
  if (!active_) return;
  nlohmann::ordered_json record = {{"event", kind}, {"step", step}, {"time", unix_time()}};
  if (!fields.is_null()) record.update(fields);
  write(record);
  say(text);
}

void Reporter::write(const nlohmann::ordered_json& record) {
  if (!file_) return;
  // A path in it may hold bytes that are not UTF-8.
  const int error = file_->append(record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (error != 0 && !failing_)
    std::fputs(fmt::format("WARNING: Cannot write the metrics: {}. Records are lost until it can.\n",
                           std::strerror(error))
                   .c_str(),
               stderr);
  failing_ = error != 0;
}

}  // namespace sisa::launcher
