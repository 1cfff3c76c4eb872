//! What the tests of the example APIs in several languages share: `docs/apis.md` shows for each how
//! the plugin is configured, a session, and what the API is asked in it. The tests do what it shows.

use std::fs;
use std::path::PathBuf;
use std::thread;

use mosquitto_test::prelude::*;
use mosquitto_test::program::repository;

use crate::support::EVERY_QUESTION;

/// Everything is asked once, however slow the machine is, and each question is in the log.
const UNHURRIED: [(&str, &str); 4] = [
    ("cache_ttl", "600"),
    ("cache_deny_ttl", "600"),
    ("cache_refresh_ahead", "false"),
    ("log_level", "debug"),
];

/// The section of `docs/apis.md` about one API.
pub struct Section {
    options: Vec<(String, String)>,
    session: Vec<Step>,
    /// What the API is asked in the session, and what it answers.
    asked: Vec<String>,
}

/// A command of the session, and what it prints.
struct Step {
    command: Vec<String>,
    prints: Vec<String>,
}

impl Section {
    pub fn about(api: &str) -> Section {
        let page = fs::read_to_string(repository("docs/apis.md")).unwrap();
        let mut sections = page.split("\n## ");
        let section = sections.find(|section| section.lines().next() == Some(api)).unwrap();
        let block = |language: &str| {
            let (_, rest) = section.split_once(&format!("```{language}\n")).unwrap();
            rest.split("```").next().unwrap().to_owned()
        };
        let option = |line: &str| {
            let (name, value) = line.strip_prefix("plugin_opt_")?.split_once(' ')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Section {
            options: block("conf").lines().filter_map(option).collect(),
            session: block("console").split("$ ").skip(1).map(Step::new).collect(),
            asked: block("text").lines().map(str::to_owned).collect(),
        }
    }

    /// A broker with the section's options, but for where the API is.
    pub fn broker(&self, version: Version, relay: &Relay) -> Broker {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut options = self.options.clone();
        options.retain(|(name, _)| !["http_host", "http_port"].contains(&name.as_str()));
        options.push(own("http_host", "127.0.0.1"));
        options.push(own("http_port", &relay.port().to_string()));
        options.extend(EVERY_QUESTION.iter().chain(&UNHURRIED).map(|(n, v)| own(n, v)));
        Broker::config(version).allow_anonymous(false).plugin(options).start()
    }

    /// Runs the section's session. Its first command waits for the message of the second, and prints
    /// it; the API is asked what the section says, over one connection.
    pub fn expect_session(&self, broker: &Broker, relay: &Relay) {
        let [subscriber, publisher, rest @ ..] = &self.session[..] else {
            panic!("a session has a subscriber and a publisher");
        };
        thread::scope(|scope| {
            let waiting = scope.spawn(|| subscriber.expect(broker));
            broker.wait_for_log("Sending SUBACK");
            publisher.expect(broker);
            waiting.join().unwrap();
        });
        for step in rest {
            step.expect(broker);
        }
        broker.wait_for_log(&format!(", about {} in ", self.asked.last().unwrap()));
        assert_eq!(asked(broker), self.asked);
        assert!(relay.open() <= 1, "one after the other, the questions fit on one connection");
    }
}

impl Step {
    fn new(text: &str) -> Step {
        let (command, prints) = text.split_once('\n').unwrap();
        let words = command.split(' ').map(|word| word.trim_matches('\'').to_owned());
        Step { command: words.collect(), prints: prints.lines().map(str::to_owned).collect() }
    }

    fn expect(&self, broker: &Broker) {
        let words: Vec<&str> = self.command.iter().map(String::as_str).collect();
        let output = match words[0] {
            "mosquitto_pub" => broker.mosquitto_pub(&words[1..]),
            "mosquitto_sub" => broker.mosquitto_sub(&words[1..]),
            other => panic!("no session needs {other}"),
        };
        let all = [output.stdout, output.stderr].concat();
        // Mosquitto 2.1 has left out some full stops.
        let plain = |line: &str| line.trim_end_matches('.').to_owned();
        let printed: Vec<_> = String::from_utf8(all).unwrap().lines().map(plain).collect();
        let expected: Vec<_> = self.prints.iter().map(|line| plain(line)).collect();
        assert_eq!(printed, expected, "{words:?} exited with {}", output.status);
    }
}

/// What the API was asked according to the log, and what it answered.
pub fn asked(broker: &Broker) -> Vec<String> {
    let log = broker.log();
    let lines = log.lines().filter_map(|line| line.split_once(", about "));
    lines.map(|(_, what)| what.rsplit_once(" in ").unwrap().0.to_owned()).collect()
}

/// A file that `mosquitto-test/examples.sh` has installed.
pub fn installed(file: &str) -> PathBuf {
    let path = repository(file);
    assert!(path.exists(), "{} is missing: run mosquitto-test/examples.sh once", path.display());
    path
}

pub fn log_in(broker: &Broker, id: &str, user: &str, password: &str) -> Login {
    broker.client(id).protocol(Protocol::V5).credentials(user, password).connect()
}
