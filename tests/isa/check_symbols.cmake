# Of units that are compiled for different instruction sets, not optimised, and linked with the widest first: no weak
# function that is in two of them computes in wide vectors. And every namespace has the name of an instruction set.
cmake_policy(VERSION 3.22)

set(weak_in_two [[$2 == "W" && ++units[$3] == 2 { print $3 }]])
# Moves do not count: a structure may be copied in registers of any width.
set(wide_functions [[
/^[0-9a-f]+ <.*>:$/ { name = substr($2, 2, length($2) - 3) }
/%[yz]mm/ && $2 !~ /^v(mov|p?xor)/ && !wide[name]++ { print name }
]])
execute_process(COMMAND "${NM}" --defined-only ${OBJECTS} COMMAND awk "${weak_in_two}" OUTPUT_VARIABLE shared
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${OBJDUMP}" -d --no-show-raw-insn "${PROGRAM}" COMMAND awk "${wide_functions}"
                OUTPUT_VARIABLE wide COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${NM}" "${PROGRAM}" COMMAND grep -E "LAMINA_(ISA|ABI)" OUTPUT_VARIABLE nameless)

string(REPLACE "\n" ";" shared "${shared}")
string(REPLACE "\n" ";" wide "${wide}")
list(LENGTH shared shared_count)
list(LENGTH wide wide_count)
if(shared_count LESS 100 OR wide_count LESS 50)
  message(SEND_ERROR "${shared_count} shared functions and ${wide_count} with wide vectors: more were to be found")
endif()
foreach(name IN LISTS wide)
  if(name AND name IN_LIST shared)
    message(SEND_ERROR "Computed in wide vectors, and in two units: ${name}")
  endif()
endforeach()
if(nameless)
  message(SEND_ERROR "A header does not include lamina/core/isa.hpp:\n${nameless}")
endif()
message(STATUS "${shared_count} functions are in two units, ${wide_count} others have wide vectors")
