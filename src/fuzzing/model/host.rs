//! What the simulated broker does for the plugins.

use log::Level;

use super::World;
use crate::broker::{Broker, Delivery};
use crate::fuzzing::broker::{Connection, Stage};
use crate::question::Properties;

/// What the plugin may ask of the broker.
impl Broker for World {
    fn log(&self, _: Level, line: &str) {
        self.claim(!line.contains("internal error"), || line.to_owned());
    }

    fn finish_login(&self, client_id: &str, let_in: bool) {
        let waits =
            |c: &Connection| c.stage == Stage::Waiting && c.identity.id_at_broker() == client_id;
        let Some(at) = self.find(waits) else { return };
        if let_in {
            return self.let_in(at);
        }
        let client = self.get(at);
        self.judge(&client.login(), &client, false);
        self.remove(at);
    }

    fn close_by_username(&self, username: &str) {
        while let Some(at) =
            self.find(|client| client.stage != Stage::Offline && client.identity.name() == username)
        {
            self.leave(at, false);
        }
    }

    fn publish_to(&self, _: &str, _: &str, _: &str) {}

    fn deliver(&self, _: &str, _: &Delivery<'_>, _: Option<Properties>) {}

    fn publish_retained(&self, _: &str, _: &str) {}

    fn disconnect(&self, client_id: &str) {
        let is_in = |c: &Connection| c.stage == Stage::In && c.identity.id == client_id;
        if let Some(at) = self.find(is_in) {
            let client = self.get(at);
            let is_own = client.instance == self.ticking.get();
            self.claim(is_own, || format!("another instance disconnects {client:?}"));
            self.leave(at, false);
        }
    }
}
