# Finds LibTorch as the Python package `torch` ships it, or as an unpacked LibTorch archive.
# Hints: LIBTORCH_ROOT (a folder holding include/ and lib/), or Python3_EXECUTABLE (an interpreter that can find torch);
# without either, the interpreter of .venv in the checkout and then the python3 on the PATH are asked.
# Gives the target LibTorch::LibTorch. Torch's own package file is avoided: it insists on a CUDA toolkit wherever the
# library was built with one, and sets global compiler flags.
set(LIBTORCH_ROOT "" CACHE PATH "Folder of LibTorch, holding include/ and lib/")
if(NOT LIBTORCH_ROOT)
  foreach(python ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/.venv/bin/python python3)
    # find_spec locates the package without importing it, which would take seconds.
    execute_process(
      COMMAND ${python} -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
      OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
    if(status EQUAL 0 AND EXISTS ${found}/lib)
      set(LIBTORCH_ROOT ${found})
      break()
    endif()
  endforeach()
endif()

find_path(LibTorch_INCLUDE_DIR ATen/core/Tensor.h HINTS ${LIBTORCH_ROOT}/include NO_DEFAULT_PATH)
find_library(LibTorch_C10 c10 HINTS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH)
find_library(LibTorch_CPU torch_cpu HINTS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH)
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_C10 LibTorch_CPU)
if(LibTorch_INCLUDE_DIR AND EXISTS ${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h)
  file(STRINGS ${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h numbers REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE "[^0-9;]" "" numbers "${numbers}")
  list(JOIN numbers "." LibTorch_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU LibTorch_C10 LibTorch_INCLUDE_DIR VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "install it with `pip install torch==2.11.0`, then pass -DPython3_EXECUTABLE=… or -DLIBTORCH_ROOT=…")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE ${LibTorch_INCLUDE_DIR}
    ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include)
  target_link_libraries(LibTorch::LibTorch INTERFACE ${LibTorch_CPU} ${LibTorch_C10})
  if(SISA_HAVE_CUDA)
    find_library(LibTorch_C10_CUDA c10_cuda HINTS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
    find_library(LibTorch_CUDA torch_cuda HINTS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
    mark_as_advanced(LibTorch_C10_CUDA LibTorch_CUDA)
    # torch_cuda registers its kernels when it is loaded and we call none of its symbols, hence --no-as-needed. The quotes are for
    # the shell, as CMake passes flags on as they are and the path may hold spaces.
    target_link_libraries(LibTorch::LibTorch INTERFACE ${LibTorch_C10_CUDA}
      "-Wl,--no-as-needed,\"${LibTorch_CUDA}\",--as-needed" CUDA::cudart)
  endif()
endif()
