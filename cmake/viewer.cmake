# The page of the HTML report: viewer.js, viewer.css and notices.txt, for the command to carry.
#
# HEAPLINE_VIEWER=AUTO takes what there is: npm builds it from viewer/, else viewer/dist (which source archives have), else
# the command is built without the page, and `heapline report` says so. ON: not without it. OFF: without it.
set(HEAPLINE_VIEWER AUTO CACHE STRING "the page of heapline report: AUTO, ON or OFF")
set(viewer_dir ${CMAKE_BINARY_DIR}/viewer)
set(viewer_files ${viewer_dir}/viewer.js ${viewer_dir}/viewer.css ${viewer_dir}/notices.txt)
unset(HEAPLINE_NPM CACHE) # it may have come, or gone
unset(HEAPLINE_NODE CACHE)
find_program(HEAPLINE_NPM npm)
find_program(HEAPLINE_NODE NAMES node nodejs)
mark_as_advanced(HEAPLINE_NPM HEAPLINE_NODE)
file(GLOB_RECURSE viewer_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/viewer/src/* ${CMAKE_SOURCE_DIR}/viewer/dist/*)
foreach(name package.json package-lock.json build.mjs tsconfig.json)
  if(EXISTS ${CMAKE_SOURCE_DIR}/viewer/${name})
    list(APPEND viewer_sources ${CMAKE_SOURCE_DIR}/viewer/${name})
  endif()
endforeach()
# Made again, too, when there are other sources than before, or npm has come.
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/viewer.list CONTENT "${viewer_sources}\n${HEAPLINE_NPM}\n${HEAPLINE_VIEWER}\n" @ONLY)
add_custom_command(OUTPUT ${viewer_files}
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR}/viewer -DTO=${viewer_dir} -DNPM=${HEAPLINE_NPM} -DNODE=${HEAPLINE_NODE}
    -DWANTED=${HEAPLINE_VIEWER} -P ${CMAKE_SOURCE_DIR}/cmake/viewer_build.cmake
  DEPENDS ${viewer_sources} ${CMAKE_BINARY_DIR}/viewer.list ${CMAKE_SOURCE_DIR}/cmake/viewer_build.cmake
  COMMENT "The page of heapline report" VERBATIM)
configure_file(${CMAKE_SOURCE_DIR}/cmake/bundle.c.in ${CMAKE_BINARY_DIR}/bundle.c @ONLY)
set_source_files_properties(${CMAKE_BINARY_DIR}/bundle.c PROPERTIES OBJECT_DEPENDS "${viewer_files}")
target_sources(hl_report PRIVATE ${CMAKE_BINARY_DIR}/bundle.c)
