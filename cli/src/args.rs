//! The command line.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod fleet;
mod generate;
pub(crate) use fleet::{Fleet, FleetInvalidate, FleetKick, FleetStatus};
pub(crate) use generate::Generate;

/// Where Debian keeps the broker's configuration, and most others do as well.
const USUAL_CONF: &str = "/etc/mosquitto/mosquitto.conf";

#[derive(Parser)]
#[command(
    name = "mosquitto-http-auth",
    version,
    about = "Checks a configuration of Mosquitto's plugin mosquitto-http-auth, and asks the API as \
             the plugin does",
    long_about = "Checks a configuration of Mosquitto's plugin mosquitto-http-auth, and asks the API \
                  as the plugin does.\n\nThe command reads everything from a mosquitto.conf: where \
                  the API is, how to ask it, and what its answers mean. The broker need not run, and \
                  the command does not touch one that does; only healthcheck connects to it.\n\nIt \
                  prints no password and no value of a secret header.",
    after_long_help = concat!(
        "Examples:\n  mosquitto-http-auth check /etc/mosquitto/mosquitto.conf\n  \
         mosquitto-http-auth login /etc/mosquitto/mosquitto.conf -u ann\n  \
         mosquitto-http-auth access /etc/mosquitto/mosquitto.conf -u ann -t sensors/1 --acc publish\n  \
         mosquitto-http-auth bench /etc/mosquitto/mosquitto.conf -u ann -n 1000 -c 32\n\n\
         Environment:\n  NO_COLOR  no colours; without a terminal there are none anyway\n  ",
        "MOSQUITTO_HTTP_AUTH_PASSWORD  the password, if no option gives one"
    ),
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Check(Check),
    Explain(Explain),
    Login(Login),
    Access(Access),
    Bench(Bench),
    Healthcheck(Healthcheck),
    #[command(subcommand)]
    Fleet(Fleet),
    #[command(subcommand)]
    Generate(Generate),
}

/// Check a configuration as the plugin does when the broker starts
///
/// Reads a mosquitto.conf and the files that it includes, finds the plugin's blocks, and reads their
/// options with the plugin's own code. Prints each mistake with its file and line, in the words of the
/// broker's log, and then the options in force: those that the file gives, and with --all the others
/// too.
///
/// A mistake is whatever stops the broker, beyond the plugin's options as well: a library or an acl_file
/// that is missing, a file that the broker's user cannot read, two blocks where Mosquitto 2.0 allows
/// one. A hint is about something that starts and may not be what you mean, such as a listener that
/// lets clients in without asking the API; hints do not change the exit status. Unread is what you may
/// not read and the broker may: run the command as root or as the broker's user to have it checked.
#[derive(Args)]
#[command(after_long_help = concat!(
    "Exit status:\n  0  the options are valid\n  1  there are mistakes, or no block loads the plugin\n  \
     2  a wrong command line, or a file that you may not read, and no mistake otherwise\n\n\
     Examples:\n  mosquitto-http-auth check /etc/mosquitto/mosquitto.conf\n  \
     mosquitto-http-auth check --all mosquitto.conf\n  \
     mosquitto-http-auth check --json mosquitto.conf | jq .mistakes\n",
    "  mosquitto-http-auth check --plugin my-copy.so mosquitto.conf"
))]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) conf: Conf,
    /// Show also the options that have their defaults
    #[arg(long)]
    pub(crate) all: bool,
    /// Print the result as JSON, with every option
    #[arg(long)]
    pub(crate) json: bool,
}

/// Explain an option: its meaning, the values it may have, and its default
#[derive(Args)]
#[command(
    after_long_help = "Exit status:\n  0  the option exists\n  2  there is no such option\n\n\
                       Examples:\n  mosquitto-http-auth explain cache_ttl\n  \
                       mosquitto-http-auth explain plugin_opt_http_header_X-Key"
)]
pub(crate) struct Explain {
    /// The option's name, with or without plugin_opt_
    #[arg(value_name = "OPTION")]
    pub(crate) option: String,
}

/// Ask the API whether a user may log in
///
/// Asks as the plugin in the broker would, and shows the request, the answer, how long it took, the TLS
/// connection, and what the plugin would decide, and why.
#[derive(Args)]
#[command(after_long_help = concat!(
    "Exit status:\n", statuses!(), "\n\
     Examples:\n  mosquitto-http-auth login mosquitto.conf -u ann\n  \
     mosquitto-http-auth login mosquitto.conf -u ann -P - -i sensor-1 < password.txt\n  \
     mosquitto-http-auth login mosquitto.conf -u ann --password-file password.txt --json"
))]
pub(crate) struct Login {
    #[command(flatten)]
    pub(crate) conf: Conf,
    #[command(flatten)]
    pub(crate) user: User,
    #[command(flatten)]
    pub(crate) password: Password,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) client: ClientFacts,
}

/// Ask the API whether a client may publish to, receive from or subscribe to a topic
///
/// Asks as the plugin in the broker would, and shows the requests, the answers, and what the plugin would
/// decide, and why. With --login the client logs in first, so that the rules in the login's answer
/// decide, as they do in the broker.
#[derive(Args)]
#[command(after_long_help = concat!(
    "Exit status:\n", statuses!(), "\n\
     Examples:\n  mosquitto-http-auth access mosquitto.conf -u ann -i sensor-1 -t sensors/1/up --acc publish\n  \
     mosquitto-http-auth access mosquitto.conf -u ann -i sensor-1 -t 'sensors/#' --acc subscribe\n  \
     mosquitto-http-auth access mosquitto.conf --login -u ann -P - -t sensors/1/up --acc 2 < password.txt"
))]
pub(crate) struct Access {
    #[command(flatten)]
    pub(crate) conf: Conf,
    #[command(flatten)]
    pub(crate) user: User,
    /// The topic name, or with `--acc subscribe` the topic filter; including the listener's
    /// mount_point, if it has one
    #[arg(short, long, value_name = "TOPIC")]
    pub(crate) topic: String,
    /// What the client wants to do: by name, or by the number that the API sees
    #[arg(short, long, value_name = "ACCESS", value_enum)]
    pub(crate) acc: Acc,
    /// The QoS of the message or of the subscription
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    /// The message is retained
    #[arg(short, long)]
    pub(crate) retain: bool,
    /// Log in first, so that the rules in the login's answer decide
    #[arg(long)]
    pub(crate) login: bool,
    #[command(flatten)]
    pub(crate) password: Password,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) client: ClientFacts,
}

/// Measure how the API answers many logins at once
///
/// Asks about logins over as many connections as the plugin would, draws how long the answers take, and
/// says what follows for http_connections and max_block_ms. Every question reaches the API: nothing is
/// cached. An API that counts failed logins counts these as well.
#[derive(Args)]
#[command(after_long_help = concat!(
    "Exit status:\n  0  the API answered every request, with a yes or a no\n  \
     3  some requests failed\n  2  a wrong command line or configuration\n\n\
     Examples:\n  mosquitto-http-auth bench mosquitto.conf -u ann -n 2000 -c 32\n  \
     mosquitto-http-auth bench mosquitto.conf --distinct 'device-{}' -n 5000 -c 64\n",
    "  mosquitto-http-auth bench mosquitto.conf -u ann --rate 500 --json"
))]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) conf: Conf,
    #[command(flatten)]
    pub(crate) user: User,
    #[command(flatten)]
    pub(crate) password: Password,
    /// How many logins to ask about
    #[arg(short = 'n', long, default_value_t = 1000, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) requests: u64,
    /// How many at once; default: http_connections
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: Option<u16>,
    /// A username for each request, with its number in place of `{}`
    #[arg(long, value_name = "PATTERN", value_parser = pattern, conflicts_with = "username")]
    pub(crate) distinct: Option<String>,
    /// The most logins a second that you expect; the result then says what they need
    #[arg(long, value_name = "LOGINS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) client: ClientFacts,
}

/// See whether the broker answers, for a container's health check
///
/// Connects to the first listener of the configuration (or to --listener) and sends an MQTT CONNECT in a
/// version that no broker knows, which the broker rejects before it asks anybody. So the API may be
/// down, you need no user, and the listener may expect TLS, websockets or a client certificate. Any
/// answer shows that the broker runs, even a closed connection.
#[derive(Args)]
#[command(
    after_long_help = "Exit status:\n  0  the broker answers\n  1  it does not, or not in time\n  \
                             2  a wrong command line or configuration\n\n\
                             Examples:\n  mosquitto-http-auth healthcheck\n  \
                             mosquitto-http-auth healthcheck mosquitto.conf --listener 8883 --timeout 2"
)]
pub(crate) struct Healthcheck {
    /// The broker's configuration file
    #[arg(value_name = "CONF", default_value = USUAL_CONF)]
    pub(crate) file: PathBuf,
    /// The port, or the path of the Unix socket, of another listener than the first
    #[arg(long, value_name = "PORT")]
    pub(crate) listener: Option<String>,
    /// Seconds that the broker may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    pub(crate) timeout: u16,
}

/// Which configuration, and which of the plugin's blocks in it.
#[derive(Args)]
pub(crate) struct Conf {
    /// The broker's configuration file
    #[arg(value_name = "CONF", default_value = USUAL_CONF)]
    pub(crate) file: PathBuf,
    /// The plugin's file name, if it is not libmosquitto_http_auth.so; the command also knows
    /// go-auth.so and auth-plug.so, which this plugin can replace
    #[arg(long, value_name = "NAME")]
    pub(crate) plugin: Option<String>,
    /// The port, or the path of the Unix socket, of a listener whose block of the plugin is meant, if
    /// there are several
    #[arg(long, value_name = "PORT")]
    pub(crate) listener: Option<String>,
}

#[derive(Args)]
pub(crate) struct User {
    /// The username; without this option, the client gives none
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
}

/// Where the password comes from. Without any of these the command asks for it on the terminal.
#[derive(Args)]
pub(crate) struct Password {
    /// `-`: the password is the first line of the standard input. You may also write the password
    /// itself here, but other users of this machine can read it
    #[arg(short = 'P', long, value_name = "-", conflicts_with_all = ["password_file", "no_password"])]
    pub(crate) password: Option<OsString>,
    /// The password is the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
    pub(crate) password_file: Option<PathBuf>,
    /// The client gives no password
    #[arg(long)]
    pub(crate) no_password: bool,
}

/// What the broker would know about the client; http_user_fields and the like say what the API learns of it.
#[derive(Args)]
#[command(next_help_heading = "What the broker knows about the client")]
pub(crate) struct ClientFacts {
    /// The client identifier
    #[arg(short = 'i', long = "id", value_name = "ID", default_value = "mosquitto-http-auth")]
    pub(crate) id: String,
    /// The address that the client connects from
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) address: String,
    /// The transport
    #[arg(long, value_enum, default_value_t = Transport::Mqtt)]
    pub(crate) protocol: Transport,
    /// The version of MQTT
    #[arg(short = 'V', long, value_enum, default_value_t = MqttVersion::V5)]
    pub(crate) mqtt_version: MqttVersion,
    /// The keep alive in seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) keepalive: u16,
    /// The client continues its session: Clean Session or Clean Start is false
    #[arg(long)]
    pub(crate) keep_session: bool,
    /// The common name in the client's certificate
    #[arg(long, value_name = "NAME")]
    pub(crate) cert_common_name: Option<String>,
    /// The subject of the client's certificate, as RFC 2253 writes it
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) cert_subject: Option<String>,
    /// The SHA-256 of the client's certificate, in lower-case hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub(crate) cert_fingerprint: Option<String>,
    /// The issuer of the client's certificate, as RFC 2253 writes it
    #[arg(long, value_name = "ISSUER")]
    pub(crate) cert_issuer: Option<String>,
    /// The serial number of the client's certificate, in lower-case hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub(crate) cert_serial: Option<String>,
    /// A PEM file with the client's certificate
    #[arg(long, value_name = "FILE", value_parser = text_of_file)]
    pub(crate) cert_pem: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    Mqtt,
    Websockets,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MqttVersion {
    #[value(name = "3.1", alias = "mqttv31")]
    V3_1,
    #[value(name = "3.1.1", aliases = ["311", "mqttv311"])]
    V3_1_1,
    #[value(name = "5", aliases = ["5.0", "mqttv5"])]
    V5,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Acc {
    /// Publish a message, or a Will: the API sees write, 2
    #[value(aliases = ["write", "2"])]
    Publish,
    /// Receive a message: the API sees read, 1
    #[value(aliases = ["read", "1"])]
    Receive,
    #[value(alias = "4")]
    Subscribe,
    #[value(alias = "8")]
    Unsubscribe,
}

fn text_of_file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

fn pattern(text: &str) -> Result<String, String> {
    if text.contains("{}") { Ok(text.to_owned()) } else { Err("it has no {} in it".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// A line of the help as a shell would split it, without what is piped.
    fn words(line: &str) -> Vec<String> {
        let command = line.split(['<', '>', '|']).next().unwrap_or_default();
        command.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
    }

    #[test]
    fn every_example_of_the_help_is_understood() {
        let command = Arguments::command();
        let all = [&command].into_iter().chain(command.get_subcommands());
        let mut seen = 0;
        for help in all.filter_map(|command| command.get_after_long_help()) {
            let help = help.to_string();
            for line in help.lines().filter(|line| line.starts_with("  mosquitto-http-auth ")) {
                let read = Arguments::try_parse_from(words(line));
                assert!(read.is_ok(), "{line}: {}", read.err().unwrap());
                seen += 1;
            }
        }
        assert!(seen >= 15, "{seen} examples");
    }

    #[test]
    fn the_command_line_is_described_without_contradiction() {
        Arguments::command().debug_assert();
    }
}
