# For C++: `cmake --install`, then find_package(derf) gives derf::derf.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/derf)
set_target_properties(derf PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS derf EXPORT derf LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES csrc/derf.h csrc/module.h csrc/operators.h csrc/visibility.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/derf)
install(EXPORT derf NAMESPACE derf:: FILE derfTargets.cmake DESTINATION ${config_dir})
configure_file(cmake/derfConfig.cmake.in derfConfig.cmake @ONLY)
write_basic_package_version_file(derfConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/derfConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/derfConfigVersion.cmake
  cmake/FindLibTorch.cmake DESTINATION ${config_dir})
