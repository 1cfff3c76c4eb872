//! A broker's configuration, written down as the test says and turned into a file at the start.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Broker, Failed, Version, plugin_path};
use crate::tls::Identity;
use crate::watch::valgrind_reports;

/// The configuration lines of one scope: the whole broker, or one listener.
#[derive(Default, Clone)]
struct Scope {
    lines: Vec<String>,
    allow_anonymous: Option<bool>,
}

/// What a broker is to be started with.
pub struct BrokerConfig {
    pub(super) version: Version,
    pub(super) dir: TempDir,
    pub(super) environment: Vec<(String, String)>,
    global: Scope,
    listeners: Vec<Listener>,
    per_listener: bool,
    persistence: bool,
    option_prefix: String,
}

/// One listener among several.
pub struct Listener {
    version: Version,
    dir: PathBuf,
    nth: usize,
    option_prefix: String,
    pub(super) websockets: bool,
    scope: Scope,
}

impl BrokerConfig {
    pub(super) fn new(version: Version) -> Self {
        BrokerConfig {
            version,
            dir: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
            global: Scope::default(),
            listeners: Vec::new(),
            per_listener: false,
            persistence: false,
            option_prefix: "plugin_opt_".to_owned(),
        }
    }

    /// A `plugin` line for our library, and its options. It logs in all detail unless they say
    /// otherwise: whatever a test does, no secret may be in the log.
    pub fn plugin<K: AsRef<str>, V: ToString>(
        mut self,
        options: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.global.our_plugin(&self.option_prefix, options);
        self
    }

    /// A `plugin` line for another library, and its options.
    pub fn plugin_at<K: AsRef<str>, V: ToString>(
        mut self,
        path: &Path,
        options: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.global.plugin(path, &self.option_prefix, options);
        self
    }

    /// Writes options that follow as `{prefix}NAME`: `auth_opt_` is the older spelling.
    pub fn option_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.option_prefix);
        self
    }

    /// Lets every listener have security settings of its own.
    pub fn per_listener_settings(mut self) -> Self {
        self.per_listener = true;
        self
    }

    /// Adds a listener; without any there is a plain one.
    pub fn listener(mut self, describe: impl FnOnce(Listener) -> Listener) -> Self {
        let listener = Listener {
            version: self.version,
            dir: self.dir.path().to_owned(),
            nth: self.listeners.len(),
            option_prefix: self.option_prefix.clone(),
            websockets: false,
            scope: Scope::default(),
        };
        self.listeners.push(describe(listener));
        self
    }

    pub fn allow_anonymous(mut self, allow: bool) -> Self {
        self.global.allow_anonymous = Some(allow);
        self
    }

    /// Mosquitto's own password file, at [`BrokerConfig::password_path`].
    pub fn password_file(mut self, users: &[(&str, &str)]) -> Self {
        let path = self.password_path();
        write_passwords(self.version, &path, users);
        self.global.line("password_file", path.display());
        self
    }

    /// Where `password_file` puts its file, for `local_users_file`.
    pub fn password_path(&self) -> PathBuf {
        self.path("passwords")
    }

    pub fn acl_file(mut self, text: &str) -> Self {
        let path = self.file("acl", text);
        self.global.line("acl_file", path.display());
        self
    }

    /// Sessions and retained messages outlive a [`Broker::restart`].
    pub fn persistence(mut self) -> Self {
        self.persistence = true;
        self
    }

    /// Any other line of the configuration.
    pub fn line(mut self, line: &str) -> Self {
        self.global.lines.push(line.to_owned());
        self
    }

    /// An environment variable of the broker, for options that read one.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file in the broker's own directory, for instance a secret.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }

    /// The path of a file in the broker's own directory, whether it exists or not.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the broker; panics with its log if it does not come up.
    pub fn start(self) -> Broker {
        Broker::start(self)
    }

    /// Starts a broker that has to end by itself, with a status other than 0.
    pub fn start_expecting_failure(self) -> Failed {
        Broker::start_expecting_failure(self)
    }

    pub(super) fn listener_count(&self) -> usize {
        self.listeners.len().max(1)
    }

    pub(super) fn is_websockets(&self, listener: usize) -> bool {
        self.listeners.get(listener).is_some_and(|listener| listener.websockets)
    }

    /// The configuration as the broker was last started with it.
    pub(super) fn text(&self) -> String {
        fs::read_to_string(self.path("mosquitto.conf")).unwrap_or_default()
    }

    /// The configuration file's text for these ports.
    pub(super) fn render(&self, ports: &[u16]) -> String {
        let mut text = String::new();
        if self.per_listener {
            text.push_str("per_listener_settings true\n");
        }
        if running_as_root() {
            text.push_str("user root\n");
        }
        text.push_str("log_dest stderr\nlog_type all\nlog_timestamp false\n");
        if self.persistence {
            writeln!(text, "persistence true\npersistence_location {}/", self.dir.path().display())
                .unwrap();
        }
        if self.listeners.is_empty() {
            writeln!(text, "listener {} 127.0.0.1", ports[0]).unwrap();
        }
        self.global.render(&mut text, !self.per_listener || self.listeners.is_empty());
        for (listener, port) in self.listeners.iter().zip(ports) {
            writeln!(text, "listener {port} 127.0.0.1").unwrap();
            listener.scope.render(&mut text, self.per_listener);
        }
        text
    }
}

impl Listener {
    /// A `plugin` line inside this listener: with `per_listener_settings` it is its alone.
    pub fn plugin<K: AsRef<str>, V: ToString>(
        mut self,
        options: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.scope.our_plugin(&self.option_prefix, options);
        self
    }

    pub fn allow_anonymous(mut self, allow: bool) -> Self {
        self.scope.allow_anonymous = Some(allow);
        self
    }

    pub fn password_file(mut self, users: &[(&str, &str)]) -> Self {
        let path = self.password_path();
        write_passwords(self.version, &path, users);
        self.scope.line("password_file", path.display());
        self
    }

    /// Where this listener's password file is; the first listener's is the broker's `password_file`.
    pub fn password_path(&self) -> PathBuf {
        match self.nth {
            0 => self.dir.join("passwords"),
            nth => self.dir.join(format!("passwords-{nth}")),
        }
    }

    pub fn acl_file(mut self, text: &str) -> Self {
        let path = self.dir.join(format!("acl-{}", self.nth));
        fs::write(&path, text).unwrap();
        self.scope.line("acl_file", path.display());
        self
    }

    /// Serves TLS with this certificate.
    pub fn tls(mut self, identity: impl AsRef<Identity>) -> Self {
        let identity = identity.as_ref();
        self.scope.line("certfile", identity.cert.display());
        self.scope.line("keyfile", identity.key.display());
        self
    }

    /// Demands a client certificate of the same authority; comes with `tls`.
    pub fn require_certificate(mut self, identity: impl AsRef<Identity>) -> Self {
        self.scope.line("cafile", identity.as_ref().ca.display());
        self.line("require_certificate true")
    }

    pub fn websockets(mut self) -> Self {
        self.websockets = true;
        self.line("protocol websockets")
    }

    pub fn line(mut self, line: &str) -> Self {
        self.scope.lines.push(line.to_owned());
        self
    }
}

impl Scope {
    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        self.lines.push(format!("{name} {value}"));
    }

    fn our_plugin<K: AsRef<str>, V: ToString>(
        &mut self,
        prefix: &str,
        options: impl IntoIterator<Item = (K, V)>,
    ) {
        let options =
            options.into_iter().map(|(name, value)| (name.as_ref().to_owned(), value.to_string()));
        let mut options: Vec<_> = options.collect();
        if !options.iter().any(|(name, _)| name == "log_level") {
            options.push(("log_level".to_owned(), "trace".to_owned()));
        }
        self.plugin(&plugin_path(), prefix, options);
    }

    fn plugin<K: AsRef<str>, V: ToString>(
        &mut self,
        path: &Path,
        prefix: &str,
        options: impl IntoIterator<Item = (K, V)>,
    ) {
        self.line("plugin", path.display());
        let mut given = Vec::new();
        for (name, value) in options {
            self.line(&format!("{prefix}{}", name.as_ref()), value.to_string());
            given.push(name.as_ref().to_owned());
        }
        if valgrind_reports().is_some() && path == plugin_path() {
            // Under Valgrind an answer takes longer than a broker should ever be held up.
            for (name, value) in [("max_block_ms", "60000"), ("max_block_percent", "100")] {
                if !given.iter().any(|given| given == name) {
                    self.line(&format!("{prefix}{name}"), value);
                }
            }
        }
    }

    /// `closed` scopes say `allow_anonymous false` unless the test said otherwise.
    fn render(&self, text: &mut String, closed: bool) {
        if let Some(allow) = self.allow_anonymous.or(closed.then_some(false)) {
            writeln!(text, "allow_anonymous {allow}").unwrap();
        }
        for line in &self.lines {
            writeln!(text, "{line}").unwrap();
        }
    }
}

fn running_as_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn write_passwords(version: Version, path: &Path, users: &[(&str, &str)]) {
    fs::write(path, "").unwrap();
    for (user, password) in users {
        mosquitto_passwd(version, &["-b", &path.to_string_lossy(), user, password]);
    }
}

/// Runs that version's own `mosquitto_passwd`: each hashes in its own way.
pub(super) fn mosquitto_passwd(version: Version, arguments: &[&str]) {
    let output = Command::new(version.bin("mosquitto_passwd"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "mosquitto_passwd failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
