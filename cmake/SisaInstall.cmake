# cmake --install: the program with its recipes, and the libraries as targets sisa::common … sisa::launcher for find_package(sisa).
# sisa::launcher is the program without its main function, so that another program can train.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
set(SISA_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/sisa)

# The program finds LibTorch's and CUDA's libraries with no environment variable, where they were at build time. RUNPATH (new dtags)
# and not RPATH: LD_LIBRARY_PATH then overrides it on a host that has them elsewhere. LibTorch's own CUDA runtime comes before the
# toolkit's: one process holds one.
cmake_path(GET LIBTORCH_ROOT PARENT_PATH site_packages)
file(GLOB bundled_libraries ${site_packages}/nvidia/*/lib)
# CMake leaves out of the link path what lies in the checkout, as .venv does.
cmake_path(GET LibTorch_CPU PARENT_PATH libtorch_libraries)
list(APPEND bundled_libraries ${libtorch_libraries})
set_target_properties(sisa PROPERTIES
  BUILD_RPATH "${bundled_libraries}" INSTALL_RPATH "${bundled_libraries}" INSTALL_RPATH_USE_LINK_PATH ON)
target_link_options(sisa PRIVATE -Wl,--enable-new-dtags)
install(TARGETS sisa RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/sisa)

foreach(folder common data model parallel checkpoint evaluation launcher)
  install(TARGETS sisa_${folder} EXPORT sisa ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sisa FILES_MATCHING PATTERN *.h)
endforeach()
install(EXPORT sisa NAMESPACE sisa:: FILE sisaTargets.cmake DESTINATION ${SISA_PACKAGE_DIR})

# What the libraries link is found again on the importing side, by the same files.
configure_package_config_file(cmake/sisaConfig.cmake.in ${CMAKE_BINARY_DIR}/sisaConfig.cmake
  INSTALL_DESTINATION ${SISA_PACKAGE_DIR} NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/sisaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/sisaConfig.cmake ${CMAKE_BINARY_DIR}/sisaConfigVersion.cmake
  cmake/FindLibTorch.cmake cmake/FindNCCL.cmake cmake/SisaDependencies.cmake DESTINATION ${SISA_PACKAGE_DIR})
