//! All that the plugin may ask of its host.

#![forbid(unsafe_code)]

use log::Level;

/// The broker, on its own thread. The implementation must not be [`Send`]: a worker that could
/// call the broker would crash it sooner or later.
pub trait Broker {
    /// Writes one line to the broker's log.
    fn log(&self, level: Level, line: &str);
}
