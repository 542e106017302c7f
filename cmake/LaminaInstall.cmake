# install(): the headers, and a package for find_package(lamina [COMPONENTS io]).
include(CMakePackageConfigHelpers)

set(lamina_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/lamina")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/lamina" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(TARGETS lamina EXPORT laminaTargets)
install(EXPORT laminaTargets NAMESPACE lamina:: DESTINATION "${lamina_package_dir}")

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/laminaConfig.cmake.in"
                              "${PROJECT_BINARY_DIR}/laminaConfig.cmake" INSTALL_DESTINATION "${lamina_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/laminaConfigVersion.cmake" COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/laminaConfig.cmake" "${PROJECT_BINARY_DIR}/laminaConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/LaminaDependencies.cmake" DESTINATION "${lamina_package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
