//! Who subscribed to what, among the clients whose deliveries the API decides one by one.
//!
//! A message to a thousand subscribers is a thousand questions in a row. At the first of them this
//! tells whom the others will be about, so that they can be asked at the same time.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use crate::memory::{MemoryBudget, MemoryPermit};
use crate::question::{Client, ClientSnapshot, Departure};
use crate::sync::lock;

/// Subscriptions by topic filter, and by the client that holds them.
#[derive(Default)]
pub(crate) struct Subscriptions(Mutex<State>);

struct State {
    root: Node,
    subscribers: HashMap<usize, Subscriber>,
    handles: HashMap<Box<str>, usize>,
    /// Those whose sessions may be kept, the first to go offline first. Some are back by now, or gone.
    offline: VecDeque<usize>,
    /// What all of it takes, and what of that is of clients that are offline.
    memory: Arc<MemoryBudget>,
    offline_memory: Arc<MemoryBudget>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            root: Node::default(),
            subscribers: HashMap::new(),
            handles: HashMap::new(),
            offline: VecDeque::new(),
            memory: MemoryBudget::new(MOST),
            offline_memory: MemoryBudget::new(MOST_OFFLINE),
        }
    }
}

/// The subscribers of the filters that begin with the same levels.
#[derive(Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    subscribers: HashSet<usize>,
}

struct Subscriber {
    snapshot: Arc<ClientSnapshot>,
    /// With the QoS that each was granted.
    filters: HashMap<Box<str>, u8>,
    /// What the filters take, as [`cost`] counts; once more if the client is offline.
    permit: MemoryPermit,
    offline_permit: Option<MemoryPermit>,
    /// Under which handle it was known before, and whether it was offline.
    before: Option<(usize, bool)>,
}

impl Subscriber {
    fn is_offline(&self) -> bool {
        self.offline_permit.is_some()
    }

    fn resize(&mut self, bytes: usize) {
        self.permit.resize(bytes);
        self.offline_permit.iter_mut().for_each(|permit| permit.resize(bytes));
    }
}

/// What may be known of one client's subscriptions, and of all, in bytes. What is beyond that is asked
/// about when its turn comes.
const MOST_OF_A_CLIENT: usize = 256 << 10;
const MOST: usize = 64 << 20;

/// What of that may be known of clients that are offline. Nobody says when their sessions end.
const MOST_OFFLINE: usize = 8 << 20;

/// What a level takes, beside its name, where nobody else has it.
const LEVEL_BYTES: usize = 150;

/// About how much memory a filter takes, in bytes.
fn cost(filter: &str) -> usize {
    2 * filter.len() + LEVEL_BYTES * (filter.bytes().filter(|byte| *byte == b'/').count() + 2)
}

/// Whether it is shared: what it gets goes to one of its members only (MQTT 5.0, section 4.8.2).
fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

impl Subscriptions {
    /// A client subscribed, and gets messages with this QoS at most. What there is no room for is not
    /// noted.
    pub(crate) fn add(
        &self,
        client: &dyn Client,
        filter: &str,
        qos: u8,
        snapshot: impl FnOnce() -> ClientSnapshot,
    ) {
        let mut state = lock(&self.0);
        let state = &mut *state;
        let (handle, cost) = (client.handle(), cost(filter));
        if state.subscribers.get(&handle).is_some_and(|known| known.snapshot.id() != client.id()) {
            state.end(handle);
        }
        let known = state.subscribers.get_mut(&handle);
        let taken = known.as_ref().map_or(0, |known| known.permit.bytes());
        if let Some(before) = known.and_then(|known| known.filters.get_mut(filter)) {
            *before = qos;
            return;
        }
        // What is free is everybody's: nobody has more of it than is left for others.
        if taken + cost > state.memory.free().min(MOST_OF_A_CLIENT) {
            return;
        }
        let subscriber = state.subscribers.entry(handle).or_insert_with(|| Subscriber {
            snapshot: Arc::new(snapshot()),
            filters: HashMap::new(),
            permit: state.memory.take(0),
            offline_permit: None,
            before: None,
        });
        subscriber.filters.insert(filter.into(), qos);
        subscriber.resize(taken + cost);
        state.handles.insert(client.id().into(), handle);
        state.root.insert(filter, handle);
    }

    /// A client gave a subscription up. With a `mount_point` the broker asks about the filter without it,
    /// and goes on to deliver: such an unsubscribe ends nothing, and is none here either.
    pub(crate) fn remove(&self, handle: usize, filter: &str) {
        let mut state = lock(&self.0);
        let state = &mut *state;
        let Some(subscriber) = state.subscribers.get_mut(&handle) else { return };
        if subscriber.filters.remove(filter).is_none() {
            return;
        }
        subscriber.resize(subscriber.permit.bytes().saturating_sub(cost(filter)));
        let is_last = subscriber.filters.is_empty();
        state.root.remove(filter.split('/'), handle);
        if is_last {
            state.end(handle);
        }
    }

    /// A client left. If its session may be kept, its subscriptions are, for when it comes back.
    pub(crate) fn left(&self, handle: usize, departure: Departure) {
        let mut state = lock(&self.0);
        let state = &mut *state;
        let Some(subscriber) = state.subscribers.get_mut(&handle) else { return };
        let is_clean =
            subscriber.snapshot.protocol_version() < 5 && subscriber.snapshot.clean_session();
        // 2.0 says a second time that a session is offline when another takes it over.
        let is_kept = match departure {
            Departure::Offline => true,
            Departure::Unclear => !is_clean && !subscriber.is_offline(),
            Departure::Ended => false,
        };
        if !is_kept {
            state.end(handle);
        } else if !subscriber.is_offline() {
            state.goes_offline(handle);
        }
    }

    /// This user comes in under this identifier, by this handle, and goes on with the session that there
    /// is if it `keeps` it.
    pub(crate) fn enters(&self, handle: usize, client_id: &str, username: &str, keeps: bool) {
        let mut state = lock(&self.0);
        let state = &mut *state;
        let Some(before) = state.handles.get(client_id).copied() else { return };
        let Some(subscriber) = state.subscribers.get(&before) else { return };
        if before == handle && !subscriber.is_offline() {
            return;
        }
        if !keeps || subscriber.snapshot.username != username {
            // The broker tells of the end of those that are connected.
            if subscriber.is_offline() {
                state.end(before);
            }
            return;
        }
        match state.subscribers.get(&handle).map(Subscriber::is_offline) {
            // Another is connected by this handle, since this one has given its login up.
            Some(false) => return,
            // The handle of a session that has ended meanwhile.
            Some(true) if before != handle => state.end(handle),
            _ => {}
        }
        let was_offline = state.rename(before, handle);
        if let Some(subscriber) = state.subscribers.get_mut(&handle) {
            subscriber.before = was_offline.map(|was_offline| (before, was_offline));
        }
    }

    /// The client that was to come in by this handle has left, or the broker refuses it: what it would have
    /// gone on with stays.
    pub(crate) fn stays_out(&self, handle: usize, client_id: &str) {
        let mut state = lock(&self.0);
        let Some(subscriber) = state.subscribers.get_mut(&handle) else { return };
        if subscriber.snapshot.id() != client_id {
            return;
        }
        let Some((before, was_offline)) = subscriber.before.take() else { return };
        state.rename(handle, before);
        if was_offline {
            state.goes_offline(before);
        }
    }

    /// Whether this client has subscribed, and not left since.
    #[must_use]
    pub(crate) fn is_online(&self, handle: usize, client_id: &str) -> bool {
        let state = lock(&self.0);
        let known = state.subscribers.get(&handle).filter(|known| known.snapshot.id() == client_id);
        known.is_some_and(|known| !known.is_offline())
    }

    /// Whether the session of this client is offline.
    #[must_use]
    pub(crate) fn is_offline(&self, handle: usize) -> bool {
        lock(&self.0).subscribers.get(&handle).is_some_and(Subscriber::is_offline)
    }

    /// The QoS of each subscription of this client that a message with this topic name matches, the highest first.
    #[must_use]
    pub(crate) fn qos_of_each(&self, handle: usize, client_id: &str, topic: &str) -> Vec<u8> {
        let state = lock(&self.0);
        let known = state.subscribers.get(&handle).filter(|known| known.snapshot.id() == client_id);
        let filters = known.iter().flat_map(|known| &known.filters);
        let matching = filters.filter(|(filter, _)| matches(filter, topic));
        let mut each: Vec<_> = matching.map(|(_, qos)| *qos).collect();
        each.sort_unstable_by(|one, other| other.cmp(one));
        each
    }

    /// Those whom a message with this topic name goes to, up to so many.
    #[must_use]
    pub(crate) fn of(&self, topic: &str, most: usize) -> Vec<Arc<ClientSnapshot>> {
        let state = lock(&self.0);
        let mut found = HashSet::new();
        let levels: Vec<_> = topic.split('/').collect();
        state.root.find(&levels, topic.starts_with('$'), &mut found);
        let subscribers = found.into_iter().filter_map(|handle| state.subscribers.get(&handle));
        subscribers
            .filter(|known| !known.is_offline())
            .take(most)
            .map(|subscriber| Arc::clone(&subscriber.snapshot))
            .collect()
    }
}

impl State {
    /// Takes a client and its filters out.
    fn take(&mut self, handle: usize) -> Option<Subscriber> {
        let subscriber = self.subscribers.remove(&handle)?;
        if subscriber.is_offline() {
            self.offline.retain(|known| *known != handle);
        }
        if self.handles.get(subscriber.snapshot.id()) == Some(&handle) {
            self.handles.remove(subscriber.snapshot.id());
        }
        for filter in subscriber.filters.keys() {
            self.root.remove(filter.split('/'), handle);
        }
        Some(subscriber)
    }

    /// A client is known by another handle, and connected; whether it was offline.
    fn rename(&mut self, before: usize, handle: usize) -> Option<bool> {
        let mut subscriber = self.take(before)?;
        let known = &subscriber.snapshot;
        subscriber.snapshot = Arc::new(ClientSnapshot { handle, ..ClientSnapshot::clone(known) });
        let was_offline = subscriber.offline_permit.take().is_some();
        for filter in subscriber.filters.keys() {
            self.root.insert(filter, handle);
        }
        self.handles.insert(subscriber.snapshot.id().into(), handle);
        self.subscribers.insert(handle, subscriber);
        Some(was_offline)
    }

    fn goes_offline(&mut self, handle: usize) {
        let Some(subscriber) = self.subscribers.get_mut(&handle) else { return };
        let permit = self.offline_memory.take(subscriber.permit.bytes());
        subscriber.offline_permit = Some(permit);
        self.offline.push_back(handle);
        while self.offline_memory.taken() > MOST_OFFLINE {
            let Some(first) = self.offline.pop_front() else { break };
            self.end(first);
        }
    }

    fn end(&mut self, handle: usize) {
        self.take(handle);
    }
}

/// Whether a message with this topic name goes to whoever has this subscription.
fn matches(filter: &str, topic: &str) -> bool {
    // `$share/GROUP/FILTER`
    let filter = match filter.strip_prefix("$share/").map(|rest| rest.split_once('/')) {
        Some(Some((_, filter))) => filter,
        _ => filter,
    };
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, level) if level == Some(wanted) => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

impl Node {
    /// Notes a subscriber of this filter. What is shared goes to one of its members only, so that is left
    /// out.
    fn insert(&mut self, filter: &str, handle: usize) {
        if !is_shared(filter) {
            let mut node = self;
            for level in filter.split('/') {
                node = node.children.entry(level.into()).or_default();
            }
            node.subscribers.insert(handle);
        }
    }

    /// Adds the subscribers of every filter that matches these levels (MQTT 5.0, section 4.7).
    fn find(&self, levels: &[&str], wildcards_are_out: bool, found: &mut HashSet<usize>) {
        let all_below = if wildcards_are_out { None } else { self.children.get("#") };
        found.extend(all_below.iter().flat_map(|node| &node.subscribers));
        let Some((level, rest)) = levels.split_first() else {
            found.extend(&self.subscribers);
            return;
        };
        let any = if wildcards_are_out { None } else { self.children.get("+") };
        for node in self.children.get(*level).into_iter().chain(any) {
            node.find(rest, false, found);
        }
    }

    /// Takes a subscriber out; whether nothing is left then.
    fn remove<'a>(&mut self, mut levels: impl Iterator<Item = &'a str>, handle: usize) -> bool {
        match levels.next() {
            None => {
                self.subscribers.remove(&handle);
            }
            Some(level) => {
                let child = self.children.get_mut(level);
                if child.is_some_and(|child| child.remove(levels, handle)) {
                    self.children.remove(level);
                }
            }
        }
        self.children.is_empty() && self.subscribers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(handle: usize) -> ClientSnapshot {
        ClientSnapshot {
            clean_session: false,
            ..ClientSnapshot::named(handle, &format!("client-{handle}"), "ann")
        }
    }

    fn add(subscriptions: &Subscriptions, handle: usize, filter: &str) {
        subscriptions.add(&client(handle), filter, 1, || client(handle));
    }

    #[track_caller]
    fn finds(subscriptions: &Subscriptions, topic: &str, handles: &[usize]) {
        let expected: Vec<_> = handles.iter().map(|handle| format!("client-{handle}")).collect();
        let found = subscriptions.of(topic, 100);
        let mut found: Vec<_> = found.iter().map(|snapshot| snapshot.id.clone()).collect();
        found.sort();
        assert_eq!(found, expected, "{topic}");
    }

    #[test]
    fn a_message_finds_whoever_subscribed_to_its_topic() {
        let subscriptions = Subscriptions::default();
        for (handle, filter) in (1..).zip(["a/b", "a/+", "a/#", "#", "+/b", "a/b/#", "$SYS/#"]) {
            add(&subscriptions, handle, filter);
        }
        add(&subscriptions, 8, "$share/g/a/b");
        finds(&subscriptions, "a/b", &[1, 2, 3, 4, 5, 6]);
        finds(&subscriptions, "a", &[3, 4]);
        finds(&subscriptions, "a/b/c", &[3, 4, 6]);
        finds(&subscriptions, "/b", &[4, 5]);
        finds(&subscriptions, "$SYS/b", &[7]);
        assert_eq!(subscriptions.of("a/b", 2).len(), 2);
    }

    #[test]
    fn a_client_with_several_matching_subscriptions_is_found_once() {
        let subscriptions = Subscriptions::default();
        add(&subscriptions, 1, "a/b");
        add(&subscriptions, 1, "a/#");
        finds(&subscriptions, "a/b", &[1]);
        subscriptions.remove(1, "a/b");
        finds(&subscriptions, "a/b", &[1]);
        subscriptions.remove(1, "a/#");
        finds(&subscriptions, "a/b", &[]);
    }

    #[test]
    fn whoever_leaves_leaves_nothing_behind() {
        let subscriptions = Subscriptions::default();
        for filter in ["a/b", "a/b/c", "+/#"] {
            add(&subscriptions, 1, filter);
            add(&subscriptions, 2, filter);
        }
        subscriptions.left(1, Departure::Ended);
        finds(&subscriptions, "a/b/c", &[2]);
        subscriptions.remove(1, "a/b");
        subscriptions.left(2, Departure::Ended);
        assert!(is_empty(&subscriptions));
    }

    fn is_empty(subscriptions: &Subscriptions) -> bool {
        let state = lock(&subscriptions.0);
        let is_known = !state.handles.is_empty() || !state.offline.is_empty();
        let is_counted = state.memory.taken() + state.offline_memory.taken() > 0;
        state.root.children.is_empty() && state.subscribers.is_empty() && !is_known && !is_counted
    }

    #[test]
    fn what_is_known_is_bounded_for_each_client_and_for_all() {
        let subscriptions = Subscriptions::default();
        let bytes = || lock(&subscriptions.0).memory.taken();
        add(&subscriptions, 1, &"/".repeat(60_000));
        assert!(is_empty(&subscriptions), "a node for each level would be megabytes");
        for number in 0..1000 {
            add(&subscriptions, 1, &format!("{number}/{}", "x".repeat(1000)));
        }
        assert!(bytes() <= MOST_OF_A_CLIENT);
        for handle in 2..400 {
            for number in 0..100 {
                add(&subscriptions, handle, &format!("{number}/{}", "x".repeat(1000)));
            }
        }
        assert!(bytes() <= MOST);
        add(&subscriptions, 1000, "a/b");
        finds(&subscriptions, "a/b", &[1000]);
        (0..=1000).for_each(|handle| subscriptions.left(handle, Departure::Ended));
        assert!(is_empty(&subscriptions));
    }

    #[test]
    fn each_copy_of_a_message_has_the_qos_of_its_subscription() {
        let subscriptions = Subscriptions::default();
        let client = client(1);
        for (filter, qos) in [("a/+", 0), ("a/#", 1), ("$share/g/s/#", 2), ("#", 0)] {
            subscriptions.add(&client, filter, qos, || client.clone());
        }
        let each = |topic| subscriptions.qos_of_each(1, "client-1", topic);
        for (topic, qos) in [
            ("a/b", &[1, 0, 0][..]),
            ("a", &[1, 0]),
            ("s/1", &[2, 0]),
            ("other", &[0]),
            ("$SYS/a", &[]),
        ] {
            assert_eq!(each(topic), qos, "{topic}");
        }
        subscriptions.add(&client, "#", 2, || client.clone());
        assert_eq!(each("other"), [2], "a new subscription replaces the old");
        let of_another = subscriptions.qos_of_each(1, "client-2", "a");
        assert!(of_another.is_empty(), "the handle is another's");
    }

    #[test]
    fn a_kept_session_keeps_its_subscriptions_for_the_same_user() {
        for (departures, username, keeps, known) in [
            (&[Departure::Offline][..], "ann", true, true),
            (&[Departure::Unclear], "ann", true, true),
            (&[Departure::Unclear, Departure::Unclear], "ann", true, false),
            (&[Departure::Ended], "ann", true, false),
            (&[Departure::Offline], "bob", true, false),
            (&[Departure::Offline], "ann", false, false),
        ] {
            let subscriptions = Subscriptions::default();
            add(&subscriptions, 1, "a/#");
            departures.iter().for_each(|departure| subscriptions.left(1, *departure));
            finds(&subscriptions, "a/b", &[]);
            subscriptions.enters(2, "client-1", username, keeps);
            let qos = subscriptions.qos_of_each(2, "client-1", "a/b");
            assert_eq!(qos == [1], known, "{departures:?} {username} {keeps}");
            subscriptions.left(2, Departure::Ended);
            subscriptions.left(1, Departure::Ended);
            assert!(is_empty(&subscriptions));
        }
    }

    #[test]
    fn a_client_that_takes_its_own_session_over_keeps_its_subscriptions() {
        let subscriptions = Subscriptions::default();
        add(&subscriptions, 1, "a/#");
        subscriptions.enters(2, "client-1", "ann", true);
        subscriptions.left(1, Departure::Ended);
        assert_eq!(subscriptions.qos_of_each(2, "client-1", "a/b"), [1]);
        finds(&subscriptions, "a/b", &[1]);
    }

    #[test]
    fn clients_that_do_not_come_back_are_forgotten() {
        let subscriptions = Subscriptions::default();
        for handle in 1..200 {
            for number in 0..100 {
                add(&subscriptions, handle, &format!("{number}/{}", "x".repeat(1000)));
            }
            subscriptions.left(handle, Departure::Offline);
        }
        assert!(lock(&subscriptions.0).memory.taken() <= MOST_OFFLINE);
        let topic = format!("1/{}", "x".repeat(1000));
        assert_eq!(subscriptions.qos_of_each(199, "client-199", &topic), [1]);
    }
}
