//! All that the plugin may ask of its host.

#![forbid(unsafe_code)]

use log::Level;

/// The broker, on its own thread. The implementation must not be [`Send`]: a worker that could
/// call the broker would crash it sooner or later.
pub trait Broker {
    /// Writes one line to the broker's log.
    fn log(&self, level: Level, line: &str);

    /// Finishes a login that waits: lets the client in, or refuses it with a CONNACK. Does nothing
    /// if no client waits under this identifier.
    fn finish_login(&self, client_id: &str, let_in: bool);

    /// Closes the connections of everyone whom the broker knows by this username, waiting ones
    /// too, without a CONNACK.
    fn close_by_username(&self, username: &str);

    /// Sends a message with QoS 0 to this client alone, whatever it has subscribed to.
    fn publish_to(&self, client_id: &str, topic: &str, payload: &str);

    /// Publishes a message with QoS 0 that the broker retains. Whoever subscribes needs the ACL's leave
    /// for it, as for any message.
    fn publish_retained(&self, topic: &str, payload: &str);

    /// Disconnects a client.
    fn disconnect(&self, client_id: &str);
}
