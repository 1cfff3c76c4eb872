// One session of Eclipse Paho's MQTT client; prints a line for each thing that it is told.

import java.io.FileInputStream;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;
import org.eclipse.paho.client.mqttv3.IMqttDeliveryToken;
import org.eclipse.paho.client.mqttv3.MqttCallbackExtended;
import org.eclipse.paho.client.mqttv3.MqttClient;
import org.eclipse.paho.client.mqttv3.MqttConnectOptions;
import org.eclipse.paho.client.mqttv3.MqttException;
import org.eclipse.paho.client.mqttv3.MqttMessage;
import org.eclipse.paho.client.mqttv3.MqttSecurityException;
import org.eclipse.paho.client.mqttv3.persist.MemoryPersistence;

public final class Client implements MqttCallbackExtended {
    private static final Map<String, String> SCHEMES =
            Map.of("tcp", "tcp", "websockets", "ws", "tls", "ssl");

    private final BlockingQueue<String> messages = new LinkedBlockingQueue<>();
    private final CountDownLatch cameBack = new CountDownLatch(1);

    private static void say(String what) {
        System.out.println(what);
    }

    private static String outcome(MqttException error) {
        String name = error.getClass().getSimpleName();
        String cause = error.getCause() == null ? "" : ", " + error.getCause();
        return name + ": " + error.getMessage() + " (" + error.getReasonCode() + ")" + cause;
    }

    @Override
    public void connectComplete(boolean again, String server) {
        say(again ? "connected again" : "connected");
        if (again) {
            cameBack.countDown();
        }
    }

    @Override
    public void connectionLost(Throwable cause) {
        say("lost: " + outcome((MqttException) cause));
    }

    @Override
    public void messageArrived(String topic, MqttMessage message) {
        messages.add(topic + ": " + new String(message.getPayload(), StandardCharsets.UTF_8));
    }

    @Override
    public void deliveryComplete(IMqttDeliveryToken token) {}

    public static void main(String[] given) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int at = 0; at < given.length; at += 2) {
            options.put(given[at], given[at + 1]);
        }
        say("started");
        try {
            new Client().session(options);
        } catch (MqttException error) {
            say(outcome(error));
        }
        say("ended");
        System.exit(0);
    }

    private void session(Map<String, String> options) throws Exception {
        String user = options.get("--user");
        String scheme = SCHEMES.get(options.get("--transport"));
        String server = scheme + "://localhost:" + options.get("--port");
        MqttClient client = new MqttClient(server, user, new MemoryPersistence());
        client.setCallback(this);
        MqttConnectOptions how = new MqttConnectOptions();
        if (!"any".equals(options.get("--version"))) {
            how.setMqttVersion(MqttConnectOptions.MQTT_VERSION_3_1_1);
        }
        how.setUserName(user);
        how.setPassword(options.get("--password").toCharArray());
        how.setAutomaticReconnect(true);
        // In seconds: the machine may be busy.
        how.setConnectionTimeout(120);
        if (options.containsKey("--ca")) {
            how.setSocketFactory(trusting(options.get("--ca")));
        }
        connect(client, how);
        if (options.containsKey("--after")) {
            cameBack.await();
        }
        subscribe(client, user + "/#");
        subscribe(client, "others/#");
        publish(client, user + "/secret");
        publish(client, user + "/open");
        say("message " + messages.take());
        publish(client, "others/x");
        client.disconnect();
    }

    /** Until it is let in or refused. */
    private static void connect(MqttClient client, MqttConnectOptions how) throws Exception {
        while (true) {
            try {
                client.connect(how);
                return;
            } catch (MqttSecurityException refused) {
                throw refused;
            } catch (MqttException failed) {
                say(outcome(failed));
                Thread.sleep(100);
            }
        }
    }

    private static void subscribe(MqttClient client, String filter) {
        try {
            client.subscribe(filter, 1);
            say("subscribed " + filter);
        } catch (MqttException error) {
            say("subscribed " + filter + ": " + outcome(error));
        }
    }

    private static void publish(MqttClient client, String topic) throws MqttException {
        client.publish(topic, "hello".getBytes(StandardCharsets.UTF_8), 1, false);
        say("published " + topic);
    }

    /** Sockets that trust the authority in this file, and no other. */
    private static SSLSocketFactory trusting(String file) throws Exception {
        KeyStore authorities = KeyStore.getInstance(KeyStore.getDefaultType());
        authorities.load(null, null);
        try (InputStream pem = new FileInputStream(file)) {
            CertificateFactory reader = CertificateFactory.getInstance("X.509");
            authorities.setCertificateEntry("broker", reader.generateCertificate(pem));
        }
        TrustManagerFactory trust =
                TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(authorities);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context.getSocketFactory();
    }
}
