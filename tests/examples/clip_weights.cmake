# clip with weights of OpenAI's names and photographs of one's own: what it finds is what EXPECTED computes; its index;
# what is wrong is named. With LAMINA_DATA also OpenAI's own small models.
cmake_policy(VERSION 3.22)
include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")
function(expected)
  execute_process(COMMAND "${EXPECTED}" ${ARGN} WORKING_DIRECTORY "${DIR}" RESULT_VARIABLE result ERROR_VARIABLE errors)
  if(result)
    message(FATAL_ERROR "clip_expected ${ARGN}: ${errors}")
  endif()
endfunction()
# said(text): what ran last has said the text on stderr.
function(said text)
  string(FIND "${errors}" "${text}" at)
  if(at LESS 0)
    message(FATAL_ERROR "should say '${text}':\n${errors}")
  endif()
endfunction()

expected(make .)
set(weights --model clip.safetensors --tokenizer bpe.txt)
set(photos --images photos)
file(READ "${DIR}/vocab.txt" words)
file(WRITE "${DIR}/more.txt" "${words}more\n")
set(query --query "A  photo of the DOG, a cat")

# All is found that computing all finds, in text and as JSON, and the index is used.
execute(find ${weights} ${photos} ${query} --top 7)
said("40 images, 40 of them embedded now; clip.safetensors.")
expected(find . bpe.txt)
expect_files(out matches.png matches.json)
file(COPY_FILE "${DIR}/out/matches.json" "${DIR}/first.json")
execute(find ${weights} ${photos} ${query} --top 7 --json)
said("40 images, 0 of them embedded now; clip.safetensors.")
file(READ "${DIR}/out/matches.json" written)
string(JSON equal EQUAL "${written}" "${output}")
if(NOT equal)
  message(FATAL_ERROR "matches.json is not what --json prints:\n${output}")
endif()
expect_equal(first.json out/matches.json)
run(find --model clip.safetensors --tokenizer hugging_face/vocab.json ${photos} ${query} --top 7)
expect_equal(first.json out/matches.json)
run(find ${weights} ${photos} ${query} --top 7 --threads 1 --index one_thread.index)
expect_equal(first.json out/matches.json)
# Of several queries, each has its answer.
run(find ${weights} ${photos} --query "a cat" ${query} --top 7)
file(READ "${DIR}/out/matches.json" several)
file(READ "${DIR}/first.json" first)
string(JSON count LENGTH "${several}")
foreach(key query images)
  string(JSON other GET "${several}" 1 ${key})
  string(JSON one GET "${first}" ${key})
  if(NOT count EQUAL 2 OR NOT other STREQUAL one)
    message(FATAL_ERROR "two queries:\n${several}")
  endif()
endforeach()
foreach(i RANGE 6)
  string(JSON other GET "${several}" 1 matches ${i} image)
  string(JSON one GET "${first}" matches ${i} image)
  if(NOT other STREQUAL one)
    message(FATAL_ERROR "the second of two queries finds other images than alone:\n${several}")
  endif()
endforeach()
file(COPY "${DIR}/clip.safetensors" DESTINATION "${DIR}/beside")
file(COPY "${DIR}/hugging_face/vocab.json" "${DIR}/hugging_face/merges.txt" DESTINATION "${DIR}/beside")
run(find --model beside/clip.safetensors ${photos} ${query} --top 7)
expect_equal(first.json out/matches.json)

run(similar --model clip.safetensors ${photos} --image "photos/photo 7.png" --top 7)
expected(similar clip.safetensors photos out)
file(READ "${DIR}/out/matches.json" written) # the image itself is first
string(JSON itself GET "${written}" matches 0 image)
if(NOT itself STREQUAL "photos/photo 7.png")
  message(FATAL_ERROR "the most like an image is not itself:\n${written}")
endif()
run(zero-shot ${weights} ${photos} --class-names names.txt --templates templates.txt --top 3)
expected(zero-shot . bpe.txt)

# What is new, has changed or is gone; what cannot be read is skipped, counted and listed.
file(COPY_FILE "${DIR}/photos/photo 1.png" "${DIR}/photos/new.jpg.png")
file(REMOVE "${DIR}/photos/photo 2.PNG")
file(COPY_FILE "${DIR}/photos/photo 5.png" "${DIR}/photos/photo 4.PNG")
file(WRITE "${DIR}/photos/deep/bad.png" "no image")
file(WRITE "${DIR}/photos/empty.JPG" "")
execute(find ${weights} ${photos} ${query} --top 7)
said("2 of 42 images cannot be read and are skipped:\n  photos/deep/bad.png: ")
said("  photos/empty.JPG: ")
said("40 images, 2 of them embedded now; clip.safetensors.")
expected(find . bpe.txt)
execute(embed --model clip.safetensors ${photos})
said("40 images, 0 of them embedded now")

# The weights that the listing saves have no scale and no vocabulary.
execute(find --model listing.safetensors ${photos} ${query} --top 7)
said("40 images, 40 of them embedded now; listing.safetensors.")
expected(find-listing .)
run(zero-shot --model listing.safetensors --tokenizer vocab.txt --class-names names.txt ${photos})
expect_failure("bpe.txt: WordPiece: the vocabulary of 12 tokens has no [PAD]" find --model listing.safetensors
               --tokenizer bpe.txt ${photos} ${query})
expect_failure("listing.safetensors: has 11 tokens, its tokenizer 12" find --model listing.safetensors
               --tokenizer more.txt ${photos} ${query})
expect_failure("listing.safetensors: does not say what it has learned from: --dataset" evaluate --model
               listing.safetensors)
expect_failure("--gelu, --text-heads and --image-heads are for weights of OpenAI's names" find --gelu --model
               listing.safetensors ${photos} ${query})

# A folder for each class, one photograph of which cannot be read.
file(MAKE_DIRECTORY "${DIR}/classes/dog" "${DIR}/classes/cat")
foreach(i 1 5 7)
  file(COPY_FILE "${DIR}/photos/photo ${i}.png" "${DIR}/classes/dog/${i}.png")
  file(COPY_FILE "${DIR}/photos/photo ${i}.png" "${DIR}/classes/cat/${i}.png")
endforeach()
file(WRITE "${DIR}/classes/cat/bad.png" "no image")
execute(zero-shot ${weights} --classes classes --json)
said("1 of 7 images cannot be read and are skipped:\n  classes/cat/bad.png: ")
string(JSON accuracy GET "${output}" accuracy)
if(NOT accuracy EQUAL 0.5) # both have the same
  message(FATAL_ERROR "expected half to be right:\n${output}")
endif()
expect_files(out zero_shot.png)

# An index is of one model, and of one folder; another's is left as it is.
file(COPY_FILE "${DIR}/one_thread.index" "${DIR}/kept.index")
expect_failure("one_thread.index: an index of another model" find --model other.safetensors --tokenizer bpe.txt
               ${photos} ${query} --index one_thread.index)
expect_failure("one_thread.index: an index of another model" find ${weights} --gelu ${photos} ${query} --index
               one_thread.index)
expect_failure("one_thread.index: an index of other images: none of its 40 is in classes" embed ${weights} --images
               classes --index one_thread.index)
expect_failure("clip.safetensors: not an index of embeddings" embed ${weights} ${photos} --index clip.safetensors)
expect_equal(one_thread.index kept.index)
file(COPY_FILE "${DIR}/other.safetensors" "${DIR}/beside/clip.safetensors")
execute(find --model beside/clip.safetensors ${photos} ${query} --top 7)
said("an index of another model; embedding again")
file(GLOB beside "${DIR}/beside/*.index")
file(WRITE "${beside}" "damaged")
execute(find --model beside/clip.safetensors ${photos} ${query} --top 7)
said("embedding again")
said("40 images, 40 of them embedded now")

# Long sentences are cut off, and that is said.
execute(find ${weights} ${photos} --query "dog dog dog dog dog dog dog dog dog dog dog dog dog dog dog dog" --top 7)
said("1 of 1 sentences are longer than 16 tokens and cut off there")
expected(find . bpe.txt)

expect_failure("no_images.safetensors: openai_clip_state: there is no image tower: expected visual.conv1.weight"
               find --model no_images.safetensors --tokenizer bpe.txt ${photos} ${query})
expect_failure("visual.ln_post.weight: expected shape [64], got [63]"
               find --model wrong_width.safetensors --tokenizer bpe.txt ${photos} ${query})
expect_failure("the model's embeddings are not finite; are its weights whole?"
               embed --model not_finite.safetensors ${photos})
expect_failure("bpe.txt: expected 12 merges, found 11 (cut short?)"
               find --model more_tokens.safetensors --tokenizer bpe.txt ${photos} ${query})
expect_failure("cut.txt: expected 11 merges, found 10 (cut short?)"
               find --model clip.safetensors --tokenizer cut.txt ${photos} ${query})
expect_failure("more_tokens.safetensors: has 526 tokens, its tokenizer hugging_face/vocab.json has 525"
               find --model more_tokens.safetensors --tokenizer hugging_face/vocab.json ${photos} ${query})
expect_failure("few_tokens.safetensors: has 120 tokens, fewer than any tokenizer of merges as bpe.txt makes"
               find --model few_tokens.safetensors --tokenizer bpe.txt ${photos} ${query})
expect_failure("clip.safetensors: needs its tokenizer: --tokenizer, or bpe_simple_vocab_16e6.txt.gz, or vocab.json and merges.txt, beside it"
               find --model clip.safetensors ${photos} ${query})
expect_failure("heads of the text tower do not divide its 64 features"
               embed --model clip.safetensors ${photos} --text-heads 3)
string(ASCII 195 40 invalid)
expect_failure("BytePair: the text is not UTF-8 at byte 4" find ${weights} ${photos} --query "dog ${invalid}")
expect_failure("find: the query is empty" find ${weights} ${photos} --query " ")
expect_failure("nothing: cannot read: No such file or directory" embed ${weights} --images nothing)
expect_failure("hugging_face: no PNG or JPEG image in it" embed ${weights} --images hugging_face)
file(MAKE_DIRECTORY "${DIR}/bad")
file(WRITE "${DIR}/bad/bad.png" "no image")
expect_failure("bad: none of its 1 images can be read" embed ${weights} --images bad)
expect_failure("photos/deep/bad.png: " similar --model clip.safetensors ${photos} --image photos/deep/bad.png)
expect_failure("--images requires --class-names" zero-shot ${weights} ${photos})
file(WRITE "${DIR}/blank.txt" "\n\n")
expect_failure("blank.txt: there are no lines in it" zero-shot ${weights} ${photos} --class-names blank.txt)
expect_failure("names.txt: 4 names for 2 classes" zero-shot ${weights} --classes classes --class-names names.txt)
expect_failure("zero-shot: the prompt 'dog' has no {} for the class" zero-shot ${weights} ${photos} --class-names
               names.txt --templates names.txt)
expect_failure("clip.safetensors: not a model of this program" find ${weights} ${query})

# OpenAI's own small models, whose 120 tokens have no tokenizer: image to image.
if(NOT "$ENV{LAMINA_DATA}" STREQUAL "" AND EXISTS "$ENV{LAMINA_DATA}/text/clip/openai_vit_tiny.safetensors")
  set(data "$ENV{LAMINA_DATA}")
  foreach(kind vit resnet)
    set(model "${data}/text/clip/openai_${kind}_tiny.safetensors")
    run(similar --model "${model}" --text-heads 2 ${photos} --image "photos/photo 7.png" --top 7 --index ${kind}.index)
    expected(similar "${model}" photos out)
    expect_failure("has 120 tokens, fewer than any tokenizer of merges" find --model "${model}" --text-heads 2 --index
                   ${kind}.index --tokenizer "${data}/text/clip/bpe_simple_vocab_16e6.txt.gz" ${photos} ${query})
  endforeach()
  expect_failure("vit.index: an index of another model" similar --model "${model}" --text-heads 2 ${photos} --image
                 "photos/photo 7.png" --index vit.index)
else()
  message("no LAMINA_DATA with text/clip")
endif()
