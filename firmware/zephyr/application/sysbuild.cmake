# What both images must agree on: the key, and where the partitions lie.
if("${SB_CONFIG_BOOT_SIGNATURE_KEY_FILE}" STREQUAL "")
  message(FATAL_ERROR "No signing key. Make one (imgtool keygen -t ecdsa-p256) and give it as "
                      "-DSB_CONFIG_BOOT_SIGNATURE_KEY_FILE='\"/where/you/keep/it.pem\"'.")
endif()
if("${SB_CONFIG_BOOT_SIGNATURE_KEY_FILE}" MATCHES "(^|/)root-(ec|ed|rsa)[^/]*\\.pem$")
  message(FATAL_ERROR "${SB_CONFIG_BOOT_SIGNATURE_KEY_FILE} is MCUboot's published test key: anybody can sign with it.")
endif()
# Where a relative path leads nowhere else, MCUboot takes it from its own folder, where its test keys are.
if(NOT IS_ABSOLUTE "${SB_CONFIG_BOOT_SIGNATURE_KEY_FILE}")
  message(FATAL_ERROR "${SB_CONFIG_BOOT_SIGNATURE_KEY_FILE}: give the key by its absolute path.")
endif()

# Zephyr 4.4 gives BOARD_QUALIFIERS without the slash before it.
foreach(name ${BOARD}_${BOARD_QUALIFIERS} ${BOARD})
  if(EXISTS ${CMAKE_CURRENT_LIST_DIR}/boards/${name}.overlay)
    add_overlay_dts(mcuboot ${CMAKE_CURRENT_LIST_DIR}/boards/${name}.overlay)
    break()
  endif()
endforeach()
