// What a checkpoint holds, in our own terms: neither HDF5 nor MPI.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/parameter_space.h"

namespace sisa::checkpoint {

// Where a run stands: all that it needs to go on, apart from parameters and moments.
struct RunState {
  int64_t step = 0;     // steps made, skipped ones included
  int64_t updates = 0;  // of the optimizer: AdamW's t
  int64_t samples = 0;  // consumed by all ranks together: the sampler's whole state
  int64_t tokens = 0;
  std::optional<double> held_out_loss;  // at this step, nats a token; absent where it was not evaluated
  std::string recipe;                   // merged, as `sisa plan --print-recipe` prints it
  std::string code_version;             // of the program that wrote the checkpoint
  std::string extra = "{}";             // a small JSON object of whatever else the writer wants back
};

// A parameter under its own name in its logical shape.
struct Array {
  std::string name;
  std::vector<int64_t> shape;
  int64_t numel() const;
};

// One dataset of one rank's file: the logical elements [begin, end), row-major, of an array.
struct Source {
  std::string file;  // beside the master: "rank-00000.h5"
  parallel::StateArray array;
  std::string name;  // of the Array
  int64_t begin = 0, end = 0;
  c10::ScalarType type = c10::kFloat;  // float, double or bfloat16
  int64_t offset = 0;                  // of its first byte within the file
  uint64_t checksum = 0;               // XXH3-64 of its bytes

  int64_t bytes() const { return (end - begin) * static_cast<int64_t>(c10::elementSize(type)); }
  std::string dataset() const;   // "/parameters/layers.0.W_Q.weight"
  std::string describe() const;  // "parameters/layers.0.W_Q.weight, elements 0 to 4096"
};

struct Contents {
  RunState state;
  int64_t world_size = 1;  // ranks that wrote it, one file each
  std::string precision;
  int64_t sequence = 0;  // counts the saves of a run: the newest checkpoint has the highest
  double written = 0;    // seconds since 1970, UTC
  bool kept = false;     // for ever: no retention deletes it
  std::vector<Array> arrays;
  std::vector<Source> sources;

  bool has_moments() const;
  int64_t num_elements() const;     // of all arrays together
  std::string fingerprint() const;  // of all names and shapes: equal for checkpoints that fit the same model
  const Source* source_of(const Array& array) const;  // one of its weights' sources; nullptr: none
};

// "parameters", "moment1" or "moment2": the group in which an array's datasets stand.
std::string_view group_name(parallel::StateArray array);
// "float32", "float64" or "bfloat16".
std::string_view type_name(c10::ScalarType type);
// "bf16", "bf16_pure", "fp32" or "fp64", as recipes write it.
std::string_view precision_name(common::Precision precision);
std::string format_shape(const std::vector<int64_t>& shape);  // "(256, 128)"
std::string rank_file_name(int rank);                         // "rank-00000.h5"

// The arrays of a model, in the order of its parameters.
std::vector<Array> arrays_of(const parallel::ParameterSpace& space);

// How the arrays of a file and those of a model differ in names and shapes: the first few differences in
// words, with the nearest name for one that is missing; empty: not at all.
std::string differences(const std::vector<Array>& stored, const parallel::ParameterSpace& space);

// Throws Error naming the first few differences if `contents` (of the checkpoint in `folder`) and `space` do
// not hold the same names and shapes.
void check_same_model(const Contents& contents, const parallel::ParameterSpace& space,
                      const std::string& folder);

// JSON, as it travels between ranks and stands in the master's dataset `index`.
std::string to_json(const std::vector<Source>& sources);
std::vector<Source> sources_from_json(const std::string& text);
std::string index_to_json(const Contents& contents);
void index_from_json(const std::string& text, Contents& contents);  // fills arrays and sources

// A flat interval of an array as boxes of whole rows: what HDF5's hyperslabs can say.
struct Rectangle {
  std::vector<int64_t> start, count;  // per dimension
  int64_t begin = 0;                  // flat logical index of its first element
  int64_t numel() const;
};
// At most 2 d - 1 of them, where d is the number of dimensions, in order of `begin`.
std::vector<Rectangle> rectangles(const std::vector<int64_t>& shape, int64_t begin, int64_t end);

}  // namespace sisa::checkpoint
