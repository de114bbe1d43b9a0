# The Python package: the module quarry._quarry, its stub, and the program, for a wheel (pip install .).
find_package(Python 3.10 COMPONENTS Interpreter Development.Module REQUIRED)
if(NOT nanobind_ROOT AND NOT nanobind_DIR)
  execute_process(COMMAND "${Python_EXECUTABLE}" -m nanobind --cmake_dir
    OUTPUT_STRIP_TRAILING_WHITESPACE OUTPUT_VARIABLE nanobind_ROOT ERROR_QUIET)
endif()
find_package(nanobind CONFIG)
if(NOT nanobind_FOUND)
  message(FATAL_ERROR "QUARRY_PYTHON needs nanobind, which `pip install .` brings; by hand: "
    "${Python_EXECUTABLE} -m pip install nanobind")
endif()

file(GLOB quarry_python_sources CONFIGURE_DEPENDS python/bind/*.cpp)
nanobind_add_module(_quarry NB_STATIC ${quarry_python_sources})
target_link_libraries(_quarry PRIVATE quarry)
quarry_compile_flags(_quarry)
# Nothing of the libraries inside (FAISS, nanobind, ours) may stand in for what others in the process use.
target_link_options(_quarry PRIVATE "LINKER:--exclude-libs,ALL"
  "LINKER:--version-script,${PROJECT_SOURCE_DIR}/cmake/python_module.map")
set_target_properties(_quarry PROPERTIES LINK_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/python_module.map")

nanobind_add_stub(_quarry_stub MODULE _quarry OUTPUT _quarry.pyi DEPENDS _quarry
  PYTHON_PATH "$<TARGET_FILE_DIR:_quarry>")

install(TARGETS _quarry LIBRARY DESTINATION quarry COMPONENT python)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/_quarry.pyi" DESTINATION quarry COMPONENT python)
install(TARGETS quarry_cli RUNTIME DESTINATION quarry/bin COMPONENT python)
