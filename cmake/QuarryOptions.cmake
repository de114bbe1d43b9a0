# Options, build type, warnings and sanitizers.
option(QUARRY_CUDA "Build the CUDA backend of every kernel" OFF)
option(QUARRY_FAISS "Use FAISS where it is found (exact retrieval needs none)" ON)
option(QUARRY_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(QUARRY_BENCH "Build the micro-benchmarks" OFF)
option(QUARRY_WERROR "Warnings are errors" OFF)
option(QUARRY_UNITY "Compile several sources of the program, and of host, together" ON)
if("${QUARRY_PYTHON}" MATCHES "/")  # a build tree from when this was the path of an interpreter
  unset(QUARRY_PYTHON CACHE)
endif()
option(QUARRY_PYTHON "Build the module of the Python package (pip install . does)" OFF)
option(QUARRY_STD_THREADS "std::thread instead of OpenMP in our code, for race detectors" OFF)
set(QUARRY_SANITIZE "" CACHE STRING "empty, address (with undefined behaviour) or thread")
set_property(CACHE QUARRY_SANITIZE PROPERTY STRINGS "" address thread)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()
# -O2: the hot loops are written for it, and -O3 doubles the build without making them faster.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG" CACHE STRING "" FORCE)
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g" CACHE STRING "" FORCE)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(QUARRY_CCACHE ccache)
mark_as_advanced(QUARRY_CCACHE)
if(QUARRY_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${QUARRY_CCACHE}")
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${QUARRY_CCACHE}")
endif()

if(QUARRY_SANITIZE STREQUAL "address")
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined>"
    "$<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize-recover=all>"
    "$<$<COMPILE_LANGUAGE:CXX>:-fno-omit-frame-pointer>")
  add_link_options(-fsanitize=address,undefined)
elseif(QUARRY_SANITIZE STREQUAL "thread")
  if(NOT QUARRY_STD_THREADS)
    message(FATAL_ERROR "QUARRY_SANITIZE=thread cannot see into OpenMP and would report false races; "
      "add -DQUARRY_STD_THREADS=ON or use the preset cpu-tsan")
  endif()
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=thread>")
  add_link_options(-fsanitize=thread)
elseif(QUARRY_SANITIZE)
  message(FATAL_ERROR "QUARRY_SANITIZE=${QUARRY_SANITIZE} is not known; use address, thread or nothing")
endif()

# Every target of this tree. A result is the same bits everywhere only if no compiler fuses a
# multiplication and an addition on its own, so -ffp-contract=off travels to those who include our headers.
function(quarry_compile_flags target)
  target_compile_options(${target}
    PUBLIC "$<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>"
    PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra>"
            "$<$<AND:$<BOOL:${QUARRY_WERROR}>,$<COMPILE_LANGUAGE:CXX>>:-Werror>")
  if(QUARRY_STD_THREADS)
    target_compile_definitions(${target} PRIVATE QUARRY_STD_THREADS)
  endif()
endfunction()
