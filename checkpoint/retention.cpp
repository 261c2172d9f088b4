#include "checkpoint/retention.h"

#include <map>
#include <set>

namespace sisa::checkpoint {

std::vector<Entry> superfluous(const std::vector<Entry>& entries, const Retention& retention) {
  if (retention.keep_last == 0) return {};
  std::vector<const Entry*> candidates;  // the oldest first
  std::set<const Entry*> kept;
  for (const Entry& entry : entries) {
    if (!entry.complete() || (entry.kept && !entry.has_moments)) continue;
    candidates.push_back(&entry);
    if (entry.kept) kept.insert(&entry);
  }
  for (size_t i = 0; i < candidates.size(); ++i)
    if (i + static_cast<size_t>(retention.keep_last) >= candidates.size()) kept.insert(candidates[i]);
  if (retention.keep_every > 0) {
    std::map<int64_t, const Entry*> first;  // by the multiple at or after which it was saved
    for (const Entry* entry : candidates) {
      const int64_t multiple = entry->tokens / retention.keep_every;
      if (multiple == 0) continue;
      const auto [found, added] = first.try_emplace(multiple, entry);
      if (!added && entry->tokens < found->second->tokens) found->second = entry;
    }
    for (const auto& [multiple, entry] : first) kept.insert(entry);
  }
  if (retention.keep_best) {
    const Entry* best = nullptr;
    for (const Entry* entry : candidates)
      if (entry->held_out_loss && (!best || *entry->held_out_loss < *best->held_out_loss)) best = entry;
    if (best) kept.insert(best);
  }

  std::vector<Entry> result;
  for (const Entry* entry : candidates)
    if (!kept.contains(entry)) result.push_back(*entry);
  return result;
}

}  // namespace sisa::checkpoint
