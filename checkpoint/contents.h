// What a checkpoint contains, independent of HDF5 and MPI.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parallel/parameter_space.h"

namespace sisa::checkpoint {

// The progress of a run: everything but parameters and moments that it needs in order to go on.
struct RunState {
  int64_t step = 0;     // steps made, including skipped ones
  int64_t updates = 0;  // updates by the optimizer: AdamW's t
  int64_t samples = 0;  // consumed by all ranks together, which is the whole state of the sampler
  int64_t tokens = 0;   // consumed by all ranks together
  std::optional<double> held_out_loss;  // at this step, in nats per token; absent if it was not evaluated
  std::string recipe;                   // after merging, as `sisa plan --print-recipe` prints it
  std::string code_version;             // of the program that wrote the checkpoint
  std::string extra = "{}";             // a small JSON object with whatever else the writer needs
};

// The name and the logical shape of a parameter (common::Block).
struct Array {
  std::string name;
  std::vector<int64_t> shape;
  int64_t numel() const;
};

// A dataset of a rank's file. It contains the logical elements [begin, end), row-major, of the weights or of
// a moment of one parameter.
struct StoredSlice {
  std::string file;  // name, in the folder of the master file: "rank-00000.h5"
  parallel::StateArray array;
  std::string name;  // of the parameter
  int64_t begin = 0, end = 0;
  c10::ScalarType type = c10::kFloat;  // float, double or bfloat16
  int64_t offset = 0;                  // of the dataset's first byte within the file
  uint64_t checksum = 0;               // XXH3-64 of the dataset's bytes

  int64_t bytes() const { return (end - begin) * static_cast<int64_t>(c10::elementSize(type)); }
  std::string dataset() const;   // "/parameters/layers.0.W_Q.weight"
  std::string describe() const;  // "parameters/layers.0.W_Q.weight, elements 0 to 4096"
};

// The content of a master file.
struct Contents {
  RunState state;
  int64_t world_size = 1;  // the number of ranks that wrote it, with one file each
  std::string precision;   // common::precision_name
  int64_t sequence = 0;    // the number of the save: a run's newest checkpoint has the highest
  double written = 0;      // time in seconds since 1970, UTC
  bool kept = false;       // for ever: no retention rule deletes it
  std::vector<Array> arrays;
  std::vector<StoredSlice> sources;

  bool has_moments() const;
  int64_t num_elements() const;     // of all parameters together
  std::string fingerprint() const;  // of all names and shapes: equal for checkpoints that fit the same model
  // One of the sources of a parameter's weights, or nullptr.
  const StoredSlice* source_of(const Array& array) const;
  // The sources of each parameter's weights and moments, in ascending order of `begin`.
  std::map<std::pair<parallel::StateArray, std::string>, std::vector<const StoredSlice*>> sources_by_array()
      const;
};

// What a checkpoint with or without moments contains for each parameter, in the order in which it is written.
std::span<const parallel::StateArray> saved_arrays(bool moments);
// The HDF5 group of an array's datasets: "parameters", "moment1" or "moment2".
std::string_view group_name(parallel::StateArray array);
// "float32", "float64" or "bfloat16".
std::string_view type_name(c10::ScalarType type);
std::string format_shape(const std::vector<int64_t>& shape);  // "(256, 128)"
std::string rank_file_name(int rank);                         // "rank-00000.h5"

// The names and shapes of a model's parameters, in the model's order.
std::vector<Array> arrays_of(const parallel::ParameterSpace& space);

// The first few differences in names and shapes between the arrays of a file and those of a model, in words,
// with the nearest name for one that is missing. Empty if there are none.
std::string differences(const std::vector<Array>& stored, const parallel::ParameterSpace& space);

// Throws Error naming the first few differences if `contents` (of the checkpoint in `folder`) and `space` do
// not hold the same names and shapes.
void check_same_model(const Contents& contents, const parallel::ParameterSpace& space,
                      const std::string& folder);

// JSON, in which ranks exchange sources and which is the content of the master file's dataset `index`.
std::string to_json(const std::vector<StoredSlice>& sources);
std::vector<StoredSlice> sources_from_json(const std::string& text);
std::string index_to_json(const Contents& contents);
// Sets the arrays and sources of `contents`, whose world_size is set. Throws common::JsonError, which begins with
// `name` and names the entry, unless the names of arrays differ, their shapes are positive, every source is a
// slice of one of them in a rank's file that shares no bytes with another, and the slices of each array's
// weights, and of both moments if there are any, cover it exactly once in one type.
void index_from_json(const std::string& text, const std::string& name, Contents& contents);

// A box of an array's elements, such as an HDF5 hyperslab can describe, whose elements are consecutive in
// row-major order.
struct Rectangle {
  std::vector<int64_t> start, count;  // for each dimension
  int64_t begin = 0;                  // row-major index of the first element
  int64_t numel() const;
};
// The elements [begin, end), row-major, of an array as boxes in ascending order: at most 2 d - 1 boxes for d
// dimensions.
std::vector<Rectangle> rectangles(const std::vector<int64_t>& shape, int64_t begin, int64_t end);

}  // namespace sisa::checkpoint
