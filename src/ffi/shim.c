/*
 * What only C can say: the variadic log function, and the proof that the headers this library is
 * built with lay out the events as every supported broker does. One binary serves 2.0.11, 2.0.21
 * and 2.1.2 only as long as these offsets hold.
 */
#include <stddef.h>
#include "wrapper.h"

#define AT(type, field, offset) \
	_Static_assert(offsetof(struct type, field) == (offset), #type "." #field " has moved")

#if defined(__LP64__)
AT(mosquitto_opt, key, 0);
AT(mosquitto_opt, value, 8);
AT(mosquitto_evt_basic_auth, client, 8);
AT(mosquitto_evt_basic_auth, username, 16);
AT(mosquitto_evt_basic_auth, password, 24);
AT(mosquitto_evt_acl_check, client, 8);
AT(mosquitto_evt_acl_check, topic, 16);
AT(mosquitto_evt_acl_check, access, 40);
AT(mosquitto_evt_acl_check, qos, 48);
AT(mosquitto_evt_acl_check, retain, 49);
AT(mosquitto_evt_message, properties, 32);
AT(mosquitto_evt_control, client, 8);
AT(mosquitto_evt_control, topic, 16);
AT(mosquitto_evt_control, payload, 24);
AT(mosquitto_evt_disconnect, client, 8);
#endif

/* The text is never the format: it holds what clients sent. */
void mosquitto_http_auth_log(int level, const char *text)
{
	mosquitto_log_printf(level, "%s", text);
}
