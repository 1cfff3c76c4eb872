//! A broker in one of the ways that are compared.

use mosquitto_test::broker::{Broker, Version};

use crate::api::Api;
use crate::program;

/// What the broker runs with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// No plugin; everyone is welcome.
    None,
    /// A plugin that says yes to everything.
    Yes,
    /// The plugin, and all answers in its cache.
    Cached,
    /// The plugin with its defaults.
    Ours,
    /// The plugin, told to hold up the broker for as long as the API takes.
    Blocking,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::None => "no plugin",
            Mode::Yes => "yes",
            Mode::Cached => "cached",
            Mode::Ours => "ours",
            Mode::Blocking => "blocking",
        }
    }

    fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Mode::None | Mode::Yes | Mode::Ours => &[],
            Mode::Cached => &[("cache_auth_ttl", "600")],
            Mode::Blocking => &[
                ("delayed_login", "false"),
                ("max_block_ms", "60000"),
                ("max_block_percent", "100"),
            ],
        }
    }
}

/// A running broker that logs what a broker logs by default: to print every packet, as it does for
/// the tests, would be most of its work.
pub fn broker(version: Version, mode: Mode, api: &Api, more: &[(&str, &str)]) -> Broker {
    let mut config = Broker::config(version);
    for line in ["none", "error", "warning", "notice", "information"] {
        config = config.line(&format!("log_type {line}"));
    }
    match mode {
        Mode::None => return config.allow_anonymous(true).start(),
        Mode::Yes => return config.plugin_at(program::yes_plugin(), [("", ""); 0]).start(),
        Mode::Cached | Mode::Ours | Mode::Blocking => {}
    }
    let mut options = api.options();
    for (name, value) in mode.options().iter().chain(more) {
        options.push(((*name).to_owned(), (*value).to_owned()));
    }
    config.plugin(options).start()
}
