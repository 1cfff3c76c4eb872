//! The instances of a process: which of them commands and clients belong to.
//!
//! A broker may hold several, one for each listener, and each asks an API of its own. But a broker has one
//! table of client identifiers, and 2.1 hands all messages on the control topic to one instance, whichever
//! listener they come from, even one without the plugin.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex};

use moka::policy::EvictionPolicy;

use super::Message;
use crate::mailbox::Mailbox;
use crate::sessions::Sessions;
use crate::store::{Limits, Store};
use crate::sync::lock;

/// Of how many client identifiers it is remembered which instance was asked about them; those that nobody
/// was asked about for longest go first.
const MOST_IDENTIFIERS: u64 = 100_000;

/// All instances of a process.
pub struct Instances {
    state: Mutex<State>,
    /// Which instance was asked last about a client identifier, by a hash of that: it may be long.
    asked: Store<u64>,
    hasher: RandomState,
}

#[derive(Default)]
struct State {
    last_number: u64,
    members: Vec<Member>,
    /// Who is publishing to the control topic, by its handle, and the instance that was asked last whether it
    /// may. A broker that lets it hands the message over next.
    commander: Option<(usize, u64)>,
}

struct Member {
    number: u64,
    inbox: Arc<Mailbox<Message>>,
    sessions: Arc<Sessions>,
}

/// An instance's place among the others, for as long as it lives.
pub(crate) struct Membership {
    all: Arc<Instances>,
    number: u64,
}

/// Whose a message on the control topic is.
pub(crate) enum Recipient {
    This,
    /// Another instance, which finds it here.
    Other(Arc<Mailbox<Message>>),
    /// No instance was asked whether its sender may publish it.
    Nobody,
}

impl Default for Instances {
    fn default() -> Self {
        let policy = EvictionPolicy::lru();
        let limits = Limits { most: MOST_IDENTIFIERS, policy, ..Limits::default() };
        let asked = Store::new(limits, |_| 1);
        Self { state: Mutex::default(), asked, hasher: RandomState::new() }
    }
}

impl Instances {
    /// Adds an instance, by where it takes messages for it, and what it knows of clients.
    pub(crate) fn join(
        self: &Arc<Self>,
        inbox: &Arc<Mailbox<Message>>,
        sessions: &Arc<Sessions>,
    ) -> Membership {
        let mut state = lock(&self.state);
        state.last_number += 1;
        let number = state.last_number;
        let (inbox, sessions) = (Arc::clone(inbox), Arc::clone(sessions));
        state.members.push(Member { number, inbox, sessions });
        Membership { all: Arc::clone(self), number }
    }
}

impl Membership {
    /// Its number among all that the process has had.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether this is the only instance.
    pub(crate) fn is_alone(&self) -> bool {
        lock(&self.all.state).members.len() == 1
    }

    /// The broker asks this instance about the login of a new connection, or tells it of one.
    pub(crate) fn note_client(&self, client_id: &str) {
        // There is none to tell it from, and this is done for every login.
        if self.is_alone() {
            return;
        }
        self.all.asked.insert(self.all.hasher.hash_one(client_id), self.number);
    }

    /// The broker asks this instance whether this client may publish to the control topic.
    pub(crate) fn note_commander(&self, handle: usize) {
        lock(&self.all.state).commander = Some((handle, self.number));
    }

    /// A client has left: whoever gets its handle next was asked about by nobody.
    pub(crate) fn forget_commander(&self, handle: usize) {
        let mut state = lock(&self.all.state);
        state.commander.take_if(|(commander, _)| *commander == handle);
    }

    /// Whose message it is that this client has published.
    pub(crate) fn recipient(&self, handle: usize) -> Recipient {
        let mut state = lock(&self.all.state);
        let asked = state.commander.take().filter(|(commander, _)| *commander == handle);
        let Some((_, number)) = asked else { return Recipient::Nobody };
        if number == self.number {
            return Recipient::This;
        }
        let member = state.members.iter().find(|member| member.number == number);
        member.map_or(Recipient::Nobody, |member| Recipient::Other(Arc::clone(&member.inbox)))
    }

    /// Whether the client of this identifier may be this instance's: its API let it in, whoever tries
    /// elsewhere meanwhile. Where no API has, this instance was asked about it last, or none of the others
    /// knows it.
    pub(crate) fn may_own(&self, client_id: &str) -> bool {
        let state = lock(&self.all.state);
        let mut members = state.members.iter();
        if let Some(owner) = members.find(|member| member.sessions.is_let_in(client_id)) {
            return owner.number == self.number;
        }
        if let Some(asked) = self.all.asked.get(self.all.hasher.hash_one(client_id)) {
            return asked == self.number;
        }
        let mut others = state.members.iter().filter(|member| member.number != self.number);
        others.all(|member| !member.sessions.is_connected(client_id))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        lock(&self.all.state).members.retain(|member| member.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::sessions::SessionKey;

    fn join(all: &Arc<Instances>) -> (Membership, Arc<Mailbox<Message>>, Arc<Sessions>) {
        let inbox = Mailbox::new(Arc::new(|| {}));
        let sessions = Arc::new(Sessions::new(|_| {}, Arc::new(SystemClock)));
        (all.join(&inbox, &sessions), inbox, sessions)
    }

    fn recipient(of: &Membership, handle: usize) -> &'static str {
        match of.recipient(handle) {
            Recipient::This => "this",
            Recipient::Other(_) => "another",
            Recipient::Nobody => "nobody",
        }
    }

    #[test]
    fn a_message_is_for_whoever_was_asked_last_about_its_sender() {
        let all = Arc::new(Instances::default());
        let ((one, ..), (two, inbox, _)) = (join(&all), join(&all));
        assert_eq!(recipient(&one, 7), "nobody");
        one.note_commander(7);
        assert_eq!(recipient(&one, 7), "this");
        assert_eq!(recipient(&one, 7), "nobody", "another message");
        one.note_commander(7);
        two.forget_commander(8);
        assert_eq!(recipient(&one, 7), "this");
        one.note_commander(7);
        two.forget_commander(7);
        assert_eq!(recipient(&one, 7), "nobody", "another client on its handle");
        one.note_commander(7);
        two.note_commander(7);
        let Recipient::Other(found) = one.recipient(7) else { panic!("it is the second one's") };
        assert!(Arc::ptr_eq(&found, &inbox));
        one.note_commander(7);
        assert_eq!(recipient(&one, 8), "nobody", "another client");
        two.note_commander(7);
        drop(two);
        assert_eq!(recipient(&one, 7), "nobody");
        assert!(one.is_alone());
    }

    #[test]
    fn one_that_is_alone_remembers_nothing_and_owns_everybody() {
        let all = Arc::new(Instances::default());
        let (one, ..) = join(&all);
        one.note_client("c");
        assert!(all.asked.settled().0.is_empty() && one.may_own("c"));
        let (two, ..) = join(&all);
        two.note_client("c");
        assert!(!one.may_own("c") && two.may_own("c"));
    }

    #[test]
    fn a_client_is_that_instances_which_was_asked_about_it_last() {
        let all = Arc::new(Instances::default());
        let ((one, _, sessions), (two, ..)) = (join(&all), join(&all));
        assert!(one.may_own("c") && two.may_own("c"), "nobody knows it");
        one.note_client("c");
        assert!(one.may_own("c") && !two.may_own("c"));
        two.note_client("c");
        assert!(!one.may_own("c") && two.may_own("c"));
        sessions.begin_at_broker(SessionKey::from_number(1, "d", 1), "ann");
        assert!(one.may_own("d") && !two.may_own("d"), "the first one knows it");
        sessions.begin(SessionKey::from_number(2, "c", 1), "ann", None, None, None, None);
        two.note_client("c");
        assert!(one.may_own("c") && !two.may_own("c"), "somebody tries elsewhere");
    }
}
