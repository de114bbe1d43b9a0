# Finds every third-party library once and says what to install when one is missing. Nothing is downloaded.
macro(quarry_need found debian_package)
  if(NOT ${found})
    list(APPEND quarry_missing ${debian_package})
  endif()
endmacro()

set(quarry_missing "")
find_package(Threads REQUIRED)
find_package(OpenMP COMPONENTS CXX)
quarry_need(OpenMP_CXX_FOUND g++)

# OpenBLAS where there is one (its thread count can be set per call site), else any BLAS with cblas.h.
set(BLA_VENDOR OpenBLAS)
find_package(BLAS QUIET)
if(NOT BLAS_FOUND)
  unset(BLA_VENDOR)
  find_package(BLAS)
endif()
find_path(QUARRY_CBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas openblas-pthread)
mark_as_advanced(QUARRY_CBLAS_INCLUDE_DIR)
if(NOT BLAS_FOUND OR NOT QUARRY_CBLAS_INCLUDE_DIR)
  list(APPEND quarry_missing libopenblas-dev)
endif()

find_package(nlohmann_json CONFIG QUIET)
quarry_need(nlohmann_json_FOUND nlohmann-json3-dev)
find_package(fmt CONFIG QUIET)
quarry_need(fmt_FOUND libfmt-dev)
find_package(spdlog CONFIG QUIET)
quarry_need(spdlog_FOUND libspdlog-dev)
find_package(CLI11 CONFIG QUIET)
quarry_need(CLI11_FOUND libcli11-dev)
find_path(QUARRY_TOML_INCLUDE_DIR toml++/toml.h)  # used as a header only: no library at run time
quarry_need(QUARRY_TOML_INCLUDE_DIR libtomlplusplus-dev)
find_path(QUARRY_XXHASH_INCLUDE_DIR xxhash.h)
find_library(QUARRY_XXHASH_LIBRARY xxhash)
mark_as_advanced(QUARRY_TOML_INCLUDE_DIR QUARRY_XXHASH_INCLUDE_DIR QUARRY_XXHASH_LIBRARY)
quarry_need(QUARRY_XXHASH_LIBRARY libxxhash-dev)

if(QUARRY_TESTS)
  find_package(GTest CONFIG QUIET)
  quarry_need(GTest_FOUND libgtest-dev)
  find_package(rapidcheck CONFIG QUIET)
  quarry_need(rapidcheck_FOUND librapidcheck-dev)
endif()
if(QUARRY_BENCH)
  find_package(benchmark CONFIG QUIET)
  quarry_need(benchmark_FOUND libbenchmark-dev)
endif()

if(quarry_missing)
  list(REMOVE_DUPLICATES quarry_missing)
  list(JOIN quarry_missing " " quarry_missing)
  message(FATAL_ERROR "missing: ${quarry_missing} (Debian and Ubuntu names). "
    "Install them with `tools/install_dependencies build` or by hand, then configure again")
endif()

set(QUARRY_HAS_FAISS OFF)
set(QUARRY_FAISS_GPU OFF)
if(QUARRY_FAISS)
  include(FindQuarryFaiss)
endif()

set(QUARRY_TEXT_LIBRARIES nlohmann_json::nlohmann_json spdlog::spdlog fmt::fmt)

# What the library itself needs. Headers of these libraries are included by our .cpp files only.
function(quarry_link_dependencies target)
  target_link_libraries(${target} PRIVATE
    "$<BUILD_INTERFACE:nlohmann_json::nlohmann_json>" spdlog::spdlog fmt::fmt BLAS::BLAS xxhash
    Threads::Threads)
  target_include_directories(${target} SYSTEM PRIVATE ${QUARRY_TOML_INCLUDE_DIR}
    ${QUARRY_XXHASH_INCLUDE_DIR} ${QUARRY_CBLAS_INCLUDE_DIR})
  if(NOT QUARRY_STD_THREADS)
    target_link_libraries(${target} PRIVATE OpenMP::OpenMP_CXX)
  endif()
  if(QUARRY_HAS_FAISS)
    target_link_libraries(${target} PRIVATE faiss)
    file(GLOB index_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/index/*.cpp")
    set_property(SOURCE ${index_sources} APPEND PROPERTY COMPILE_DEFINITIONS QUARRY_HAS_FAISS
      $<$<BOOL:${QUARRY_FAISS_GPU}>:QUARRY_FAISS_GPU>)
  endif()
  if(QUARRY_FAISS_GPU)  # after faiss, whose static library needs them; one runtime in the process, FAISS's
    target_link_libraries(${target} PRIVATE CUDA::cudart CUDA::cublas)
  elseif(QUARRY_CUDA)
    target_link_libraries(${target} PRIVATE CUDA::cudart_static CUDA::cublas)
  endif()
  if(QUARRY_CUDA)
    target_compile_definitions(${target} PUBLIC QUARRY_HAS_CUDA)
  endif()
endfunction()
