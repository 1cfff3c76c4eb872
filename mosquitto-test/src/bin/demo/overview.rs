//! What runs where, at the start; and what the reader can try, at the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::mosquitto::{Mosquitto, USUAL_PORT};
use crate::screen::Screen;

pub struct Overview {
    pub port: u16,
    pub users_file: Option<String>,
    broker: String,
    config: String,
    api: SocketAddr,
    publisher: PathBuf,
    subscriber: PathBuf,
}

impl Overview {
    pub fn of(broker: &Mosquitto, api: SocketAddr, users_file: Option<String>) -> Overview {
        Overview {
            port: broker.port,
            users_file,
            broker: format!("Mosquitto {} with the plugin", broker.version.name()),
            config: broker.config.clone(),
            api,
            publisher: broker.companion("mosquitto_pub"),
            subscriber: broker.companion("mosquitto_sub"),
        }
    }

    pub fn print(&self, screen: &Screen) {
        let (mqtt, http) = (screen.wire("── MQTT ──▶"), screen.wire("── HTTP ──▶"));
        let broker = screen.strong(format!("{:32}", self.broker));
        screen.line(format!("\n {:14} {mqtt} {broker} {http} the example API", "MQTT clients"));
        let (here, there) = (format!("127.0.0.1:{}", self.port), self.api);
        let (users, gap) = (self.users(), "");
        screen.line(format!(" {gap:14} {gap:11} {here:32} {gap:11} {there}"));
        if self.port != USUAL_PORT {
            screen.line(format!("\n Port {USUAL_PORT} is taken, so it is {} here.", self.port));
        }
        screen.line(format!("\n {}", screen.quiet("mosquitto.conf")));
        for line in self.config.lines() {
            screen.line(format!("   {line}"));
        }
        screen.line(format!("\n Who may do what: {users}"));
        screen.line(" In what follows, acc 1 is to receive, 2 to publish, 4 to subscribe.");
    }

    fn users(&self) -> String {
        let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("example/users.toml");
        self.users_file.clone().unwrap_or_else(|| built_in.display().to_string())
    }

    pub fn print_commands(&self, screen: &Screen) {
        screen.line(format!("\n {}", screen.strong("Your turn, in another terminal:")));
        for (what, program, options) in self.commands() {
            screen.line(format!("\n   {}", screen.quiet(what)));
            screen.line(format!("   {} \\", quoted(program)));
            screen.line(format!("     -h 127.0.0.1 -p {} {options}", self.port));
        }
        screen.line(
            "\n Every request shows here as it comes. What the cache knows makes none: it keeps an answer for\n \
             30 s, a denial for 5 s. Ctrl-C ends it all.\n",
        );
    }

    fn commands(&self) -> Vec<(&'static str, &Path, &'static str)> {
        if self.users_file.is_some() {
            return vec![
                ("with a user of yours", &self.subscriber, "-i one -u USER -P PASSWORD -t '#' -v"),
                ("and another", &self.publisher, "-i two -u USER -P PASSWORD -t TOPIC -m hello"),
            ];
        }
        vec![
            (
                "bob reads the thermometers",
                &self.subscriber,
                "-i screen -u bob -P builder -t garden/+/temperature -v",
            ),
            (
                "alice has a new reading",
                &self.publisher,
                "-i shed -u alice -P wonderland -t garden/shed/temperature -m 22",
            ),
            (
                "bob tries alice's valve: denied",
                &self.publisher,
                "-i hand -u bob -P builder -t garden/alice/valve -m open -q 1 -V 5",
            ),
            (
                "mallory is not even let in",
                &self.publisher,
                "-i mallory -u mallory -P guess -t garden/bob/valve -m open",
            ),
        ]
    }
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
