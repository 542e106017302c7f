# classify_image on the weights and photographs of example_inputs in DIR: torchvision's probabilities, its errors.
cmake_policy(VERSION 3.22)
include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")
execute_process(COMMAND "${INPUTS}" "${DIR}" COMMAND_ERROR_IS_FATAL ANY)

set(net --model mobilenet_v3_small --weights weights.safetensors)
run(${net} --labels names.txt wide.png small.png)
# From classify_image_expected.py, in millionths.
set(expected wide.png 349 82486 682 72727 414 71471 542 64405 544 58781
             small.png 872 695285 544 300643 363 2561 546 633 752 364)
string(REGEX MATCHALL "[^\n]+" lines "${output}")
list(FILTER lines EXCLUDE REGEX "probability")
foreach(line IN LISTS lines)
  list(POP_FRONT expected class)
  if(line STREQUAL class)
    continue()
  endif()
  list(POP_FRONT expected probability)
  if(NOT line MATCHES "^ +0\\.0*([0-9]+) +${class}  class number ${class}$")
    message(FATAL_ERROR "expected class ${class}, got '${line}' in\n${output}")
  endif()
  math(EXPR difference "${CMAKE_MATCH_1} - ${probability}")
  if(difference GREATER 100 OR difference LESS -100)
    message(FATAL_ERROR "expected probability ${probability} millionths, got '${line}' in\n${output}")
  endif()
endforeach()
if(expected)
  message(FATAL_ERROR "there should be more:\n${output}")
endif()

execute(${net} --top 2 cut.png small.png)
if(NOT result EQUAL 1 OR NOT output MATCHES "^small.png\n[^\n]+\n[^\n]+\n[^\n]+\n$" OR NOT errors MATCHES "cut.png: .*cut short"
   OR NOT errors MATCHES "1 of 2 images could not be read")
  message(FATAL_ERROR "a bad image should not stop the others:\n${output}${errors}")
endif()
expect_failure("names.txt: not a readable PNG or JPEG image" ${net} names.txt)
expect_failure("none.png" ${net} none.png)
expect_failure("none.safetensors" --model resnet18 --weights none.safetensors small.png)
expect_failure("cut.png" --model resnet18 --weights cut.png small.png)
expect_failure("seven.txt: 7 labels, but --classes 1000" ${net} --labels seven.txt --classes 1000 small.png)
expect_failure("the file's last layer, classifier.3, has 1000 classes, not 7: load it with --classes 1000" ${net} --labels
               seven.txt small.png)
expect_failure("not the weights of this mobilenet_v3_large; the file looks like mobilenet_v3_small" --model
               mobilenet_v3_large --weights weights.safetensors small.png)
expect_failure("more\n unexpected:\n  features" --model resnet18 --weights weights.safetensors small.png)
expect_failure("another --width" ${net} --width 0.5 small.png)
expect_failure("alexnet: images of 32 x 32 do not fit, it is made for --crop 224" --model alexnet --hidden 1 --crop 32
               --weights weights.safetensors small.png)
expect_failure("resnet: width 0.001 leaves none of 64 channels" --model resnet18 --width 0.001 --weights
               weights.safetensors small.png)
expect_failure("--width" ${net} --width 0 small.png)
expect_failure("--model" --model lenet --weights weights.safetensors small.png)
