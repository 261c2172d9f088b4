# Small libraries. All but MPI, LibTorch, CUDA, NCCL and HDF5 are header-only or linked statically, so that a binary built
# on one distribution runs on another that has those five (yaml-cpp, for one, changes its soname between releases).
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)

function(sisa_static_library target name header)
  find_library(${target}_STATIC NAMES lib${name}.a REQUIRED)
  find_path(${target}_INCLUDE ${header} REQUIRED)
  mark_as_advanced(${target}_STATIC ${target}_INCLUDE)
  add_library(sisa_deps::${target} STATIC IMPORTED GLOBAL)
  set_target_properties(sisa_deps::${target} PROPERTIES IMPORTED_LOCATION ${${target}_STATIC})
  target_include_directories(sisa_deps::${target} SYSTEM INTERFACE ${${target}_INCLUDE})
endfunction()
sisa_static_library(yaml yaml-cpp yaml-cpp/yaml.h)
sisa_static_library(zstd zstd zstd.h)
sisa_static_library(zlib z zlib.h)

find_path(XXHASH_INCLUDE xxhash.h REQUIRED)  # header-only
mark_as_advanced(XXHASH_INCLUDE)
add_library(sisa_deps::xxhash INTERFACE IMPORTED)
target_include_directories(sisa_deps::xxhash SYSTEM INTERFACE ${XXHASH_INCLUDE})

add_library(sisa_deps::hdf5 INTERFACE IMPORTED)
target_include_directories(sisa_deps::hdf5 SYSTEM INTERFACE ${HDF5_INCLUDE_DIRS})
target_link_libraries(sisa_deps::hdf5 INTERFACE ${HDF5_C_LIBRARIES})
