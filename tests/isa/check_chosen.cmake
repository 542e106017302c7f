# In a program with kernels for several instruction sets, only these compute in wide vectors.
cmake_policy(VERSION 3.22)

# Moves do not count: a structure may be copied in registers of any width.
set(wide_functions [[
/^[0-9a-f]+ <.*>:$/ { name = substr($2, 2, length($2) - 3) }
/%[yz]mm/ && $2 !~ /^v(mov|p?xor|zero)/ && !wide[name]++ { print name }
]])
execute_process(COMMAND "${OBJDUMP}" -d --no-show-raw-insn "${PROGRAM}" COMMAND awk "${wide_functions}"
                OUTPUT_VARIABLE wide COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" wide "${wide}")
list(LENGTH wide count)
if(count LESS 50)
  message(SEND_ERROR "${count} functions with wide vectors: more were to be found")
endif()
foreach(name IN LISTS wide)
  if(name AND NOT name MATCHES "4avx2|6avx512")
    message(SEND_ERROR "Computes in wide vectors, on every processor: ${name}")
  endif()
endforeach()
message(STATUS "${count} functions have wide vectors")
