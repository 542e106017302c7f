# Short runs of clip in DIR: its files, the independence of threads and interruptions, its cache, its errors.
cmake_policy(VERSION 3.22)
include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")
set(small --scenes 128 --image-size 32 --width 0.125 --layers 1 --features 16 --heads 2 --projection 16)
set(batch --batch-size 32)

expect_output("200 images, 1,000 captions" train ${small} ${batch} --epochs 2 --threads 1 --out straight)
expect_files(straight metrics.json curves.png model.safetensors checkpoint.safetensors)
read_metrics(metrics straight 1 2)
string(JSON chance GET "${metrics}" models 0 results text_to_image_by_chance 0)
string(JSON recall GET "${metrics}" models 0 epochs 1 test_accuracy)
if(NOT chance MATCHES "^0[.]005" OR NOT recall GREATER_EQUAL 0)
  message(FATAL_ERROR "metrics.json:\n${metrics}")
endif()

expect_output("held out" train ${small} ${batch} --epochs 2 --threads 2 --out two_threads)
expect_equal(straight/model.safetensors two_threads/model.safetensors)
expect_output("held out" train ${small} ${batch} --epochs 1 --threads 1 --out interrupted)
expect_output("held out" train ${small} ${batch} --epochs 2 --threads 1 --out resumed --resume interrupted/checkpoint.safetensors)
expect_equal(straight/model.safetensors resumed/model.safetensors)
expect_output("held out" train ${small} ${batch} --epochs 1 --loss soft --freeze-image --seed 1 --out soft)
expect_output("held out" train ${small} ${batch} --epochs 1 --loss listing --freeze-image --seed 1 --out listing)

# Frozen encoders are used and left as they are: with heads that stand still, too, an epoch changes no bit of the model.
set(still --freeze-image --freeze-text --lr-heads 0 --weight-decay 0)
run(train ${small} ${batch} ${still} --epochs 0 --out untrained)
run(train ${small} ${batch} ${still} --epochs 1 --out still)
expect_equal(untrained/model.safetensors still/model.safetensors)

expect_interrupted(TERM stopped/checkpoint.safetensors "stopped; to go on: --resume stopped/checkpoint.safetensors" train
                   ${small} ${batch} --epochs 100000 --out stopped)

# The cache is used, and made anew for another model, other images, and when it is damaged.
set(model --model straight/model.safetensors)
expect_output("embeddings of 200 images written to" embed ${model})
expect_output("embeddings of 200 images from" find ${model} --query "a red circle above a blue square" -n 4 --out found)
expect_files(found matches.png)
expect_output("is of other images; embedding again" find ${model} --query ring --held-out 60 --out found)
file(COPY_FILE "${DIR}/soft/model.safetensors" "${DIR}/straight/model.safetensors")
expect_output("is of another model; embedding again" find ${model} --query ring --out found)
file(WRITE "${DIR}/straight/model.safetensors.held-out.embeddings" "damaged")
expect_output("embedding again" find ${model} --query ring --out found)
expect_output("embeddings of 200 images from" find ${model} --query ring --out found)

expect_output("by chance" evaluate ${model} --out judged)
expect_output("by chance 3.3 %" zero-shot ${model} --limit 60 --prompt "a photo of a {}" --prompt "the {}" --out judged)
expect_files(judged evaluation.json zero_shot.json zero_shot.png)

# A folder of images with captions: pictures that are at hand.
file(MAKE_DIRECTORY "${DIR}/folder/images")
foreach(i RANGE 1 20)
  file(COPY_FILE "${DIR}/found/matches.png" "${DIR}/folder/images/${i}.png")
  file(APPEND "${DIR}/folder/captions.csv" "${i}.png,\"picture number ${i}, a sheet\"\n")
endforeach()
file(READ "${DIR}/folder/captions.csv" rows)
file(WRITE "${DIR}/folder/captions.csv" "image,caption\n${rows}")
expect_output("2 images, 2 captions" train --dataset folder ${small} --batch-size 6 --epochs 1 --out from_folder)
expect_output("sheet" find --model from_folder/model.safetensors --query "a sheet" --split train -n 3 --out found)
file(APPEND "${DIR}/folder/captions.csv" "21.png,missing\n")
expect_failure("1 of 21 images are not in folder/images, the first is 21.png"
               train --dataset folder ${small} --out from_folder)
expect_output("16 images to learn from, 2 to validate, 2 held out" train --dataset folder --skip-unmatched ${small} --batch-size 6 --epochs 0 --out skipped)

expect_output("2 images, 2 captions" evaluate --model from_folder/model.safetensors --split validation
              --skip-unmatched --out judged)
expect_failure("of 20 images 20 cannot be kept from learning"
               train --dataset folder --skip-unmatched ${small} --held-out 10 --out skipped)

# Folders of their own for validation and for the final figures, which the model remembers.
file(COPY "${DIR}/folder/images" DESTINATION "${DIR}/others")
file(WRITE "${DIR}/others/captions.csv" "image,caption\n${rows}")
set(others --validation others --skip-unmatched --batch-size 6)
expect_output("18 images to learn from, 20 to validate, 2 held out" train --dataset folder ${others} ${small} --epochs 1 --out separate)
expect_output("20 images, 20 captions" evaluate --model separate/model.safetensors --skip-unmatched --split validation --out judged)
expect_output("20 images to learn from, 20 to validate, 20 held out" train --dataset folder ${others} --test others ${small} --epochs 1 --out separate)
expect_output("20 images, 20 captions" evaluate --model separate/model.safetensors --skip-unmatched --out judged)
expect_output("2 images, 2 captions" evaluate --model separate/model.safetensors --skip-unmatched --dataset folder --out judged)
expect_failure("nowhere: no folder images" train --dataset folder --test nowhere --skip-unmatched ${small})
expect_failure("--validation and --test are for photographs; scenes are drawn" train --test others ${small})
expect_failure("find: the query is empty" find ${model} --query "  " --out found)
expect_failure("has no {} for the class" zero-shot ${model} --prompt "a photo")
expect_failure("nothing.safetensors" evaluate --model nothing.safetensors)
expect_failure("not a model of this program" evaluate --model straight/checkpoint.safetensors)
expect_failure("nowhere" train --dataset nowhere)
expect_failure("nowhere" train --dataset flickr8k --data nowhere)
expect_failure("/proc" train --out /proc/out)
expect_failure("--loss" train --loss other)
expect_failure("--temperature and --target-temperature are for --loss soft" train --temperature 0.1)
file(WRITE "${DIR}/vocab.txt" "[PAD]\n[CLS]\n[SEP]\n")
expect_failure("vocab.txt: WordPiece: the vocabulary of 3 tokens has no [UNK]" train --vocabulary vocab.txt)
