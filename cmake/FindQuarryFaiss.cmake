# Finds FAISS and probes what this build of it offers: QUARRY_HAS_FAISS, QUARRY_FAISS_GPU.
# FAISS's own config (1.7.3) names OpenMP, BLAS and LAPACK targets without finding them, so they come first.
find_package(OpenMP COMPONENTS CXX QUIET)
find_package(LAPACK QUIET)
find_package(CUDAToolkit QUIET)  # a GPU build's config names CUDA::cudart
find_package(faiss CONFIG QUIET HINTS "${FAISS_ROOT}" "$ENV{FAISS_ROOT}")
if(NOT TARGET faiss)
  message(STATUS "FAISS not found: retrieval is exact only (install libfaiss-dev, or pass -DFAISS_ROOT=...)")
  return()
endif()

include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_LIBRARIES faiss OpenMP::OpenMP_CXX)
set(CMAKE_REQUIRED_QUIET ON)
set(CMAKE_REQUIRED_FLAGS "-w")
# Links, not only compiles: a header and a library of different builds fail here and not in a user's run.
check_cxx_source_compiles("
  #include <faiss/IndexFlat.h>
  #include <faiss/index_factory.h>
  int main() { faiss::IndexFlatIP index(8); return index.ntotal == 0 ? 0 : 1; }" QUARRY_FAISS_LINKS)
check_cxx_source_compiles("
  #include <faiss/Index.h>
  int main() { faiss::idx_t id = 0; return static_cast<int>(id); }" QUARRY_FAISS_HAS_IDX_T)
check_cxx_source_compiles("
  #include <faiss/impl/IDSelector.h>
  #include <faiss/IndexFlat.h>
  int main() {
    faiss::IDSelectorRange range(0, 1);
    faiss::SearchParameters parameters;
    parameters.sel = &range;
    return parameters.sel == nullptr;
  }" QUARRY_FAISS_HAS_SELECTOR)
# Its headers include CUDA's, and its static library calls the runtime and cuBLAS without naming them.
set(quarry_faiss_cuda "")
if(TARGET CUDA::cudart AND TARGET CUDA::cublas)
  set(quarry_faiss_cuda CUDA::cudart CUDA::cublas)
endif()
list(APPEND CMAKE_REQUIRED_LIBRARIES ${quarry_faiss_cuda})
check_cxx_source_compiles("
  #include <faiss/gpu/StandardGpuResources.h>
  int main() { faiss::gpu::StandardGpuResources resources; return 0; }" QUARRY_FAISS_HAS_GPU)
set(CMAKE_REQUIRED_LIBRARIES faiss OpenMP::OpenMP_CXX)
check_cxx_source_compiles("
  #if !__has_include(<faiss/gpu/StandardGpuResources.h>)
  #error none
  #endif
  int main() { return 0; }" QUARRY_FAISS_HAS_GPU_HEADER)
unset(CMAKE_REQUIRED_LIBRARIES)
unset(CMAKE_REQUIRED_QUIET)
unset(CMAKE_REQUIRED_FLAGS)

if(NOT QUARRY_FAISS_LINKS)
  message(STATUS "FAISS ${faiss_VERSION} at ${faiss_DIR} does not link: retrieval is exact only")
  return()
endif()
set(QUARRY_HAS_FAISS ON)
if(QUARRY_FAISS_HAS_GPU AND QUARRY_CUDA)
  set(QUARRY_FAISS_GPU ON)
elseif(QUARRY_FAISS_HAS_GPU_HEADER AND QUARRY_CUDA)
  if(quarry_faiss_cuda)
    set(quarry_faiss_why "a program that uses them does not build; see CMakeFiles/CMakeError.log")
  else()
    set(quarry_faiss_why "the CUDA Toolkit is not found; pass -DCUDAToolkit_ROOT=...")
  endif()
  message(WARNING "FAISS ${faiss_VERSION} at ${faiss_DIR} has GPU headers, but ${quarry_faiss_why}. "
    "FAISS kinds run on the CPU in this build")
endif()
