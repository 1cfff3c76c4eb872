//! The command line of `fleet`.

#![forbid(unsafe_code)]

use clap::{Args, Subcommand};

use super::Conf;

/// Show brokers that share answers through Redis, and take back what they know
#[derive(Subcommand)]
#[command(after_long_help = concat!(
    "Exit status:\n", fleet_statuses!(), "\n\
     Examples:\n  mosquitto-http-auth fleet key > fleet.key\n  \
     mosquitto-http-auth fleet status /etc/mosquitto/mosquitto.conf\n  \
     mosquitto-http-auth fleet invalidate /etc/mosquitto/mosquitto.conf -u ann\n  ",
    "mosquitto-http-auth fleet kick /etc/mosquitto/mosquitto.conf -i sensor-17"
))]
pub(crate) enum Fleet {
    /// Print a new secret for fleet_secret: 32 random bytes, as text on a line
    ///
    /// Redirect it into a file that only the broker's user can read, and copy that file to every broker of
    /// the fleet. To replace a secret, add the new line below the old one at every broker, then swap the
    /// lines at each, and finally remove the old one.
    Key,
    /// Show the fleet's brokers, and whether each has applied what was taken back
    ///
    /// Reads the options of a broker's configuration, connects to the Redis that they name, and shows what
    /// is there. The broker need not run, and the command does not join the fleet.
    #[command(after_long_help = concat!("Exit status:\n", fleet_statuses!()))]
    Status(FleetStatus),
    /// Make all brokers ask the API anew, as `invalidate` on the control topic does
    ///
    /// For a back end that changes somebody's rights and has no MQTT client. No broker uses earlier answers
    /// any more, and each asks about its connected clients again. Waits up to fleet_ack_ms until all brokers
    /// have applied the command.
    #[command(after_long_help = concat!("Exit status:\n", fleet_statuses!()))]
    Invalidate(FleetInvalidate),
    /// Disconnect a client, or all clients of a user, at every broker
    #[command(after_long_help = concat!("Exit status:\n", fleet_statuses!()))]
    Kick(FleetKick),
}

#[derive(Args)]
pub(crate) struct FleetStatus {
    #[command(flatten)]
    pub(crate) conf: Conf,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[group(id = "meant", required = true, multiple = true)]
pub(crate) struct FleetInvalidate {
    #[command(flatten)]
    pub(crate) conf: Conf,
    /// Only answers about this user
    #[arg(short, long, value_name = "NAME", group = "meant", value_parser = name)]
    pub(crate) username: Option<String>,
    /// Only answers about this client identifier
    #[arg(short = 'i', long = "id", value_name = "ID", group = "meant", value_parser = name)]
    pub(crate) id: Option<String>,
    /// Only answers about topics that this topic filter covers
    #[arg(short, long, value_name = "FILTER", group = "meant", value_parser = name)]
    pub(crate) topic: Option<String>,
    /// All answers
    #[arg(long, group = "meant", conflicts_with_all = ["username", "id", "topic"])]
    pub(crate) all: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct FleetKick {
    #[command(flatten)]
    pub(crate) conf: Conf,
    /// All clients of this user
    #[arg(short, long, value_name = "NAME", value_parser = name, required_unless_present = "id", conflicts_with = "id")]
    pub(crate) username: Option<String>,
    /// The client with this identifier
    #[arg(short = 'i', long = "id", value_name = "ID", value_parser = name)]
    pub(crate) id: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A name that a client can have (MQTT 5.0, section 1.5.4).
fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it must not be empty".to_owned());
    }
    Ok(text.to_owned())
}
