//! What looks wrong beyond the plugin's options. All of it is a guess from outside the broker.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use mosquitto_http_auth::config::{Config, EmptyCredentials, LocalUsersAcl};

use crate::block;
use crate::conf::{Conf, Place, Plugin, Remark, Security};
use crate::library;
use crate::reader::Reader;

/// The user that a broker becomes if nothing else is said.
const USUAL_USER: &str = "mosquitto";

/// What there is to say about the whole.
pub fn about_conf(conf: &Conf, blocks: &[&Plugin]) -> Vec<Remark> {
    let mut doubts = Vec::new();
    let mut doubt = |place: &Place, text: String| doubts.push(remark(place, text));
    let mut seen = BTreeMap::new();
    for plugin in blocks {
        let scope = (&plugin.path, &plugin.listeners);
        if let Some(first) = seen.insert(scope, &plugin.place) {
            doubt(
                &plugin.place,
                format!(
                    "the same file is loaded for the same listeners at {first}: Mosquitto before \
                     2.1 does not start"
                ),
            );
        }
    }
    if let (true, Some(first)) = (conf.per_listener, blocks.first()) {
        doubt(
            &first.place,
            "per_listener_settings: Mosquitto 2.0.11 never wakes its plugins then, so clients are \
             disconnected, or asked about again, only when others are served"
                .to_owned(),
        );
    }
    doubts
}

/// What there is to say about one block, whose options are valid if there is a `config`.
pub fn about_block(conf: &Conf, block: &Plugin, config: Option<&Config>) -> Vec<Remark> {
    let mut doubts = about_file(block);
    if block::is_predecessor(block) {
        let text = format!(
            "this loads {}; what follows is what mosquitto-http-auth makes of its options",
            block.file_name()
        );
        doubts.push(remark(&block.place, text));
    }
    let earlier = conf.plugins.iter().take_while(|plugin| plugin.place != block.place);
    for other in earlier.filter(|other| shares_a_listener(other, block)) {
        let text = format!(
            "{} is asked first ({}); the API hears only of what that leaves to others",
            other.file_name(),
            other.place
        );
        doubts.push(remark(&block.place, text));
    }
    let user = conf.user.as_deref().unwrap_or(USUAL_USER);
    doubts.extend(unreadable(Reader::named(user).as_ref(), conf, block, config));
    if let Some(config) = config {
        doubts.extend(about_options(block, config));
        doubts.extend(about_names(conf, block, config));
        for security in scopes(conf, block) {
            doubts.extend(about_other_means(block, config, security));
        }
    }
    doubts.dedup();
    doubts
}

fn remark(place: &Place, text: impl Into<String>) -> Remark {
    Remark { place: place.clone(), text: text.into() }
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

fn about_file(block: &Plugin) -> Vec<Remark> {
    let path = Path::new(&block.path);
    if path.is_relative() && !block.path.contains('/') {
        let text = format!("{}: without a folder it is looked for where libraries are", block.path);
        return vec![remark(&block.place, text)];
    }
    // Whoever comes from another plugin does not load its file any more.
    if block::is_predecessor(block) {
        return Vec::new();
    }
    let problem = library::problem(path).map(|problem| format!("{}: {problem}", block.path));
    problem.map(|text| remark(&block.place, text)).into_iter().collect()
}

/// Files that the broker's user cannot read, as far as this machine knows the user.
fn unreadable(
    reader: Option<&Reader>,
    conf: &Conf,
    block: &Plugin,
    config: Option<&Config>,
) -> Vec<Remark> {
    let mut files = vec![("plugin", block.path.clone(), block.place.clone())];
    for security in scopes(conf, block) {
        let named = [("password_file", &security.password_file), ("acl_file", &security.acl_file)];
        for (name, file) in named {
            files.extend(file.clone().map(|(path, place)| (name, path, place)));
        }
    }
    let place = |option: &str| block.place_of(Some(option)).clone();
    if let Some(config) = config {
        let sources = &config.sources;
        let named = [
            ("tls_ca_file", &sources.ca_file),
            ("tls_cert_file", &sources.cert_file),
            ("tls_key_file", &sources.key_file),
        ];
        for (name, file) in named {
            files.extend(file.clone().map(|path| (name, path, place(name))));
        }
        for (name, value) in &sources.headers {
            let value = String::from_utf8_lossy(value.expose()).into_owned();
            if let Some(path) = value.strip_prefix('@') {
                let option = place(&format!("http_header_{name}"));
                files.push(("a header's file", path.to_owned(), option));
            }
        }
        if let Some(local) = &config.local_users {
            let path = local.file.to_string_lossy().into_owned();
            files.push(("local_users_file", path, place("local_users_file")));
        }
    }
    let mut doubts = Vec::new();
    for (what, path, place) in files {
        let is_the_brokers =
            what.ends_with("_file") && !what.starts_with("tls") && what != "local_users_file";
        if is_the_brokers && !Path::new(&path).exists() {
            doubts.push(remark(&place, format!("{what} {path}: there is no such file")));
        } else if let Some(problem) = reader.and_then(|reader| reader.problem(Path::new(&path))) {
            doubts.push(remark(&place, format!("{what} {path}: {problem}")));
        }
    }
    doubts
}

fn about_options(block: &Plugin, config: &Config) -> Vec<Remark> {
    let mut doubts = Vec::new();
    let place = |option: &str| block.place_of(Some(option));
    if let Some(address) = config.metrics_listen.filter(|address| !address.ip().is_loopback()) {
        let text = format!(
            "metrics_listen {address}: whoever reaches this address can read the metrics, without a \
             password and unencrypted"
        );
        doubts.push(remark(place("metrics_listen"), text));
    }
    let is_near = |host: &str| {
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let far = config.endpoints.iter().find(|endpoint| !is_near(&endpoint.host));
    if let (false, Some(endpoint)) = (config.https, far) {
        let text = format!("passwords go to {} unencrypted", endpoint.origin(false));
        doubts.push(remark(place("http_host"), text));
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
            doubts.push(remark(&option.place, text));
        }
        let names_a_file = ["tls_ca_file", "tls_cert_file", "tls_key_file", "local_users_file"]
            .contains(&option.name.as_str());
        if names_a_file && Path::new(option.value.trim()).is_relative() {
            let text = format!(
                "option {}: a path without a leading / counts from the folder that the broker is \
                 started in",
                option.name
            );
            doubts.push(remark(&option.place, text));
        }
    }
    doubts
}

/// Listeners that take usernames from certificates.
fn about_names(conf: &Conf, block: &Plugin, config: &Config) -> Vec<Remark> {
    let all = conf.listeners.iter().enumerate();
    let is_ours = |position: &usize| block.listeners.as_ref().is_none_or(|l| l.contains(position));
    let ours = all.filter(|(position, _)| is_ours(position));
    let places = ours
        .filter_map(|(_, listener)| Some((listener.certificate_names.as_ref()?, listener.proxied)));
    let text = |proxied| {
        if proxied {
            "a client whose certificate a proxy has checked comes with that name and no password, like \
             one that has no certificate: a plugin block for this listener alone keeps what the API \
             says of it from other listeners"
        } else {
            "the broker asks nobody whether these clients may log in, only what they may do"
        }
    };
    let asked = config.routes.login.is_some();
    places.filter(|_| asked).map(|(place, proxied)| remark(place, text(proxied))).collect()
}

/// What the broker's other means add to, or take from, what the API says.
fn about_other_means(block: &Plugin, config: &Config, security: &Security) -> Vec<Remark> {
    let mut doubts = Vec::new();
    let mut doubt = |place: &Place, text: &str| doubts.push(remark(place, text));
    let local = config.local_users.as_ref();
    let asks_for_anonymous = config.anonymous_username.is_some();
    let denies_empty = config.empty_credentials == EmptyCredentials::Deny;
    match &security.allow_anonymous {
        Some((true, place)) if denies_empty && config.routes.login.is_some() => doubt(
            place,
            "allow_anonymous: by compat, clients without a username or a password are refused all the \
             same",
        ),
        Some((true, place)) if !asks_for_anonymous => doubt(
            place,
            "allow_anonymous: clients without a username are let in without asking the API, and \
             may do what the broker's other means allow; anonymous_username has it asked",
        ),
        Some((false, _)) | None if asks_for_anonymous => doubt(
            block.place_of(Some("anonymous_username")),
            "without allow_anonymous true a SIGHUP disconnects the clients without a username that \
             the API let in",
        ),
        _ => {}
    }
    match (&security.password_file, local) {
        (Some((_, place)), None) if config.routes.login.is_some() => doubt(
            place,
            "password_file: the API is asked about its users first, and a no is final; \
             local_users_file leaves them to the file",
        ),
        (Some((path, place)), Some(local)) if Path::new(path) != local.file => {
            doubt(place, "password_file: local_users_file names another file");
        }
        (None, Some(_)) => doubt(
            block.place_of(Some("local_users_file")),
            "without password_file nobody lets these users in",
        ),
        (None, None) if config.routes.login.is_none() => doubt(
            &block.place,
            "without http_user_route and password_file only clients without a username can log in, \
             where allow_anonymous lets them",
        ),
        _ => {}
    }
    let defers = local.is_some_and(|local| local.acl == LocalUsersAcl::Defer);
    match &security.acl_file {
        None if defers => doubt(
            block.place_of(Some("local_users_acl")),
            "without acl_file the local users may do nothing",
        ),
        None if config.routes.access.is_none() => doubt(
            &block.place,
            "without http_acl_route and acl_file clients may do nothing but what the rules in the \
             answer to their login allow",
        ),
        _ => {}
    }
    doubts
}
