# Short runs of involution in DIR: its files, the independence of threads, its errors.
cmake_policy(VERSION 3.22)
file(REMOVE_RECURSE "${DIR}")
file(MAKE_DIRECTORY "${DIR}")

# results(variable out argument...): epochs, last loss and parameters of both networks.
function(results variable out)
  execute_process(COMMAND "${PROGRAM}" --epochs 2 --limit-train 256 --limit-test 50 --batch-size 32 --out ${out} ${ARGN}
                  WORKING_DIRECTORY "${DIR}" RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "involution ${ARGN} failed (${result}):\n${output}")
  endif()
  foreach(file metrics.json curves.png kernels.png)
    if(NOT EXISTS "${DIR}/${out}/${file}")
      message(FATAL_ERROR "there is no ${file}")
    endif()
  endforeach()
  file(READ "${DIR}/${out}/metrics.json" metrics)
  set(all)
  foreach(model 0 1)
    string(JSON epochs LENGTH "${metrics}" models ${model} epochs)
    string(JSON loss GET "${metrics}" models ${model} epochs 1 train_loss)
    string(JSON parameters GET "${metrics}" models ${model} parameters)
    list(APPEND all ${epochs} ${loss} ${parameters})
  endforeach()
  set(${variable} "${all}" PARENT_SCOPE)
endfunction()

results(one one --threads 1)
results(two two --threads 2)
if(NOT one STREQUAL two OR NOT one MATCHES "^2;.*;257162;2;.*;3916$")
  message(FATAL_ERROR "one thread: ${one}, two threads: ${two}")
endif()

execute_process(COMMAND "${PROGRAM}" --dataset cifar10 --data nowhere WORKING_DIRECTORY "${DIR}" RESULT_VARIABLE result
                OUTPUT_VARIABLE output ERROR_VARIABLE errors)
if(result EQUAL 0 OR NOT errors MATCHES "nowhere")
  message(FATAL_ERROR "a missing folder should be an error, got ${result}:\n${output}${errors}")
endif()
