# PROGRAM ends before main() and says TEXT.
execute_process(COMMAND "${PROGRAM}" RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors)
string(FIND "${errors}" "${TEXT}" at)
if(result EQUAL 0 OR at LESS 0 OR output)
  message(FATAL_ERROR "${PROGRAM} should not run and say '${TEXT}', got ${result}:\n${output}${errors}")
endif()
