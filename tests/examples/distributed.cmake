# The programs on several ranks: train_classifier learns what one process learns, writes files once, and goes on with
# another number of ranks; the others run, and an error ends all. MPIRUN is how ranks are started, PROGRAMS the folder.
cmake_policy(VERSION 3.22)
include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")

# on(ranks program argument...): it succeeds; sets output.
function(on ranks program)
  execute_process(COMMAND ${MPIRUN} ${ranks} "${PROGRAMS}/${program}" ${ARGN} WORKING_DIRECTORY "${DIR}"
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors TIMEOUT 120)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${program} ${ARGN} on ${ranks} ranks failed (${result}):\n${output}${errors}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# expect_equal_losses(a b): of the last epoch in a/metrics.json and b/metrics.json, to 3 digits.
function(expect_equal_losses a b)
  foreach(name IN ITEMS a b)
    file(READ "${DIR}/${${name}}/metrics.json" text)
    foreach(number train_loss test_loss)
      string(JSON count LENGTH "${text}" models 0 epochs)
      math(EXPR last "${count} - 1")
      string(JSON value GET "${text}" models 0 epochs ${last} ${number})
      string(SUBSTRING "${value}" 0 5 ${name}_${number})
    endforeach()
  endforeach()
  foreach(number train_loss test_loss)
    string(REPLACE "." "" x "${a_${number}}")
    string(REPLACE "." "" y "${b_${number}}")
    math(EXPR difference "${x} - ${y}")
    if(difference GREATER 1 OR difference LESS -1)
      message(FATAL_ERROR "${a} and ${b}: ${number} ${a_${number}} and ${b_${number}}")
    endif()
  endforeach()
endfunction()

set(lenet --threads 1 --limit-train 320 --limit-test 90 --batch-size 64 --seed 3 --init xavier)
run(${lenet} --epochs 2 --out alone)
on(2 train_classifier --distributed ${lenet} --epochs 2 --out two)
string(REGEX MATCHALL "2 processes, each with its part of every batch of 64" lines "${output}")
list(LENGTH lines count)
if(NOT count EQUAL 1)
  message(FATAL_ERROR "one rank should talk:\n${output}")
endif()
expect_equal_losses(alone two)
expect_files(two metrics.json history.csv curves.png predictions.png model.safetensors checkpoint.safetensors)
on(2 train_classifier --distributed ${lenet} --epochs 1 --out begun)
on(3 train_classifier --distributed ${lenet} --epochs 2 --resume begun/checkpoint.safetensors --out resumed)
expect_equal_losses(alone resumed)
run(--distributed ${lenet} --epochs 2 --out one_rank)
expect_equal_losses(alone one_rank)
on(2 train_classifier --distributed ${lenet} --epochs 2 --compression bfloat16 --check-every 2 --out half)
on(2 train_classifier --distributed --sync-batch-norm --model resnet20 --width 0.25 --threads 1 --limit-train 64
   --limit-test 16 --batch-size 16 --epochs 1 --optimizer lars --scale-lr 64 --mixup 0.2 --out resnet)

on(2 segment --distributed --sync-batch-norm --backbone plain --limit-train 8 --limit-test 5 --batch-size 4 --width 16
   --rank 4 --epochs 1 --threads 1 --out segment)
expect_files(segment metrics.json model.safetensors)
on(2 pixelcnn train --distributed --blocks 1 --hidden 4 --limit-train 32 --limit-test 8 --count 2 --batch-size 8 --epochs 1
   --threads 1 --out pixels)
expect_files(pixels model.safetensors checkpoint.safetensors)
set(clip train --distributed --scenes 48 --image-size 32 --width 0.125 --layers 1 --features 16 --heads 2 --projection 16
    --batch-size 16 --vocabulary-size 100 --dropout 0 --threads 1)
on(2 clip ${clip} --epochs 2 --out clip)
expect_files(clip model.safetensors checkpoint.safetensors)
on(2 clip ${clip} --chunk 4 --epochs 1 --loss siglip --out chunked)

execute_process(COMMAND ${MPIRUN} 2 "${PROGRAM}" --distributed --limit-train 8 --limit-test 8 --batch-size 1 --epochs 1 --out none
                WORKING_DIRECTORY "${DIR}" RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors TIMEOUT 60)
if(result EQUAL 0 OR NOT errors MATCHES "rank [01] of 2: DataLoader: batch_size is 1, fewer than the 2 ranks")
  message(FATAL_ERROR "batches smaller than the ranks: ${result}\n${output}${errors}")
endif()
