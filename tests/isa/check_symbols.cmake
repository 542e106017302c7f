# Of units that are compiled for different instruction sets and not optimised: no weak function that one of them computes
# in wide vectors is in another under the same name; the linker would take one of the two for both. And every namespace
# has the name of an instruction set.
cmake_policy(VERSION 3.22)

# The functions of an objdump with wide vectors. Moves do not count: a structure may be copied in registers of any width.
set(wide_functions [[
/^[0-9a-f]+ <.*>:$/ { name = substr($2, 2, length($2) - 3) }
/%[yz]mm/ && $2 !~ /^v(mov|p?xor)/ { wide[name] = 1 }
END { for (name in wide) print name }
]])
set(shared_functions [[
FILENAME ~ /weak/ { if ($2 == "W") ++units[$3]; next }
units[$1] > 1 { print $1 }
]])
set(n 0)
foreach(object IN LISTS OBJECTS)
  math(EXPR n "${n} + 1")
  execute_process(COMMAND "${NM}" --defined-only "${object}" OUTPUT_FILE "weak_${n}.txt" COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND "${OBJDUMP}" -d --no-show-raw-insn "${object}" COMMAND awk "${wide_functions}"
                  OUTPUT_FILE "wide_${n}.txt" COMMAND_ERROR_IS_FATAL ANY)
  list(APPEND weak "weak_${n}.txt")
  list(APPEND wide "wide_${n}.txt")
endforeach()
execute_process(COMMAND awk "${shared_functions}" ${weak} ${wide} OUTPUT_VARIABLE shared COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND cat ${weak} COMMAND grep -E "LAMINA_(ISA|ABI)" OUTPUT_VARIABLE nameless)
execute_process(COMMAND cat ${wide} COMMAND wc -l OUTPUT_VARIABLE count COMMAND_ERROR_IS_FATAL ANY)

if(shared)
  message(SEND_ERROR "Computed in wide vectors, and in two units:\n${shared}")
endif()
if(nameless)
  message(SEND_ERROR "A header does not include lamina/core/isa.hpp:\n${nameless}")
endif()
if(count LESS 1000)
  message(SEND_ERROR "Only ${count} functions with wide vectors were found: this does not see what it is to check")
endif()
message(STATUS "${count} functions with wide vectors, none of them in two units")
