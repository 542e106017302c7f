# Short runs of pixelcnn in DIR: its files, the independence of threads, its errors.
cmake_policy(VERSION 3.22)
include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")

set(small --blocks 1 --hidden 8 --limit-train 64 --limit-test 16 --batch-size 16 --count 8)
run(train ${small} --epochs 2 --threads 1 --out one)
expect_files(one metrics.json samples_epoch01.png samples_epoch02.png curves.png model.safetensors
             checkpoint.safetensors)
read_metrics(metrics one 1 2)
string(JSON nats GET "${metrics}" models 0 epochs 1 test_loss)
string(JSON bits GET "${metrics}" models 0 epochs 1 test_bits_per_dimension)
if(NOT nats MATCHES "^[1-9][0-9]+[.]" OR NOT bits MATCHES "^[01][.]")
  message(FATAL_ERROR "metrics.json:\n${metrics}")
endif()
run(train ${small} --epochs 2 --threads 2 --out two)
expect_equal(one/model.safetensors two/model.safetensors)
expect_equal(one/samples_epoch02.png two/samples_epoch02.png)

run(sample --model one/model.safetensors --count 4 --temperature 0.8 --out drawn)
run(complete --model one/model.safetensors --count 4 --rows 10 --out drawn)
run(evaluate --model one/model.safetensors --limit-test 16)
expect_files(drawn samples.png completed.png)

run(train --model gated --conditional ${small} --epochs 1 --levels 4 --out gated)
run(sample --model gated/model.safetensors --count 4 --label 3 --out gated)
run(complete --model gated/model.safetensors --count 4 --out gated)
run(evaluate --model gated/model.safetensors --limit-test 16)
run(judge --model gated/model.safetensors --count 20 --limit-train 256 --limit-test 64 --epochs 1)
run(train ${small} --resume one/checkpoint.safetensors --epochs 3 --out resumed)

run(sample --model one/model.safetensors --count 4 --steps 5 --neighbours --limit-train 64 --out drawn)
expect_files(drawn growth.png neighbours.png)
run(compare --model one/model.safetensors --dataset digits --against digits --limit-test 16 --out drawn)
expect_files(drawn histogram.png)

set(mixed --model plusplus --blocks 1 --hidden 6 --mixtures 2 --limit-train 32 --limit-test 8 --batch-size 8 --count 4
          --levels 256 --ema 0.9 --lr-schedule constant --conditional)
run(train ${mixed} --epochs 2 --out mixed)
run(train ${mixed} --epochs 1 --out mixed_once)
run(train ${mixed} --epochs 2 --resume mixed_once/checkpoint.safetensors --out mixed_resumed)
expect_equal(mixed/model.safetensors mixed_resumed/model.safetensors)
run(sample --model mixed/model.safetensors --count 2 --label 7 --out mixed)
run(complete --model mixed/model.safetensors --count 2 --out mixed)
run(evaluate --model mixed/model.safetensors --limit-test 8 --batch-size 8)
run(train ${small} --epochs 1 --binarize threshold --validation 16 --out validated)

execute_process(COMMAND "${INPUTS}" "${DIR}" COMMAND_ERROR_IS_FATAL ANY)
run(evaluate --model listing.safetensors --limit-test 8)
run(sample --model listing.safetensors --size 12 --count 2 --out listing)
expect_failure("weights.safetensors: not a PixelCNN of this program, nor one with the names" sample
               --model weights.safetensors)

expect_interrupted(TERM stopped/checkpoint.safetensors "stopped; to go on: --resume stopped/checkpoint.safetensors" train
                   ${small} --epochs 100000 --out stopped)
file(MAKE_DIRECTORY "${DIR}/blocked/samples_epoch01.png")
expect_failure("blocked/samples_epoch01.png" train ${small} --epochs 1 --out blocked)
expect_files(blocked model.safetensors checkpoint.safetensors metrics.json)

expect_failure("nothing.safetensors" sample --model nothing.safetensors)
expect_failure("--levels" train --levels 3)
expect_failure("--rows" complete --model one/model.safetensors --rows 40)
expect_failure("--conditional needs --model gated or plusplus" train --conditional)
expect_failure("--top-k chooses among logits" train --model plusplus --top-k 2)
expect_failure("--top-k must be at most --levels, 2, got 3" train --top-k 3)
expect_failure("--validation leaves nothing" train --limit-train 64 --validation 64)
expect_failure("was not trained with --conditional" judge --model one/model.safetensors)
expect_failure("--label" sample --model gated/model.safetensors --label 10)
expect_failure("nor one with the names of the usual PyTorch listing" evaluate --model one/checkpoint.safetensors)
expect_failure("--label needs a model trained with --conditional" sample --model one/model.safetensors --label 3)
