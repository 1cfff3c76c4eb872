//! All that the plugin may ask of its host.

#![forbid(unsafe_code)]

use log::Level;

use crate::question::Properties;

/// A message for one client.
pub struct Delivery<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: u8,
}

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

    /// Sends a message to this client alone, without another check, or queues it for its session. Does
    /// nothing if nobody has this identifier. The RETAIN flag is cleared, and the order is kept.
    fn deliver(&self, client_id: &str, message: &Delivery<'_>, properties: Option<Properties>);

    /// Publishes a message with QoS 0 that the broker retains. Whoever subscribes needs the ACL's leave
    /// for it, as for any message.
    fn publish_retained(&self, topic: &str, payload: &str);

    /// Disconnects a client.
    fn disconnect(&self, client_id: &str);
}
