# Short runs of gan in DIR: its files, the independence of threads, resuming with the same bits, its errors.
cmake_policy(VERSION 3.22)
include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")

set(tiny --width 8 --latent 4 --limit-train 64 --batch-size 4)
set(small ${tiny} --epoch-steps 2)
run(train ${small} --context attention --epochs 2 --threads 1 --out one)
expect_files(one metrics.json samples_epoch001.png samples_epoch002.png curves.png model.safetensors
             checkpoint.safetensors)
read_metrics(metrics one 1 2)
foreach(key discriminator_loss real_score fake_score spread)
  string(JSON value GET "${metrics}" models 0 epochs 1 ${key})
  if(NOT value MATCHES "^-?[0-9]")
    message(FATAL_ERROR "metrics.json:\n${metrics}")
  endif()
endforeach()

# Half the run with another number of threads, and the rest of it from the checkpoint.
run(train ${small} --context attention --epochs 1 --threads 2 --out half)
run(train ${small} --context attention --epochs 2 --threads 2 --resume half/checkpoint.safetensors --out resumed)
expect_equal(one/model.safetensors resumed/model.safetensors)
expect_equal(one/samples_epoch002.png resumed/samples_epoch002.png)

run(train ${small} --context hamburger --discriminator-steps 2 --unconditional --epochs 1 --out free)
run(sample --model one/model.safetensors --class 3 --count 6 --out drawn)
run(sample --model free/model.safetensors --count 6 --out free)
run(interpolate --model one/model.safetensors --columns 3 --out drawn)
expect_files(drawn samples.png interpolation.png)
expect_output("LeNet sees the class asked for" evaluate --model one/model.safetensors --limit-train 512 --judge-epochs 1
              --count 60 --out drawn)
expect_files(drawn evaluation.json judge.safetensors)
run(evaluate --model free/model.safetensors --judge drawn/judge.safetensors --limit-train 64 --count 60 --out free)

expect_interrupted(TERM stopped/checkpoint.safetensors "stopped; to go on: --resume stopped/checkpoint.safetensors" train
                   ${small} --epochs 100000 --out stopped)

# What cannot be.
expect_failure("the loss is nan; there is no good state yet" train ${tiny} --lr-generator 1e38 --lr-discriminator 1e38
               --epoch-steps 30 --epochs 1 --out burnt)
expect_failure("the last good state is kept: --resume half/checkpoint.safetensors" train ${tiny} --context attention
               --lr-generator 1e38 --lr-discriminator 1e38 --epoch-steps 30 --epochs 2 --resume
               half/checkpoint.safetensors --out burnt)
expect_failure("nothing.safetensors" sample --model nothing.safetensors)
expect_failure("not a generator of this program: expected kind 'gan generator', found ''" sample --model
               half/checkpoint.safetensors)
expect_failure("not a checkpoint of this program: expected format 'lamina gan 1', found ''" train ${small} --resume
               one/model.safetensors)
expect_failure("the checkpoint is of GanGenerator(32, channels=1, latent=4, width=8, attention), this run's networks are of \
GanGenerator(32, channels=1, latent=4, width=8)" train ${small} --resume half/checkpoint.safetensors)
expect_failure("has the classes 0 to 9, got 10" sample --model one/model.safetensors --class 10)
expect_failure("was trained without classes" sample --model free/model.safetensors --class 1)
expect_failure("--context" train --context sagan)
expect_failure("SAGANAttention: expected a multiple of 8 channels, got 4" train --width 4 --context attention)
expect_failure("--count: there are 64 images of digits, got 65" evaluate --model one/model.safetensors --limit-train 64
               --count 65)
