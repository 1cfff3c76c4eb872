//! What looks wrong beyond the plugin's options. All of it is a guess from outside the broker.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use mosquitto_http_auth::api_format::Compat;
use mosquitto_http_auth::config::{Config, EmptyCredentials, LocalUsersAcl};

use crate::block;
use crate::conf::{Conf, Place, Plugin, Remark, Security};
use crate::reader::Reader;

mod files;
mod listeners;

/// What was found: what stops the broker, what this command may not read, and what may not be meant.
#[derive(Default)]
pub(crate) struct Lints {
    pub(crate) mistakes: Vec<Remark>,
    pub(crate) unread: Vec<Remark>,
    pub(crate) hints: Vec<Remark>,
}

impl Lints {
    fn absorb(&mut self, other: Self) {
        self.mistakes.extend(other.mistakes);
        self.unread.extend(other.unread);
        self.hints.extend(other.hints);
    }
}

/// What there is to say about the whole.
pub(crate) fn about_conf(conf: &Conf, reader: Option<&Reader>, blocks: &[&Plugin]) -> Lints {
    let mut lints = Lints::default();
    for other in &conf.plugins {
        if !blocks.iter().any(|block| block.place == other.place) {
            lints.absorb(files::library(other, reader));
        }
    }
    // The rest is about what is not there as well.
    if !conf.unread.is_empty() {
        return lints;
    }
    let mut seen = BTreeMap::new();
    for plugin in blocks {
        let scope = (&plugin.path, &plugin.listeners);
        if let Some(first) = seen.insert(scope, &plugin.place) {
            let text = format!(
                "the same file is loaded for the same listeners at {first}: Mosquitto before 2.1 \
                 does not start"
            );
            let found = Remark::new(&plugin.place, text);
            if conf.needs_2_1 { &mut lints.hints } else { &mut lints.mistakes }.push(found);
        }
    }
    lints.hints.extend(listeners::unguarded(conf, blocks));
    if let (true, Some(first)) = (conf.per_listener, blocks.first()) {
        let text = "per_listener_settings: Mosquitto 2.0.11 never wakes its plugins then, so \
                    clients are disconnected, or asked about again, only when others are served";
        lints.hints.push(Remark::new(&first.place, text));
    }
    lints
}

/// What there is to say about one block, whose options are valid if there is a `config`.
pub(crate) fn about_block(
    conf: &Conf,
    reader: Option<&Reader>,
    block: &Plugin,
    config: Option<&Config>,
) -> Lints {
    let mut lints = files::library(block, reader);
    if lints.mistakes.is_empty() {
        lints.absorb(files::needed(conf, reader, block, config));
    }
    // The rest is about what is not there as well.
    if !conf.unread.is_empty() {
        return lints;
    }
    let hints = &mut lints.hints;
    if block::is_predecessor(block) {
        let text = format!(
            "this loads {}; what follows is what mosquitto-http-auth makes of its options",
            block.file_name()
        );
        hints.push(Remark::new(&block.place, text));
    }
    hints.extend(about_neighbours(conf, block, config));
    if let Some(config) = config {
        hints.extend(about_options(block, config));
        hints.extend(listeners::of_block(conf, block, config));
        for security in scopes(conf, block) {
            hints.extend(about_other_means(block, config, security));
        }
    }
    hints.dedup();
    lints
}

/// Other plugins for the same listeners: the broker asks in the order of their lines.
fn about_neighbours(conf: &Conf, block: &Plugin, config: Option<&Config>) -> Vec<Remark> {
    let mut lints = Vec::new();
    let is_behind = |other: &Plugin| {
        let position = |wanted: &Plugin| conf.plugins.iter().position(|p| p.place == wanted.place);
        position(other) > position(block)
    };
    let others = conf.plugins.iter().filter(|other| other.place != block.place);
    for other in others.filter(|other| shares_a_listener(other, block)) {
        let (name, place) = (other.file_name(), &other.place);
        if !is_behind(other) {
            let text = format!(
                "{name} is asked first ({place}); the API hears only of what that leaves to others"
            );
            lints.push(Remark::new(&block.place, text));
        } else if name.contains("dynamic_security")
            && config.is_some_and(|config| config.routes.login.is_some())
        {
            let text = format!(
                "{name} is asked after this block ({}), and a no of the API is final: its users \
                 cannot log in, its administrator among them",
                block.place
            );
            lints.push(Remark::new(place, text));
        }
    }
    lints
}

fn shares_a_listener(a: &Plugin, b: &Plugin) -> bool {
    match (&a.listeners, &b.listeners) {
        (Some(a), Some(b)) => !a.is_disjoint(b),
        _ => true,
    }
}

/// The settings that hold beside a block.
fn scopes<'a>(conf: &'a Conf, block: &'a Plugin) -> Vec<&'a Security> {
    match &block.listeners {
        Some(positions) if conf.per_listener => {
            positions.iter().map(|position| conf.security_of(*position)).collect()
        }
        _ => vec![&conf.broker],
    }
}

/// The options that name a file.
const FILES: [&str; 7] = [
    "tls_ca_file",
    "tls_cert_file",
    "tls_key_file",
    "local_users_file",
    "jwt_key_file",
    "jwt_secret_file",
    "fleet_redis_tls_ca_file",
];

/// Who else could come with a token.
fn about_tokens(block: &Plugin, config: &Config) -> Vec<Remark> {
    let Some(tokens) = config.tokens() else { return Vec::new() };
    let mut lints = Vec::new();
    let place = |option: &str| block.place_of(Some(option));
    let public = [
        ("jwt_key_file", config.sources.jwt_key_file.is_some()),
        ("http_jwks_route", tokens.jwks_route.is_some()),
    ];
    let public = public.iter().find(|(_, is_given)| *is_given);
    if let (true, Some((option, _))) = (tokens.audience.is_empty(), public) {
        let text = "without jwt_audience a token that the same issuer made for another service \
                    lets its bearer in";
        lints.push(Remark::new(place(option), text));
    }
    if let Some(path) = &config.sources.jwt_secret_file {
        if fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0) {
            let text = format!(
                "jwt_secret_file {path}: everyone may read it, and whoever does can make tokens for \
                 anybody"
            );
            lints.push(Remark::new(place("jwt_secret_file"), text));
        }
    }
    lints
}

/// Who else could read what brokers share.
fn about_fleet(block: &Plugin, config: &Config) -> Option<Remark> {
    let files = config.sources.files_of_fleet();
    let (option, path) = files.iter().find(|(option, _)| *option == "fleet_secret")?;
    let text = format!(
        "{option} {path}: everyone may read it, and whoever does can decrypt what the brokers share, and \
         forge it"
    );
    let is_open = fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0);
    is_open.then(|| Remark::new(block.place_of(Some(option)), text))
}

fn about_options(block: &Plugin, config: &Config) -> Vec<Remark> {
    let mut lints = about_tokens(block, config);
    lints.extend(about_fleet(block, config));
    let place = |option: &str| block.place_of(Some(option));
    let is_near = |host: &str| {
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let far = config.endpoints.iter().find(|endpoint| !is_near(&endpoint.host));
    if let (false, Some(endpoint)) = (config.https, far) {
        let text = format!("passwords go to {} unencrypted", endpoint.origin(false));
        lints.push(Remark::new(place("http_host"), text));
    }
    if config.api_format.compat == Compat::Emqx && config.routes.access.is_some() {
        let text = "compat emqx: unlike EMQX, Mosquitto asks about deliveries as well, each with the topic of \
                    the message and as \"subscribe\"; an API that knows filters by their text alone denies them";
        lints.push(Remark::new(place("compat"), text));
    }
    if let Some(address) = config.metrics_listen.filter(|address| !address.ip().is_loopback()) {
        let text = format!(
            "metrics_listen {address}: whoever reaches this address can read the metrics, without a \
             password and unencrypted"
        );
        lints.push(Remark::new(place("metrics_listen"), text));
    }
    for option in &block.options {
        let is_header = option.name.to_ascii_lowercase().starts_with("http_header_")
            || option.name == "http_basic_auth_key";
        let elsewhere = option.value.trim_start().starts_with(['@', '$']);
        let mode = fs::metadata(&option.place.file).map_or(0, |file| file.mode());
        if is_header && !elsewhere && mode & 0o004 != 0 {
            let text = format!(
                "option {}: its value stands in a file that everyone may read; @path names \
                 another file, and $NAME the environment",
                option.name
            );
            lints.push(Remark::new(&option.place, text));
        }
        if FILES.contains(&option.name.as_str()) && Path::new(option.value.trim()).is_relative() {
            let text = format!(
                "option {}: a path without a leading / counts from the folder that the broker is \
                 started in",
                option.name
            );
            lints.push(Remark::new(&option.place, text));
        }
    }
    lints
}

/// What the broker's other means add to, or take from, what the API says.
fn about_other_means(block: &Plugin, config: &Config, security: &Security) -> Vec<Remark> {
    let mut lints = Vec::new();
    let mut lint = |place: &Place, text: &str| lints.push(Remark::new(place, text));
    let (login, access) = match config.api_format.compat {
        Compat::None | Compat::Emqx => ("http_user_route", "http_acl_route"),
        Compat::GoAuth | Compat::AuthPlug => ("http_getuser_uri", "http_aclcheck_uri"),
    };
    let local = config.local_users.as_ref();
    let denies_empty = config.empty_credentials == EmptyCredentials::Deny;
    match &security.allow_anonymous {
        Some((true, place)) if denies_empty && config.routes.login.is_some() => lint(
            place,
            "allow_anonymous: by compat, clients without a username or a password are refused all the \
             same",
        ),
        Some((true, place)) if listeners::defers(config) => lint(
            place,
            "allow_anonymous: clients without a username are let in without asking the API, and \
             may do what the broker's other means allow; anonymous_username has it asked",
        ),
        _ => {}
    }
    match (&security.password_file, local) {
        (Some((_, place)), None) if config.routes.login.is_some() => lint(
            place,
            "password_file: the API is asked about its users first, and a no is final; \
             local_users_file leaves them to the file",
        ),
        (Some((path, place)), Some(local)) if Path::new(path) != local.file => {
            lint(place, "password_file: local_users_file names another file");
        }
        (None, Some(_)) => lint(
            block.place_of(Some("local_users_file")),
            "without password_file nobody lets these users in",
        ),
        (None, None) if config.routes.login.is_none() && config.tokens().is_none() => lint(
            &block.place,
            &format!(
                "without {login} and password_file only clients without a username can log in, \
                 where allow_anonymous lets them"
            ),
        ),
        _ => {}
    }
    let defers = local.is_some_and(|local| local.acl == LocalUsersAcl::Defer);
    match &security.acl_file {
        None if defers => lint(
            block.place_of(Some("local_users_acl")),
            "without acl_file the local users may do nothing",
        ),
        None if config.routes.access.is_none() => lint(
            &block.place,
            &format!(
                "without {access} and acl_file clients may do nothing but what the rules in the \
                 answer to their login allow"
            ),
        ),
        _ => {}
    }
    lints
}
