//! Clients that mean harm. None of them is judged: those around them are, who must get what they get
//! without them.
//!
//! All of them wait for the answer to their login. Where one leaves while its login waits, and SIGHUP comes in
//! the same pass of the broker's loop, Mosquitto 2.1.2 damages its own list of keep-alive times, and may
//! crash then or later (`docs/operating.md`).

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::crowd::{Crowd, LIMIT};
use super::policy;
use super::wire::Wire;
use crate::mqtt::Protocol;
use crate::raw;

/// How often each of them does something.
const PAUSE: Duration = Duration::from_millis(200);

/// What a client does to harm others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attack {
    /// Comes under the client identifiers of others, with a password that is wrong.
    TakeIdentifiers,
    /// Is let in, and causes questions that were never asked before.
    AskMuch,
    /// Connects, sends half a packet or nonsense, and leaves the connection open for a while.
    BreakPackets,
}

impl Attack {
    pub const ALL: [Attack; 3] = [Attack::TakeIdentifiers, Attack::AskMuch, Attack::BreakPackets];

    /// Goes on until the end.
    pub async fn go_on(self, crowd: Rc<Crowd>, mut stopping: watch::Receiver<bool>) {
        let mut open = Vec::new();
        for round in 0_usize.. {
            if timeout(PAUSE, stopping.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
            // Some of its connections stay open, as long as others have new ones.
            if open.len() >= 10 {
                open.remove(0);
            }
            let protocol = Protocol::BOTH[round % 2];
            if let Ok(wire) = Wire::open(crowd.port, protocol).await {
                open.push(self.act(&crowd, wire, protocol, round).await);
            }
        }
    }

    async fn act(self, crowd: &Crowd, mut wire: Wire, protocol: Protocol, round: usize) -> Wire {
        match self {
            Attack::TakeIdentifiers => {
                let victim = fastrand::usize(..crowd.plan.clients);
                let (id, username) = (format!("c{victim}"), policy::username(victim));
                crowd.model.occupied(&id);
                wire.connect(&id, &username, "stolen").await;
                let _ = timeout(LIMIT, wire.next()).await;
                crowd.model.freed(&id);
            }
            Attack::AskMuch => {
                wire.connect(&format!("hostile-{round}"), policy::HOSTILE, policy::HOSTILE).await;
                let _ = timeout(LIMIT, wire.next()).await;
                let filters: Vec<_> = (0..20).map(|n| format!("hostile/{round}/{n}/#")).collect();
                wire.send(&raw::subscribe_packet(protocol, 1, &filters)).await;
                for nth in 0..20 {
                    let topic = format!("hostile/{round}/{nth}");
                    let packet = raw::publish_packet(protocol, &topic, b"x", Some(2 + nth));
                    wire.send(&packet).await;
                }
            }
            Attack::BreakPackets => {
                let whole = raw::connect_packet(protocol, "half", Some(b"u0"), Some(b"x"), true);
                match round % 3 {
                    0 => wire.send(&whole[..whole.len() / 2]).await,
                    1 => wire.send(&[0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4]).await,
                    _ => {
                        wire.connect(&format!("{round}/+#"), "u0/+#", "x").await;
                        let _ = timeout(LIMIT, wire.next()).await;
                        wire.send(&whole).await;
                    }
                }
            }
        }
        wire
    }
}
