//! What listeners let in without the plugin, and what they tell it about a client.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use mosquitto_http_auth::config::{Config, EmptyCredentials, WebsocketAddress};
use mosquitto_http_auth::field::Field;
use mosquitto_http_auth::question::Kind;

use crate::conf::{Conf, Listener, Plugin, Remark};

/// Listeners whose clients the API is never asked about, and one that nobody named.
pub(crate) fn unguarded(conf: &Conf, blocks: &[&Plugin]) -> Vec<Remark> {
    let mut lints = Vec::new();
    for block in blocks {
        let listeners = block.listeners.iter().flatten();
        let unnamed = listeners.filter(|position| conf.listeners[**position].place.is_none());
        if unnamed.count() > 0 && conf.listeners.len() > 1 {
            let text = "this line stands before the first listener, and with \
                        per_listener_settings Mosquitto 2.0 opens port 1883 on every address for \
                        it, while the listeners below are without the plugin";
            lints.push(Remark::new(&block.place, text));
        }
    }
    if blocks.is_empty() || blocks.iter().any(|block| block.listeners.is_none()) {
        return lints;
    }
    let guarded: BTreeSet<_> =
        blocks.iter().filter_map(|block| block.listeners.as_ref()).flatten().collect();
    for (position, listener) in conf.listeners.iter().enumerate() {
        let own = listener.security.allow_anonymous.as_ref();
        let inherited = conf.security_of(position).allow_anonymous.as_ref();
        if let (false, Some((true, place))) = (guarded.contains(&position), own.or(inherited)) {
            let text = format!(
                "allow_anonymous: the plugin is not loaded for listener {}, which lets clients in \
                 that the API is never asked about",
                listener.name
            );
            lints.push(Remark::new(place, text));
        }
    }
    lints
}

/// What there is to say about the listeners that a block decides for.
pub(crate) fn of_block(conf: &Conf, block: &Plugin, config: &Config) -> Vec<Remark> {
    let mut lints = Vec::new();
    if conf.listeners.is_empty() && conf.broker.allow_anonymous.is_none() && defers(config) {
        let text = "without a listener and allow_anonymous the broker opens port 1883 on the \
                    loopback interface only, and clients without a username are let in there \
                    without asking the API";
        lints.push(Remark::new(&block.place, text));
    }
    let all = conf.listeners.iter().enumerate();
    let is_ours = |position: &usize| block.listeners.as_ref().is_none_or(|l| l.contains(position));
    for (_, listener) in all.filter(|(position, _)| is_ours(position)) {
        lints.extend(about_names(listener, config));
        lints.extend(about_addresses(conf, listener, config));
    }
    lints
}

/// Whether a client without a username is left to the broker.
pub(crate) fn defers(config: &Config) -> bool {
    let is_asked = config.anonymous_username.is_some();
    let is_denied = config.empty_credentials == EmptyCredentials::Deny;
    config.routes.login.is_none() || !(is_asked || is_denied)
}

/// Usernames that come from certificates.
fn about_names(listener: &Listener, config: &Config) -> Option<Remark> {
    config.routes.login.as_ref()?;
    let place = listener.certificate_names.as_ref()?;
    let text = match &listener.proxy {
        None => "the broker asks nobody whether these clients may log in, only what they may do",
        Some(_) => {
            "a client whose certificate a proxy has checked comes with that name and no password, like \
             one that has no certificate: a plugin block for this listener alone keeps what the API \
             says of it from other listeners"
        }
    };
    Some(Remark::new(place, text))
}

/// Addresses that Mosquitto 2.0 lets clients choose.
fn about_addresses(conf: &Conf, listener: &Listener, config: &Config) -> Option<Remark> {
    let place = listener.websockets.as_ref().filter(|_| !conf.needs_2_1)?;
    let is_told = [Kind::Login, Kind::Access]
        .iter()
        .any(|kind| config.fields.of(*kind).contains(&Field::PeerHost));
    let text = match config.websocket_address {
        WebsocketAddress::Unknown if is_told || config.login_failures_max > 0 => {
            "Mosquitto 2.0.15 to 2.0.23 take a websocket client's address from the X-Forwarded-For \
             that it sends, so on 2.0 peerhost is null for these clients and login_failures_max \
             counts by username alone; websocket_address trust is for a listener that only a proxy \
             reaches"
        }
        WebsocketAddress::Unknown => return None,
        WebsocketAddress::Trust => {
            "websocket_address trust: whoever reaches this listener without a proxy that overwrites \
             X-Forwarded-For tells Mosquitto 2.0.15 to 2.0.23 any address, and peerhost, \
             login_failures_max and fail2ban believe it"
        }
    };
    Some(Remark::new(place, text))
}
