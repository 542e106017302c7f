# Short runs of involution in DIR: its files, the independence of threads, its errors.
cmake_policy(VERSION 3.22)
include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")
set(always --limit-train 256 --limit-test 50)

# results(variable out argument...): last loss, parameters and multiply-adds of both networks.
function(results variable out)
  run(--epochs 2 --batch-size 32 --out ${out} ${ARGN})
  expect_files(${out} metrics.json curves.png kernels.png)
  read_metrics(metrics ${out} 2 2)
  set(all)
  foreach(model 0 1)
    string(JSON loss GET "${metrics}" models ${model} epochs 1 train_loss)
    string(JSON parameters GET "${metrics}" models ${model} parameters)
    string(JSON multiply_adds GET "${metrics}" models ${model} results multiply_adds)
    list(APPEND all ${loss} ${parameters} ${multiply_adds})
  endforeach()
  set(${variable} "${all}" PARENT_SCOPE)
endfunction()

results(one one --threads 1)
results(two two --threads 2)
if(NOT one STREQUAL two OR NOT one MATCHES "^[01][.][0-9]+;257162;[0-9]+;[0-9.]+;3916;[0-9]+$")
  message(FATAL_ERROR "one thread: ${one}, two threads: ${two}")
endif()

expect_failure("nowhere" --dataset cifar10 --data nowhere)
