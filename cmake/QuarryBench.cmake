# One Google Benchmark executable per bench/*.cpp.
file(GLOB bench_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bench/*.cpp")
foreach(source IN LISTS bench_sources)
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  quarry_compile_flags(${name})
  target_link_libraries(${name} PRIVATE quarry benchmark::benchmark benchmark::benchmark_main)
  target_link_libraries(${name} PRIVATE ${QUARRY_TEXT_LIBRARIES}
    $<TARGET_NAME_IF_EXISTS:quarry_demo>)
endforeach()
