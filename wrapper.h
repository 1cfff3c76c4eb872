/* The broker's headers, as bindgen and the shim read them: 2.1 moved them into a folder. */
#if defined(__has_include) && __has_include(<mosquitto/broker.h>)
#include <mosquitto/defs.h>
#include <mosquitto/broker.h>
#include <mosquitto/broker_plugin.h>
#else
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#endif
