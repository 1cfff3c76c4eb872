//! Finds the server that has a fleet's data, by whatever names it.

#![forbid(unsafe_code)]

use redis::cmd;

use super::link::{Link, LinkError, TIMEOUT, by_node, first};
use super::sentinel;
use crate::config::{FleetConfig, FleetCredentials, RedisKind};

impl Link {
    /// Connects to the server that has the fleet's data.
    pub(crate) fn open(
        config: &FleetConfig,
        credentials: &FleetCredentials,
    ) -> Result<Self, LinkError> {
        let mut link = match (config.kind, &config.master) {
            (RedisKind::Cluster, _) => {
                first(&config.servers, |server| by_node(config, credentials, server))
            }
            (_, Some(master)) => sentinel::open(config, credentials, master),
            (_, None) => first(&config.servers, |server| {
                Self::connect(config, credentials, server, config.database)
            }),
        }?;
        link.limit(TIMEOUT)?;
        let name = cmd("CLIENT").arg("SETNAME").arg(config.client_name()).clone();
        // Only for whoever looks at the list of clients.
        let _ = link.ask(&name);
        Ok(link)
    }
}
