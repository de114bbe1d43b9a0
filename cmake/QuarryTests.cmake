# One executable and one ctest entry per tests/*_test.cpp, and the checks of tools/ as further entries.
file(GLOB test_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/*_test.cpp")
file(GLOB support_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/support/*.cpp")
if(QUARRY_CUDA)
  file(GLOB cuda_support_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/support/*.cu")
  list(APPEND support_sources ${cuda_support_sources})
endif()

add_library(quarry_test_support INTERFACE)
if(support_sources)
  add_library(quarry_test_support_objects STATIC ${support_sources})
  quarry_compile_flags(quarry_test_support_objects)
  target_link_libraries(quarry_test_support_objects PUBLIC quarry GTest::gtest rapidcheck)
  target_link_libraries(quarry_test_support_objects PRIVATE Threads::Threads)
  target_link_libraries(quarry_test_support INTERFACE quarry_test_support_objects)
endif()
target_link_libraries(quarry_test_support INTERFACE quarry GTest::gtest_main GTest::gtest rapidcheck)

foreach(source IN LISTS test_sources)
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  quarry_compile_flags(${name})
  target_link_libraries(${name} PRIVATE quarry_test_support ${QUARRY_TEXT_LIBRARIES}
    Threads::Threads $<TARGET_NAME_IF_EXISTS:quarry_demo>)
  target_include_directories(${name} SYSTEM PRIVATE ${QUARRY_TOML_INCLUDE_DIR})
  target_compile_definitions(${name} PRIVATE
    QUARRY_SOURCE_DIR="${PROJECT_SOURCE_DIR}" QUARRY_BINARY_DIR="${PROJECT_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT $<IF:$<BOOL:${QUARRY_SANITIZE}>,3600,900>)
  if(TARGET quarry_cli)
    add_dependencies(${name} quarry_cli)
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT "QUARRY_PROGRAM=$<TARGET_FILE:quarry_cli>")
  endif()
  if(QUARRY_SANITIZE)  # OpenBLAS's own threads are not instrumented
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT "OPENBLAS_NUM_THREADS=1")
  endif()
endforeach()

# Parts of the program that a test calls by themselves.
target_sources(blas_test PRIVATE "${PROJECT_SOURCE_DIR}/tools/quarry/blas.cpp")
target_sources(control_group_test PRIVATE "${PROJECT_SOURCE_DIR}/tools/quarry/control_group.cpp")

# Golden cases on a device of choice: what tools/gpu_check and tools/verify_evidence run.
add_executable(golden "${PROJECT_SOURCE_DIR}/tests/golden.cpp")
quarry_compile_flags(golden)
target_link_libraries(golden PRIVATE quarry_test_support Threads::Threads)
if(QUARRY_CUDA)  # launches are counted on their way to the runtime (tests/support/launches_gpu.cu)
  foreach(symbol __cudaRegisterFunction __cudaGetKernel __cudaLaunchKernel cudaLaunchKernel cudaLaunchKernelExC)
    target_link_options(golden PRIVATE "LINKER:--wrap=${symbol}")
  endforeach()
endif()

find_program(QUARRY_PYTHON_PROGRAM python3)
mark_as_advanced(QUARRY_PYTHON_PROGRAM)
if(QUARRY_PYTHON_PROGRAM AND NOT QUARRY_SANITIZE)
  foreach(script evidence_test gpu_check_test)
    add_test(NAME ${script} COMMAND "${QUARRY_PYTHON_PROGRAM}" -B "${PROJECT_SOURCE_DIR}/tests/${script}.py"
      $<TARGET_FILE:golden>)
    set_tests_properties(${script} PROPERTIES TIMEOUT 900)
  endforeach()
  add_test(NAME gpu_kernels_test COMMAND "${QUARRY_PYTHON_PROGRAM}" "${PROJECT_SOURCE_DIR}/tests/gpu_kernels_test.py")
endif()

# The Thrust text of kernels/setup on Thrust's sequential CPU backend: needs CCCL's headers, no CUDA.
find_path(QUARRY_CCCL_INCLUDE_DIR thrust/system/cpp/execution_policy.h
  HINTS ${CUDAToolkit_INCLUDE_DIRS} $ENV{CUDA_HOME}/include /usr/local/cuda/include PATH_SUFFIXES cccl)
mark_as_advanced(QUARRY_CCCL_INCLUDE_DIR)
if(QUARRY_CCCL_INCLUDE_DIR)
  target_include_directories(setup_test SYSTEM PRIVATE ${QUARRY_CCCL_INCLUDE_DIR})
  target_compile_definitions(setup_test PRIVATE QUARRY_THRUST_ON_CPU
    THRUST_HOST_SYSTEM=THRUST_HOST_SYSTEM_CPP THRUST_DEVICE_SYSTEM=THRUST_DEVICE_SYSTEM_CPP)
  if(QUARRY_SANITIZE STREQUAL "address")  # Thrust binds references to null where they are not read
    target_compile_options(setup_test PRIVATE -fno-sanitize=null)
  endif()
endif()

# Checks of the tree itself: once is enough, in the plain build.
if(NOT QUARRY_SANITIZE)
  set(checks "${PROJECT_SOURCE_DIR}/tools")
  add_test(NAME check_layers COMMAND "${checks}/check_layers")
  add_test(NAME check_format COMMAND "${checks}/check_format")
  add_test(NAME check_headers COMMAND "${CMAKE_COMMAND}" --build "${PROJECT_BINARY_DIR}"
    --target all_verify_interface_header_sets)  # each public header compiles alone
  find_package(Python3 COMPONENTS Interpreter QUIET)
  if(TARGET quarry_cli AND Python3_FOUND)
    foreach(script_and_limit plan_memory=1800 refresh_test=1800 store_tools_test=900 user_ids_test=300 follow_test=600 set_pairs_test=300
        review_test=300 review_import_test=300 feedback_users_test=300 feedback_model_test=300 report_page_test=300 report_history_test=300 cluster_test=900 bench_cluster_test=600 item_slices_test=600 worker_memory_test=900 refresh_plan_test=900 ray_test=900 auto_bench_test=300 peers_test=300
        python_test=900 python_words_test=900 python_processes_test=900 python_sets_test=900 python_updates_test=900 python_prefetch_test=900
        python_pools_test=900 python_pairs_test=900 python_tables_test=900 python_tables_words_test=900 python_torch_test=900 python_loader_test=900 python_types_test=300
        text_test=600 text_peer_test=600 convert_test=600 convert_arguments_test=600 convert_sets_test=600 convert_tables_test=600 convert_tables_words_test=300 arrow_test=300 mlflow_test=300
        tutorials_test=600 movielens_torch_test=600)
      string(REGEX MATCH "^(.*)=(.*)$" both "${script_and_limit}")
      set(script "${CMAKE_MATCH_1}")
      add_test(NAME ${script} COMMAND ${Python3_EXECUTABLE} -B "${PROJECT_SOURCE_DIR}/tests/${script}.py"
        $<TARGET_FILE:quarry_cli>)
      set_tests_properties(${script} PROPERTIES TIMEOUT ${CMAKE_MATCH_2} SKIP_RETURN_CODE 77)
    endforeach()
    add_test(NAME bench_plot_test COMMAND ${Python3_EXECUTABLE} -B "${PROJECT_SOURCE_DIR}/tests/bench_plot_test.py")
  endif()
  add_test(NAME check_install COMMAND "${checks}/check_install" "${PROJECT_BINARY_DIR}")
  set_tests_properties(check_layers check_format check_headers check_install PROPERTIES
    TIMEOUT 900 SKIP_RETURN_CODE 77)
endif()

# Tests run side by side and use several threads each: one that waits must not take the processor from one that works.
get_property(all_tests DIRECTORY PROPERTY TESTS)
set_property(TEST ${all_tests} APPEND PROPERTY ENVIRONMENT "OMP_WAIT_POLICY=passive")
