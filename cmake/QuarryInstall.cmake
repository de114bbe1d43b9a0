# Installs the library, its public headers under include/quarry, the program, and quarryConfig.cmake.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(quarry_config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/quarry")

install(TARGETS quarry EXPORT quarryTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/quarry")
if(TARGET quarry_cli)
  install(TARGETS quarry_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
install(EXPORT quarryTargets NAMESPACE quarry:: DESTINATION "${quarry_config_dir}")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/quarryConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/quarryConfig.cmake" INSTALL_DESTINATION "${quarry_config_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/quarryConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/quarryConfig.cmake" "${PROJECT_BINARY_DIR}/quarryConfigVersion.cmake"
  DESTINATION "${quarry_config_dir}")
