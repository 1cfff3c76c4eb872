//! The demo of several brokers: what one of them has asked the API, the others know, also after a crash;
//! and what is taken back at one is taken back at all.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mosquitto_test::broker::{Version, plugin_path};
use mosquitto_test::control::{RESPONSES, TOPIC};
use mosquitto_test::example_api::{ClosedAccounts, Served};
use mosquitto_test::redis::{Engine, IN_TOUCH, Redis};
use tempfile::TempDir;

use crate::Event;
use crate::client::Client;
use crate::mosquitto::{Mosquitto, USUAL_PORT, configuration, free_port};
use crate::screen::{Screen, milliseconds};

const BROKERS: u16 = 3;
/// The keys of the answers that are shared.
const ANSWERS: &str = "{mha1:mqtt}:a:*";
/// How long whatever takes milliseconds may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

/// Three brokers, the Redis by which they share answers, and the secret with which they seal them.
pub struct Fleet {
    version: Version,
    events: Sender<Event>,
    brokers: Vec<Mosquitto>,
    redis: Redis,
    _dir: TempDir,
}

/// The fleet, for the steps and for whoever ends it.
pub type Shared = Arc<Mutex<Fleet>>;

pub fn locked(fleet: &Shared) -> MutexGuard<'_, Fleet> {
    fleet.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    pub fn start(
        version: Version,
        api: SocketAddr,
        events: Sender<Event>,
    ) -> Result<Fleet, String> {
        let failed = |error| format!("cannot make the fleet's secret: {error}");
        let dir = tempfile::tempdir().map_err(failed)?;
        let key = dir.path().join("fleet.key");
        let mut bytes = [0; 32];
        File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes)).map_err(failed)?;
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&key);
        file.and_then(|mut file| file.write_all(secret.as_bytes())).map_err(failed)?;
        let redis = Redis::start(Engine::Valkey);
        let mut fleet = Fleet { version, events, brokers: Vec::new(), redis, _dir: dir };
        for number in 0..BROKERS {
            let port = free_port(USUAL_PORT + number)?;
            let config = configuration(port, &plugin_path(), api.port());
            let config = format!(
                "{config}plugin_opt_cache_auth_ttl 86400\n\
                 plugin_opt_cache_revalidate 43200\n\
                 plugin_opt_fleet_redis {}\n\
                 plugin_opt_fleet_secret @{}\n\
                 plugin_opt_fleet_broker b{}\n",
                fleet.redis.address(),
                key.display(),
                number + 1
            );
            fleet.brokers.push(fleet.spawn(port, config)?);
        }
        Ok(fleet)
    }

    /// A broker, once it is in touch with the others.
    fn spawn(&self, port: u16, config: String) -> Result<Mosquitto, String> {
        let broker = Mosquitto::spawn_with(self.version, port, config, self.events.clone())?;
        broker.wait_for(IN_TOUCH)?;
        Ok(broker)
    }

    fn port(&self, number: usize) -> u16 {
        self.brokers[number].port
    }

    /// Has a broker crash, and starts it again.
    fn crash(&mut self, number: usize) -> Result<(), String> {
        let broker = &mut self.brokers[number];
        broker.kill();
        let (port, config) = (broker.port, broker.config.clone());
        self.brokers[number] = self.spawn(port, config)?;
        Ok(())
    }

    pub fn stop(&mut self) {
        self.brokers.iter_mut().for_each(Mosquitto::stop);
        self.redis.kill();
    }

    /// What is left to say when things went wrong.
    pub fn obituary(&mut self) -> String {
        let brokers: Vec<_> = self.brokers.iter_mut().map(Mosquitto::obituary).collect();
        self.stop();
        brokers.join("\n")
    }
}

/// What happens on the screen, and whether it is what is to happen.
pub struct Story {
    fleet: Shared,
    closed: ClosedAccounts,
    requests: Receiver<Served>,
    screen: Screen,
    steps: usize,
    failed: usize,
}

impl Story {
    pub fn new(fleet: Shared, closed: ClosedAccounts, requests: Receiver<Served>) -> Story {
        Story { fleet, closed, requests, screen: Screen::new(), steps: 0, failed: 0 }
    }

    /// Plays all steps; returns how many did not come out as they should.
    pub fn play(&mut self, api: SocketAddr) -> usize {
        self.introduce(api);
        let alice = self.share();
        self.take_back(alice);
        self.survive_a_crash();
        let verdict = match self.failed {
            0 => self.screen.verdict(true, format!("{} steps, all as expected.", self.steps)),
            failed => {
                self.screen.alarm(format!("{failed} of {} steps not as expected.", self.steps))
            }
        };
        self.screen.line(format!("\n {verdict}"));
        self.failed
    }

    /// What there is to try, and then every request until the API is gone.
    pub fn follow(self) {
        let ports: Vec<_> =
            locked(&self.fleet).brokers.iter().map(|broker| broker.port.to_string()).collect();
        self.screen.line(format!(
            "\n The brokers go on at ports {}: log in as bob (builder) at any of them. What one of them has \
             asked\n shows here, and the others do not ask it again. Ctrl-C ends it all.\n",
            ports.join(", ")
        ));
        for served in &self.requests {
            self.screen.request(&served, "");
        }
    }

    fn introduce(&self, api: SocketAddr) {
        let fleet = locked(&self.fleet);
        let screen = &self.screen;
        let (mqtt, http) = (screen.wire("── MQTT ──▶"), screen.wire("── HTTP ──▶"));
        screen.line("");
        for (number, broker) in fleet.brokers.iter().enumerate() {
            let name = screen.strong(format!("{:18}", format!("broker b{}", number + 1)));
            let api =
                if number == 1 { format!("{http} the example API, {api}") } else { String::new() };
            screen.line(format!(" clients {mqtt} {name} 127.0.0.1:{:<5} {api}", broker.port));
        }
        screen.line(format!(
            "\n All three: Mosquitto {} with the plugin, which share answers by Valkey at {}.",
            fleet.version.name(),
            fleet.redis.address()
        ));
        screen.line(format!("\n {}", screen.quiet("mosquitto.conf of broker b1")));
        for line in fleet.brokers[0].config.lines() {
            screen.line(format!("   {line}"));
        }
    }

    /// alice logs in at all brokers, and the API is asked once.
    fn share(&mut self) -> Vec<Client> {
        let mut clients = Vec::new();
        self.step("alice logs in at broker b1");
        clients.extend(self.log_in("alice", "wonderland", 0, 1..=1));
        // It is written behind the client's back.
        self.wait_for_answers(1);
        self.step("alice logs in at the other brokers");
        for number in [1, 2] {
            clients.extend(self.log_in("alice", "wonderland", number, 0..=0));
        }
        clients
    }

    /// alice's account is closed, which one broker is told.
    fn take_back(&mut self, alice: Vec<Client>) {
        self.step("alice's account is closed, and root tells broker b1: invalidate");
        let port = locked(&self.fleet).port(0);
        let (_, root) = Client::log_in(port, "root", "root", "toor");
        let Some(mut root) = root else { return self.complain("root was not let in") };
        root.subscribe(RESPONSES);
        self.requests.try_iter().for_each(drop);
        self.closed.close("alice");
        let told = Instant::now();
        let gone: Vec<_> = alice
            .into_iter()
            .map(|client| {
                thread::spawn(move || {
                    client.wait_closed();
                    told.elapsed()
                })
            })
            .collect();
        let command = r#"{"commands":[{"command":"invalidate","username":"alice"}]}"#;
        root.publish(TOPIC, command);
        let response = root.response();
        let heard = told.elapsed();
        let gone: Vec<Option<Duration>> =
            gone.into_iter().map(|thread| thread.join().ok()).collect();
        self.screen.line(format!("    ← {response}"));
        self.say(true, "root", "all three have heard of it", heard);
        let answers: Vec<_> =
            self.requests.try_iter().filter(|served| served.path == "/user").collect();
        self.show(&answers);
        match gone.iter().copied().collect::<Option<Vec<_>>>() {
            Some(times) if times.len() == 3 => {
                let last = times.into_iter().max().unwrap_or_default();
                self.say(false, "alice", "was disconnected at all three", last);
            }
            _ => self.complain("alice is still there"),
        }
        if !response.contains(r#""applied":3"#) || !response.contains(r#""brokers":3"#) {
            self.complain("not all brokers have heard of it");
        }
        if answers.iter().any(|served| served.status != 403) {
            self.complain("the API has said otherwise");
        }
        self.step("alice tries to log in at broker b3");
        // The broker may have learned it when it asked again.
        self.log_in("alice", "wonderland", 2, 0..=1);
    }

    /// bob, who was at another broker, comes to one that has just started.
    fn survive_a_crash(&mut self) {
        self.step("bob logs in at broker b1");
        let known = self.settled();
        self.log_in("bob", "builder", 0, 1..=1);
        self.wait_for_answers(known + 1);
        self.step("broker b1 is killed and started again, and bob logs in there");
        let started = Instant::now();
        let restarted = locked(&self.fleet).crash(0);
        if let Err(error) = restarted {
            return self.complain(&error);
        }
        self.say(true, "broker b1", "runs, and is in touch with the others", started.elapsed());
        self.log_in("bob", "builder", 0, 0..=0);
    }

    fn step(&mut self, title: &str) {
        self.steps += 1;
        self.screen.line(format!("\n {:2}  {}", self.steps, self.screen.strong(title)));
    }

    /// Has a user log in at a broker, about which the API is to be asked so often.
    fn log_in(
        &mut self,
        user: &str,
        password: &str,
        number: usize,
        asked: RangeInclusive<usize>,
    ) -> Option<Client> {
        self.requests.try_iter().for_each(drop);
        let port = locked(&self.fleet).port(number);
        let started = Instant::now();
        let (code, client) = Client::log_in(port, user, user, password);
        let took = started.elapsed();
        let answers: Vec<Served> = self.requests.try_iter().collect();
        self.show(&answers);
        let what = if code == 0 { "logged in at" } else { "refused by" };
        let how = if answers.is_empty() { "no request" } else { "asked" };
        self.say(code == 0, user, &format!("{what} broker b{}: {how}", number + 1), took);
        let is_open = !self.closed.has(user);
        let allows = is_open && answers.iter().all(|served| served.status == 200);
        if !asked.contains(&answers.len()) || allows != (code == 0) {
            self.complain(&format!("{asked:?} requests were expected, and what the API says"));
        }
        client
    }

    fn show(&self, answers: &[Served]) {
        answers.iter().for_each(|served| self.screen.request(served, ""));
    }

    fn say(&self, good: bool, who: &str, what: &str, took: Duration) {
        let who = format!("{} {who}", if good { "✓" } else { "✗" });
        let who = self.screen.verdict(good, format!("{who:12}"));
        self.screen.line(format!("    {who} {what:41} {:>9}", milliseconds(took)));
    }

    fn complain(&mut self, what: &str) {
        self.failed += 1;
        self.screen.line(format!("    {}", self.screen.alarm(format!("not as expected: {what}"))));
    }

    fn answers(&self) -> usize {
        locked(&self.fleet).redis.keys(ANSWERS).len()
    }

    fn wait_for_answers(&self, count: usize) {
        let started = Instant::now();
        while self.answers() < count && started.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many answers are shared, once no more of the steps before arrive.
    fn settled(&self) -> usize {
        let mut known = self.answers();
        loop {
            thread::sleep(Duration::from_millis(200));
            let now = self.answers();
            if now == known {
                return known;
            }
            known = now;
        }
    }
}
