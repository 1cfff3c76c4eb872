"""One session of Eclipse Paho's Python client; prints a line for each thing that it is told."""

import argparse

import paho.mqtt.client as mqtt

options = argparse.ArgumentParser()
options.add_argument("--port", type=int)
options.add_argument("--user")
options.add_argument("--password")
options.add_argument("--protocol", choices=["3.1.1", "5"])
options.add_argument("--transport", choices=["tcp", "websockets"])
options.add_argument("--early", action="store_true", help="subscribe without waiting for CONNACK")
options = options.parse_args()

# The user's own topics, of which one is never delivered, and somebody else's.
FILTERS = [(f"{options.user}/#", 1), ("others/#", 1)]
TOPICS = [f"{options.user}/secret", f"{options.user}/open", "others/x"]


def say(*words):
    print(*words, flush=True)


def publish_next(client):
    if TOPICS:
        client.user_data_set(TOPICS.pop(0))
        client.publish(client.user_data_get(), "hello", qos=1)
    else:
        client.disconnect()


def on_connect(client, topic, flags, reason, properties):
    say("connected:" if reason == 0 else "refused:", reason)
    if reason == 0 and not options.early:
        client.subscribe(FILTERS)


def on_disconnect(client, topic, flags, reason, properties):
    say("disconnected:", reason)


def on_subscribe(client, topic, mid, reasons, properties):
    for (name, _), reason in zip(FILTERS, reasons):
        say(f"subscribed {name}:", reason)
    publish_next(client)


def on_publish(client, topic, mid, reason, properties):
    say(f"published {topic}:", reason)
    publish_next(client)


def on_message(client, topic, message):
    say(f"message {message.topic}:", message.payload.decode())


client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id=options.user,
    protocol=mqtt.MQTTv5 if options.protocol == "5" else mqtt.MQTTv311,
    transport=options.transport,
)
client.username_pw_set(options.user, options.password)
client.on_connect = on_connect
client.on_disconnect = on_disconnect
client.on_subscribe = on_subscribe
client.on_publish = on_publish
client.on_message = on_message
client.connect("127.0.0.1", options.port)
say("started")
if options.early:
    client.subscribe(FILTERS)
client.loop_forever()
