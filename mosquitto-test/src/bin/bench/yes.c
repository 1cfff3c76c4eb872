/* A plugin that says yes to everything: what a broker spends on any plugin. */
#include "wrapper.h"

static mosquitto_plugin_id_t *self;

static int say_yes(int event, void *data, void *userdata)
{
	(void)event;
	(void)data;
	(void)userdata;
	return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_version(int count, const int *versions)
{
	for (int i = 0; i < count; i++) {
		if (versions[i] == 5) {
			return 5;
		}
	}
	return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **userdata, struct mosquitto_opt *options, int count)
{
	(void)userdata;
	(void)options;
	(void)count;
	self = id;
	int code = mosquitto_callback_register(id, MOSQ_EVT_BASIC_AUTH, say_yes, NULL, NULL);
	return code ? code : mosquitto_callback_register(id, MOSQ_EVT_ACL_CHECK, say_yes, NULL, NULL);
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int count)
{
	(void)userdata;
	(void)options;
	(void)count;
	mosquitto_callback_unregister(self, MOSQ_EVT_BASIC_AUTH, say_yes, NULL);
	return mosquitto_callback_unregister(self, MOSQ_EVT_ACL_CHECK, say_yes, NULL);
}
