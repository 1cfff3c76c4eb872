// One session of FuseSource's MQTT client; prints a line for each thing that it is told.

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.fusesource.mqtt.client.BlockingConnection;
import org.fusesource.mqtt.client.MQTT;
import org.fusesource.mqtt.client.Message;
import org.fusesource.mqtt.client.QoS;
import org.fusesource.mqtt.client.Topic;
import org.fusesource.mqtt.client.Tracer;

public final class Client {
    private static void say(String what) {
        System.out.println(what);
    }

    public static void main(String[] given) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int at = 0; at < given.length; at += 2) {
            options.put(given[at], given[at + 1]);
        }
        String user = options.get("--user");
        MQTT mqtt = new MQTT();
        mqtt.setHost("127.0.0.1", Integer.parseInt(options.get("--port")));
        mqtt.setVersion(options.get("--protocol"));
        mqtt.setClientId(user);
        mqtt.setUserName(user);
        mqtt.setPassword(options.get("--password"));
        mqtt.setTracer(new Tracer() {
            @Override
            public void debug(String message, Object... about) {
                if (message.equals("Connecting")) {
                    say("connecting");
                }
            }
        });
        say("started");
        BlockingConnection connection = mqtt.blockingConnection();
        try {
            connection.connect();
            say("connected");
            session(connection, user);
            connection.disconnect();
        } catch (Exception error) {
            say(error.getClass().getSimpleName() + ": " + error.getMessage());
        }
        say("ended");
        System.exit(0);
    }

    private static void session(BlockingConnection connection, String user) throws Exception {
        subscribe(connection, user + "/#");
        subscribe(connection, "others/#");
        publish(connection, user + "/secret");
        publish(connection, user + "/open");
        Message message = connection.receive();
        message.ack();
        String payload = new String(message.getPayload(), StandardCharsets.UTF_8);
        say("message " + message.getTopic() + ": " + payload);
        publish(connection, "others/x");
    }

    private static void subscribe(BlockingConnection connection, String filter) throws Exception {
        Topic[] topics = {new Topic(filter, QoS.AT_LEAST_ONCE)};
        say("subscribed " + filter + ": " + (connection.subscribe(topics)[0] & 0xff));
    }

    private static void publish(BlockingConnection connection, String topic) throws Exception {
        byte[] payload = "hello".getBytes(StandardCharsets.UTF_8);
        connection.publish(topic, payload, QoS.AT_LEAST_ONCE, false);
        say("published " + topic);
    }
}
