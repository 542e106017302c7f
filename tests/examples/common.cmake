# What the examples' tests share: PROGRAM runs in DIR, which is empty at first, with the options `always` behind others.
file(REMOVE_RECURSE "${DIR}")
file(MAKE_DIRECTORY "${DIR}")
get_filename_component(program "${PROGRAM}" NAME)

# execute(argument...): sets result, output and errors.
function(execute)
  execute_process(COMMAND "${PROGRAM}" ${ARGN} ${always} WORKING_DIRECTORY "${DIR}" RESULT_VARIABLE result
                  OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  set(result "${result}" PARENT_SCOPE)
  set(output "${output}" PARENT_SCOPE)
  set(errors "${errors}" PARENT_SCOPE)
endfunction()

# run(argument...): it succeeds; sets output.
function(run)
  execute(${ARGN})
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${program} ${ARGN} failed (${result}):\n${output}${errors}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# expect_output(text argument...): it succeeds and says the text.
function(expect_output text)
  run(${ARGN})
  string(FIND "${output}" "${text}" at)
  if(at LESS 0)
    message(FATAL_ERROR "${program} ${ARGN} should say '${text}':\n${output}")
  endif()
endfunction()

# expect_failure(text argument...): it fails and says the text.
function(expect_failure text)
  execute(${ARGN})
  string(FIND "${errors}" "${text}" at)
  if(NOT result MATCHES "^[1-9][0-9]*$" OR at LESS 0)
    message(FATAL_ERROR "${program} ${ARGN} should fail and say '${text}', got ${result}:\n${output}${errors}")
  endif()
endfunction()

# expect_interrupted(INT|TERM file text argument...): ended by the signal as soon as there is DIR/file, it says the text.
function(expect_interrupted signal file text)
  set(script [[
    signal=$1 file=$2; shift 2
    env --default-signal=$signal "$@" & program=$!
    until [ -e "$file" ] || ! kill -0 $program; do sleep 0.02; done
    kill -$signal $program; wait $program]])
  execute_process(COMMAND sh -c "${script}" sh ${signal} "${file}" "${PROGRAM}" ${ARGN} ${always} WORKING_DIRECTORY "${DIR}"
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors TIMEOUT 240)
  set(codes_INT 130)
  set(codes_TERM 143)
  string(FIND "${errors}" "${text}" at)
  if(NOT result EQUAL "${codes_${signal}}" OR at LESS 0)
    message(FATAL_ERROR "${program} ${ARGN}, ended by SIG${signal}, should say '${text}', got ${result}:\n${output}${errors}")
  endif()
endfunction()

# expect_files(folder name...): they are in DIR/folder.
function(expect_files folder)
  foreach(file IN LISTS ARGN)
    if(NOT EXISTS "${DIR}/${folder}/${file}")
      message(FATAL_ERROR "there is no ${folder}/${file}")
    endif()
  endforeach()
endfunction()

# expect_equal(a b): the files have the same bytes.
function(expect_equal a b)
  execute_process(COMMAND "${CMAKE_COMMAND}" -E compare_files "${DIR}/${a}" "${DIR}/${b}" RESULT_VARIABLE different)
  if(different)
    message(FATAL_ERROR "${a} and ${b} differ")
  endif()
endfunction()

# read_metrics(variable folder models epochs): sets the text of DIR/folder/metrics.json, which has the form that all
# examples share, with so many models of so many epochs.
function(read_metrics variable folder models epochs)
  file(READ "${DIR}/${folder}/metrics.json" metrics)
  foreach(key dataset seed threads)
    string(JSON value GET "${metrics}" settings ${key})
  endforeach()
  string(JSON count LENGTH "${metrics}" models)
  if(NOT count EQUAL models)
    message(FATAL_ERROR "expected ${models} models in ${folder}/metrics.json:\n${metrics}")
  endif()
  foreach(model RANGE 1 ${models})
    math(EXPR model "${model} - 1")
    string(JSON name GET "${metrics}" models ${model} name)
    string(JSON parameters GET "${metrics}" models ${model} parameters)
    string(JSON best GET "${metrics}" models ${model} best_epoch)
    string(JSON results TYPE "${metrics}" models ${model} results)
    string(JSON count LENGTH "${metrics}" models ${model} epochs)
    if(name STREQUAL "" OR parameters LESS 1 OR NOT results STREQUAL "OBJECT" OR NOT count EQUAL epochs)
      message(FATAL_ERROR "expected a model of ${epochs} epochs in ${folder}/metrics.json:\n${metrics}")
    endif()
    foreach(epoch RANGE 1 ${epochs})
      math(EXPR i "${epoch} - 1")
      string(JSON number GET "${metrics}" models ${model} epochs ${i} epoch)
      if(NOT number EQUAL epoch)
        message(FATAL_ERROR "expected epoch ${epoch} in ${folder}/metrics.json:\n${metrics}")
      endif()
      foreach(key train_loss train_accuracy test_loss test_accuracy seconds examples_per_second lr)
        string(JSON value GET "${metrics}" models ${model} epochs ${i} ${key})
      endforeach()
    endforeach()
  endforeach()
  set(${variable} "${metrics}" PARENT_SCOPE)
endfunction()
