# sisa_library(FOLDER SOURCES … [CUDA …] [PUBLIC …] [PRIVATE …]): one library per folder, exported as sisa::FOLDER.
# sisa_settings(TARGET): the settings that all our targets share.
find_program(CCACHE ccache)
if(CCACHE)
  # The two sloppiness settings are what ccache documents for precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_COMPILE_OPTIONS_PIE -fPIC)  # executables too, since they share the libraries' precompiled header
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

function(sisa_settings target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF CUDA_STANDARD 17 CUDA_EXTENSIONS OFF)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  # fmt is the copy among LibTorch's headers, used header-only: a second one beside it would be a trap.
  target_compile_definitions(${target} PUBLIC FMT_HEADER_ONLY=1)
  # Designated initialisers leave members to their defaults on purpose.
  set(warnings -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wnon-virtual-dtor -Wno-unknown-pragmas)
  if(SISA_WERROR)
    # GCC 12 reports these two falsely for inlined std::string code.
    list(APPEND warnings -Werror -Wno-restrict -Wno-stringop-overflow)
  endif()
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${warnings};-fpch-preprocess>)
  if(SISA_SANITIZE)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${SISA_SANITIZE};-fno-omit-frame-pointer>)
    target_link_options(${target} PRIVATE -fsanitize=${SISA_SANITIZE})
  endif()
  if(SISA_HAVE_CUDA)
    target_compile_definitions(${target} PRIVATE SISA_HAVE_CUDA=1)
  endif()
endfunction()

function(sisa_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;CUDA;PUBLIC;PRIVATE" ${ARGN})
  add_library(sisa_${folder} STATIC ${ARG_SOURCES})
  add_library(sisa::${folder} ALIAS sisa_${folder})
  set_target_properties(sisa_${folder} PROPERTIES EXPORT_NAME ${folder})
  if(SISA_HAVE_CUDA AND ARG_CUDA)
    target_sources(sisa_${folder} PRIVATE ${ARG_CUDA})
  endif()
  sisa_settings(sisa_${folder})
  target_include_directories(sisa_${folder} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:include/sisa>)
  target_link_libraries(sisa_${folder} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  if(folder STREQUAL "common")
    # LibTorch's headers take seconds to read; one precompiled header serves every target.
    target_precompile_headers(sisa_common PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${PROJECT_SOURCE_DIR}/cmake/precompiled.h>)
  else()
    target_precompile_headers(sisa_${folder} REUSE_FROM sisa_common)
  endif()
endfunction()
