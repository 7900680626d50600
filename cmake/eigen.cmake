# Eigen 5.0.x headers: from EIGEN_INCLUDE_DIR, or out of the eigency package of the build environment.
if(NOT EIGEN_INCLUDE_DIR)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
            "import importlib.util as u; print(u.find_spec('eigency').submodule_search_locations[0] + '/eigen', end='')"
    OUTPUT_VARIABLE EIGEN_INCLUDE_DIR RESULT_VARIABLE eigency_missing ERROR_QUIET)
endif()
if(NOT EXISTS "${EIGEN_INCLUDE_DIR}/Eigen/Core")
  message(FATAL_ERROR "Eigen 5.0 headers not found: pip install eigency==5.0.1.1, or set EIGEN_INCLUDE_DIR")
endif()
