//! What does a login cost the broker, by what decides it: tokens of each algorithm, a cached answer, the
//! broker's own password file?

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mosquitto_test::broker::{Broker, Version};
use mosquitto_test::mqtt::Protocol;
use mosquitto_test::raw;
use mosquitto_test::tokens::Issuer;
use serde_json::json;

use crate::api::Api;
use crate::args::{Args, Scenario};
use crate::clock;
use crate::lineup::quiet;
use crate::machine;
use crate::program;
use crate::report::{Section, Table, goal};
use crate::stats::median;
use crate::throughput::{GOAL, micros};
use crate::workers::{Keeper, Workers};

const USER: &str = "meter";
const PASSWORD: &str = "right";

/// How many logins a turn has.
const LOGINS: usize = 20;

/// What a broker goes by, and what its clients have for a password.
enum Way {
    Bare,
    /// A plugin that says yes to everything.
    Yes,
    Files,
    Cached,
    /// Tokens of this issuer, which are all new or always the same.
    Tokens(Box<Issuer>, bool),
}

impl Way {
    fn all() -> Vec<Way> {
        let issuers = || [Issuer::hs256(), Issuer::eddsa(), Issuer::es256(), Issuer::rs256()];
        let new = issuers().into_iter().map(|issuer| Way::Tokens(Box::new(issuer), true));
        let known = Way::Tokens(Box::new(Issuer::es256()), false);
        let others = [Way::Bare, Way::Yes, Way::Files, Way::Cached];
        others.into_iter().chain(new).chain([known]).collect()
    }

    fn name(&self) -> String {
        match self {
            Way::Bare => "no plugin".to_owned(),
            Way::Yes => "a plugin that says yes".to_owned(),
            Way::Files => "Mosquitto's `password_file`".to_owned(),
            Way::Cached => "a cached answer".to_owned(),
            Way::Tokens(issuer, true) => format!("a new token, {}", issuer.algorithm()),
            Way::Tokens(issuer, false) => format!("the same token again, {}", issuer.algorithm()),
        }
    }

    /// Whether the plugin has the answer.
    fn is_known(&self) -> bool {
        matches!(self, Way::Cached | Way::Tokens(_, false))
    }

    fn start(&self, version: Version, api: &Api) -> Broker {
        let config = quiet(version).line("set_tcp_nodelay true");
        match self {
            Way::Bare => config.allow_anonymous(true),
            Way::Yes => config.plugin_at(program::yes_plugin(), [("", ""); 0]),
            Way::Files => config.password_file(&[(USER, PASSWORD)]),
            Way::Cached => {
                let kept = [("cache_ttl".to_owned(), "3600".to_owned())];
                config.plugin(api.options().into_iter().chain(kept))
            }
            Way::Tokens(issuer, _) => {
                let keys = config.file("keys", issuer.key_file()).display().to_string();
                let is_secret = issuer.algorithm() == "HS256";
                let option = if is_secret { "jwt_secret_file" } else { "jwt_key_file" };
                config.plugin([(option, keys)])
            }
        }
        .start()
    }

    /// The password of the login of this number, a new token each time where it is one.
    fn password(&self, number: u64) -> String {
        let Way::Tokens(issuer, _) = self else { return PASSWORD.to_owned() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let acl = json!([
            {"permission": "allow", "action": "publish", "topic": "devices/${username}/up/#"},
            {"permission": "allow", "action": "subscribe", "topic": "devices/${username}/down/#"},
        ]);
        let end = now + 86_400;
        issuer.token(&json!({"sub": USER, "exp": end, "jti": number.to_string(), "acl": acl}))
    }
}

/// A broker, what it goes by, and what its turns came to.
struct Stand {
    way: Way,
    broker: Broker,
    /// What everybody has for a password, if it is the same.
    known: Option<String>,
    workers: Keeper,
    logins: u64,
    /// What a login took, and what the broker's thread ran for it, in nanoseconds.
    took: Vec<f64>,
    ran: Vec<f64>,
}

impl Stand {
    fn take_turn(&mut self) {
        self.workers.prepare(&self.broker);
        let numbers = self.logins..self.logins + LOGINS as u64;
        let password = |number| self.known.clone().unwrap_or_else(|| self.way.password(number));
        let passwords: Vec<_> = numbers.map(password).collect();
        self.logins += LOGINS as u64;
        let ran = machine::main_thread_ran(self.broker.pid());
        let began = Instant::now();
        for password in &passwords {
            log_in(self.broker.port(), password);
        }
        let took = began.elapsed();
        let ran = machine::main_thread_ran(self.broker.pid()) - ran;
        let each = |time: Duration| time.as_nanos() as f64 / LOGINS as f64;
        self.took.push(each(took));
        self.ran.push(each(ran));
    }
}

/// Comes in, and leaves.
fn log_in(port: u16, password: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the broker listens");
    stream.set_nodelay(true).expect("it is a socket");
    let (name, password) = (Some(USER.as_bytes()), Some(password.as_bytes()));
    let connect = raw::connect_packet(Protocol::V3_1_1, "c", name, password, true);
    stream.write_all(&connect).expect("the broker reads");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).expect("the broker answers");
    assert_eq!(connack[..2], [0x20, 2], "it is a CONNACK");
    assert_eq!(connack[3], 0, "the client is let in");
    stream.write_all(&raw::disconnect_packet()).expect("the broker reads");
    // It has done with the client when it closes.
    assert_eq!(stream.read(&mut connack).expect("the broker closes"), 0);
}

pub fn run(args: &Args) -> Section {
    let rounds = args.size(50, 2);
    let mut section = Section::new("A login", Scenario::Logins, args);
    section.text(format!(
        "What lets a client in: nobody, a plugin of a few lines of C that says yes to everything, \
         Mosquitto's own `password_file`, a cached answer of the API, or a token that the plugin \
         verifies itself. A *new* token is one that was never seen; one that is still known is a \
         cached answer like any other. Each broker has {LOGINS} logins in a turn, one after \
         another, and {rounds} turns; medians. *broker's CPU*: what the broker's thread spends on a \
         connection, from accepting to closing it, which feels other load on the machine much \
         less; the plugin's workers have ended. *× yes*: the median over the turns; the goal for \
         what is known is {GOAL}. Tokens have two rules and an end. RSA: 2048 bits; \
         `password_file` as `mosquitto_passwd` of that version writes it."
    ));
    let mut table = Table::new(
        "broker | let in by | a login takes | broker's CPU | beyond no plugin | × yes | goal",
    );
    for version in &args.versions {
        run_on(*version, rounds, &mut table);
    }
    section.table(table);
    section
}

fn run_on(version: Version, rounds: usize, table: &mut Table) {
    clock::say(&format!("{}: setting up", version.name()));
    let api = Api::start(Duration::ZERO);
    let stand = |way: Way| {
        let broker = way.start(version, &api);
        let known = (!matches!(way, Way::Tokens(_, true))).then(|| way.password(0));
        let workers = Keeper::of(Workers::Ended);
        Stand { way, broker, known, workers, logins: 0, took: Vec::new(), ran: Vec::new() }
    };
    let mut stands: Vec<_> = Way::all().into_iter().map(stand).collect();
    // The first turn of each fills caches, and does not count.
    for round in 0..=rounds {
        for place in 0..stands.len() {
            let which = (round + place) % stands.len();
            let stand = &mut stands[which];
            stand.take_turn();
            if round == 0 {
                stand.took.clear();
                stand.ran.clear();
            }
        }
    }
    assert_eq!(api.logins(), 1, "the answer is known");
    let bare = median(stands[0].ran.iter().copied());
    let yes = &stands[1].ran;
    for Stand { way, took, ran, .. } in &stands {
        let of_yes = median(ran.iter().zip(yes).map(|(ran, yes)| ran / yes));
        let (took, ran) = [took, ran].map(|values| median(values.iter().copied())).into();
        clock::say(&format!("{} {}: {}", version.name(), way.name(), micros(ran)));
        let beyond = if matches!(way, Way::Bare) { String::new() } else { micros(ran - bare) };
        let verdict = || goal(of_yes <= GOAL, &format!("≤ {GOAL} × yes"));
        let verdict = if way.is_known() { verdict() } else { String::new() };
        let version = version.name().to_owned();
        let of_yes = format!("{of_yes:.3}");
        table.row([version, way.name(), micros(took), micros(ran), beyond, of_yes, verdict]);
    }
}
