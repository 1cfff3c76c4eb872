// One session of MQTT.js; prints a line for each thing that it is told.
const { parseArgs } = require("node:util");
const mqtt = require("mqtt");

const { values: options } = parseArgs({
  options: {
    port: { type: "string" },
    user: { type: "string" },
    password: { type: "string" },
    protocol: { type: "string" },
    transport: { type: "string" },
    // Subscribe without waiting for CONNACK.
    early: { type: "boolean", default: false },
  },
});

const own = `${options.user}/#`;
// The user's own topics, of which one is never delivered, and somebody else's.
const topics = [`${options.user}/secret`, `${options.user}/open`, "others/x"];

const say = (...words) => console.log(...words);
const outcome = (error) => error?.message ?? "no error";

const client = mqtt.connect({
  protocol: options.transport === "websockets" ? "ws" : "mqtt",
  host: "127.0.0.1",
  port: Number(options.port),
  clientId: options.user,
  username: options.user,
  password: options.password,
  protocolVersion: options.protocol === "5" ? 5 : 4,
});

client.on("connect", () => say("connected"));
client.on("error", (error) => say("error:", `${error.message} (${error.code})`));
client.on("disconnect", (packet) => say("disconnected:", packet.reasonCode));
client.on("close", () => say("closed"));
client.on("reconnect", () => say("reconnecting"));
client.on("message", (topic, payload) => say(`message ${topic}:`, payload.toString()));

const subscribe = () =>
  client.subscribe(own, { qos: 1 }, (error) => {
    say(`subscribed ${own}:`, outcome(error));
    client.subscribe("others/#", { qos: 1 }, (error) => {
      say("subscribed others/#:", outcome(error));
      publishNext();
    });
  });

const publishNext = () => {
  const topic = topics.shift();
  if (!topic) return client.end();
  client.publish(topic, "hello", { qos: 1 }, (error) => {
    say(`published ${topic}:`, outcome(error));
    publishNext();
  });
};

if (options.early) subscribe();
else client.once("connect", subscribe);
// Nothing is left that it would wait for.
process.on("exit", () => say("ended"));
say("started");
