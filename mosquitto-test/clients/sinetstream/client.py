"""A reader or a writer of SINETStream; prints a line for each thing that it is told."""

import argparse

from sinetstream import MessageReader, MessageWriter
from sinetstream.error import SinetError

options = argparse.ArgumentParser()
options.add_argument("--config", help="the configuration file")
options.add_argument("--user", help="given to the constructor, where the file names none")
options.add_argument("--password")
commands = options.add_subparsers(dest="command", required=True)
commands.add_parser("read").add_argument("topics", nargs="+")
write = commands.add_parser("write")
write.add_argument("topic")
write.add_argument("message")
options = options.parse_args()


def say(*words):
    print(*words, flush=True)


arguments = {"service": "service", "config_file": options.config, "value_type": "text"}
if options.user:
    arguments["username_pw_set"] = {"username": options.user, "password": options.password}

say("started")
try:
    if options.command == "read":
        with MessageReader(topics=options.topics, **arguments) as reader:
            say("connected")
            for message in reader:
                say(f"message {message.topic}:", message.value)
    else:
        with MessageWriter(topic=options.topic, **arguments) as writer:
            say("connected")
            writer.publish(options.message)
            say(f"published {options.topic}")
except SinetError as error:
    say(f"{type(error).__module__}.{type(error).__name__}:", error)
