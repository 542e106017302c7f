# Runs PROGRAM on 3 ranks, of which one fails as HOW says: all end within 10 seconds, with a message that names rank and
# cause, and the checkpoint that rank 0 has written is whole.
cmake_policy(VERSION 3.22)
set(text_throws "rank 1 of 3: the data of rank 1 are gone")
set(text_nan "rank 2 of 3: fit: the loss is nan in epoch 3, batch 1 of 4")
set(text_options "DataParallel: rank 1 has another learning rate than rank 0: 0.2, not 0.1")
set(text_unguarded "rank 1 of 3: ended by an exception")
set(text_killed "rank 1 .*signal 9")
file(REMOVE "${CHECKPOINT}")
string(TIMESTAMP begin "%s")
execute_process(COMMAND ${MPIRUN} 3 "${PROGRAM}" ${HOW} "${CHECKPOINT}" RESULT_VARIABLE result
                OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 30)
string(TIMESTAMP end "%s")
math(EXPR seconds "${end} - ${begin}")
if(result EQUAL 0 OR seconds GREATER 10 OR NOT output MATCHES "${text_${HOW}}")
  message(FATAL_ERROR "expected an end within 10 seconds that says '${text_${HOW}}', got ${result} after ${seconds} s:\n"
                      "${output}")
endif()
# The run goes on without the others.
if(NOT HOW STREQUAL "options")
  execute_process(COMMAND "${PROGRAM}" resume "${CHECKPOINT}" RESULT_VARIABLE result OUTPUT_VARIABLE output
                  ERROR_VARIABLE output TIMEOUT 30)
  if(result OR NOT output MATCHES "epochs: 3")
    message(FATAL_ERROR "the checkpoint cannot be resumed: ${result}\n${output}")
  endif()
endif()
