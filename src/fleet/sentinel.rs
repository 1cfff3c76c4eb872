//! The master that Sentinels name, and whether it still is the one.
//!
//! A Sentinel that is parted from the others names a master that they have deposed, and that one does not know of
//! it either: both go on. What others take back at its successor would not be heard there. So all Sentinels
//! are asked, and the latest election counts, by the number that Sentinels give each (`config-epoch`).

#![forbid(unsafe_code)]

use std::time::Duration;

use redis::{Value, cmd};

use super::Fleet;
use super::link::{Link, LinkError, array, bytes, first};
use crate::config::{FleetConfig, FleetCredentials, RedisServer};
use crate::sync::lock;

/// How often one of the Sentinels is asked whether there is another master.
const CHECK: Duration = Duration::from_secs(2);

/// A master, and the number of the election that made it one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    term: u64,
    server: RedisServer,
}

/// Connects to the master that was elected last.
pub(crate) fn open(
    config: &FleetConfig,
    credentials: &FleetCredentials,
    master: &str,
) -> Result<Link, LinkError> {
    let mut error = LinkError::new("no server is named");
    let mut named = Vec::new();
    for sentinel in &config.servers {
        match ask(config, credentials, sentinel, master) {
            Ok(one) => named.push(one),
            Err(next) => error = next,
        }
    }
    let Some(latest) = named.iter().map(|one| one.term).max() else { return Err(error) };
    // While the others are being told of an election, two may be named by the same number.
    named.retain(|one| one.term == latest);
    first(&named, |one| {
        let mut link = Link::connect(config, credentials, &one.server, config.database)?;
        // A Sentinel may not have noticed yet that this one is the master no longer.
        let role = array(link.ask(&cmd("ROLE"))?)?;
        match role.into_iter().next().and_then(bytes).as_deref() {
            Some(b"master") => {
                link.term = Some(one.term);
                Ok(link)
            }
            _ => Err(LinkError::new(format!("{} is not the master", one.server))),
        }
    })
}

/// The master that a Sentinel names. A Sentinel that wants to know who asks gets the password that the master gets.
fn ask(
    config: &FleetConfig,
    credentials: &FleetCredentials,
    sentinel: &RedisServer,
    master: &str,
) -> Result<Named, LinkError> {
    let ask = |credentials: &FleetCredentials| -> Result<[Value; 2], LinkError> {
        let mut link = Link::connect(config, credentials, sentinel, 0)?;
        // In this order: a later address with an earlier number does no harm.
        let about = link.ask(cmd("SENTINEL").arg("MASTER").arg(master))?;
        let address = link.ask(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master))?;
        Ok([about, address])
    };
    let anonymous = FleetCredentials { password: None, ..credentials.clone() };
    let [about, address] = match ask(&anonymous) {
        Err(error) if error.is_anonymous && credentials.password.is_some() => ask(credentials),
        reply => reply,
    }?;
    let Value::Array(address) = address else {
        return Err(LinkError::new(format!("{sentinel} knows no master {master:?}")));
    };
    let mut address = address.into_iter().filter_map(bytes).map(String::from_utf8);
    let (Some(Ok(host)), Some(Ok(port))) = (address.next(), address.next()) else {
        return Err(LinkError::new(format!("{sentinel} names no address")));
    };
    let port = port.parse().map_err(|_| LinkError::new(format!("{sentinel} names no port")))?;
    Ok(Named { term: term(about), server: RedisServer::Tcp { host, port } })
}

/// The number of the election, out of names and values in turn; 0 where it is not told.
fn term(about: Value) -> u64 {
    let about: Vec<_> = array(about).unwrap_or_default().into_iter().filter_map(bytes).collect();
    let found = about.chunks_exact(2).find(|pair| pair[0] == b"config-epoch");
    let text = found.and_then(|pair| std::str::from_utf8(&pair[1]).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Fleet {
    /// The thread's life: asks one Sentinel after another, so that one that is silent holds nobody up, whether
    /// the master that the log is read from has been replaced.
    pub(super) fn watch_sentinels(&self) {
        let Some(master) = &self.config.master else { return };
        for sentinel in self.config.servers.iter().cycle() {
            self.rest(CHECK);
            if self.is_stopping() {
                return;
            }
            let credentials = lock(&self.credentials).clone();
            let Ok(named) = ask(&self.config, &credentials, sentinel, master) else { continue };
            let mut followed = lock(&self.followed);
            let is_later = |(server, term): &(String, u64)| {
                named.term > *term && named.server.to_string() != *server
            };
            if let Some((server, _)) = followed.take_if(|followed| is_later(followed)) {
                let text = format!("{server} is the master no longer");
                *lock(&self.interrupted) = Some(LinkError::new(text));
            }
        }
    }
}
