# cmake -D BUILD=… -D GENERATOR=… -D WORK=… -P install_test.cmake
set(prefix ${WORK}/prefix)
file(REMOVE_RECURSE ${prefix} ${WORK}/build ${WORK}/run)

function(run result)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\n${output}\nexit status ${status}")
  endif()
  set(${result} "${output}" PARENT_SCOPE)
endfunction()
function(expect text pattern)
  if(NOT text MATCHES "${pattern}")
    message(FATAL_ERROR "expected ${pattern} in:\n${text}")
  endif()
endfunction()

run(ignored ${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})

unset(ENV{LD_LIBRARY_PATH})
run(version ${prefix}/bin/sisa --version)
expect("${version}" "2\\.11\\.0")
run(dynamic_section readelf -d ${prefix}/bin/sisa)
expect("${dynamic_section}" "\\(RUNPATH\\)")  # LD_LIBRARY_PATH overrides it, and would not RPATH

run(ignored ${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/consumer -B ${WORK}/build -G ${GENERATOR} -D CMAKE_PREFIX_PATH=${prefix})
run(ignored ${CMAKE_COMMAND} --build ${WORK}/build)
run(output ${WORK}/build/consumer)
expect("${output}" "151878432 parameters on 1 rank")
run(output ${WORK}/build/trainer ${WORK}/run)
expect("${output}" "by the learner: 20 steps, loss from .*by the trainer: 20 steps, loss from")
