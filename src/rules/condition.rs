//! Whom a rule is for, beside the names in its topic.
//!
//! Where a client comes from and what it is called stays as it is for as long as it is connected, so its
//! conditions are judged once, and what came of that is passed in with its names from then on.

#![forbid(unsafe_code)]

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::patterns::{self, compiled};

/// How many different conditions the rules of an answer may have.
pub(crate) const MAX_CONDITIONS: usize = 256;
// Each may have two patterns.
const _: () = assert!(patterns::MOST >= 2 * MAX_CONDITIONS);

/// How long a name may be that patterns are held against, in bytes: the broker waits for it.
const NAME_BYTES: usize = 1024;

/// What must hold for a client, so that a rule is for it.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Condition {
    /// Where it comes from.
    pub network: Option<Network>,
    /// Patterns, of which a part of the name is enough.
    pub username: Option<String>,
    pub client_id: Option<String>,
}

/// An address, or all addresses that begin alike (RFC 4632, RFC 4291).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// What conditions are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Whom<'a> {
    /// None: it is not known.
    pub address: Option<IpAddr>,
    pub username: &'a str,
    pub client_id: &'a str,
}

/// The different conditions of a set of rules.
#[derive(Default, PartialEq, Eq, Hash)]
pub(crate) struct Conditions {
    different: Vec<Bound>,
    /// The position of each rule that has one, and its number.
    of_rules: Vec<(u16, u16)>,
}

/// A condition, and what follows where it cannot be judged.
#[derive(PartialEq, Eq, Hash)]
struct Bound {
    condition: Condition,
    /// A rule that denies is for whoever it may be for, and one that allows for nobody else than it says.
    if_unknown: bool,
}

/// Which conditions of a set of rules a client meets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConditionsMet(Arc<[u64; MAX_CONDITIONS / 64]>);

impl Condition {
    pub const NONE: Self = Self { network: None, username: None, client_id: None };

    /// None: it cannot be judged. A part of it that does not hold is enough for a no.
    fn holds(&self, whom: Whom<'_>) -> Option<bool> {
        let network = self.network.map(|network| Some(network.contains(whom.address?)));
        let username = self.username.as_deref().map(|text| occurs(text, whom.username));
        let client_id = self.client_id.as_deref().map(|text| occurs(text, whom.client_id));
        let parts = [network, username, client_id];
        if parts.contains(&Some(Some(false))) {
            return Some(false);
        }
        (!parts.contains(&Some(None))).then_some(true)
    }
}

/// Whether a pattern occurs in a name; none: that cannot be told.
fn occurs(pattern: &str, name: &str) -> Option<bool> {
    if name.len() > NAME_BYTES {
        return None;
    }
    Some(compiled(pattern).ok()?.is_match(name))
}

/// Why a text is no pattern; none when it is one.
fn problem(name: &str, pattern: Option<&str>) -> Option<String> {
    let problem = compiled(pattern?).err()?;
    let shown = super::shown(pattern?);
    Some(format!("the pattern \"{shown}\" of {name} cannot be used: {problem}"))
}

impl Network {
    /// Reads `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            Some(_) => return None,
        };
        if prefix > bits {
            return None;
        }
        // A client's IPv4 address is always taken as such (RFC 4291, section 2.5.5.2).
        match address.to_canonical() {
            mapped if mapped.is_ipv4() && bits == 128 && prefix >= 96 => {
                Some(Self { address: mapped, prefix: prefix - 96 })
            }
            _ => Some(Self { address, prefix }),
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                let differ = one.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                let differ = one.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(network) = self.network {
            write!(f, ", ipaddr {network}")?;
        }
        if let Some(pattern) = &self.username {
            write!(f, ", username_re {}", super::shown(pattern))?;
        }
        if let Some(pattern) = &self.client_id {
            write!(f, ", clientid_re {}", super::shown(pattern))?;
        }
        Ok(())
    }
}

impl Conditions {
    /// Notes the condition of the rule in this position, which is behind all others so far. Its number: 0 for
    /// none, else what [`ConditionsMet::holds`] knows it by.
    ///
    /// # Errors
    /// A pattern is none or too large, or there are too many conditions.
    pub(crate) fn add(
        &mut self,
        position: u16,
        condition: &Condition,
        if_unknown: bool,
    ) -> Result<u16, String> {
        if *condition == Condition::NONE {
            return Ok(0);
        }
        let number = self.number(condition, if_unknown)?;
        self.of_rules.push((position, number));
        Ok(number)
    }

    fn number(&mut self, condition: &Condition, if_unknown: bool) -> Result<u16, String> {
        let is_it = |bound: &Bound| bound.condition == *condition && bound.if_unknown == if_unknown;
        if let Some(known) = self.different.iter().position(is_it) {
            return Ok(known as u16 + 1);
        }
        if self.different.len() == MAX_CONDITIONS {
            return Err(format!("there are more than {MAX_CONDITIONS} different conditions"));
        }
        let username = problem("username_re", condition.username.as_deref());
        match username.or_else(|| problem("clientid_re", condition.client_id.as_deref())) {
            Some(problem) => Err(problem),
            None => {
                self.different.push(Bound { condition: condition.clone(), if_unknown });
                Ok(self.different.len() as u16)
            }
        }
    }

    /// The condition of the rule in this position.
    #[must_use]
    pub(crate) fn of(&self, position: usize) -> &Condition {
        const NONE: &Condition = &Condition::NONE;
        let found = self.of_rules.binary_search_by_key(&position, |(at, _)| usize::from(*at));
        let number =
            found.ok().and_then(|found| self.of_rules.get(found)).map(|(_, number)| *number);
        let index = number.and_then(|number| usize::from(number).checked_sub(1));
        index.and_then(|index| self.different.get(index)).map_or(NONE, |bound| &bound.condition)
    }

    /// Which of them a client meets; none: there are none.
    #[must_use]
    pub(crate) fn met_by(&self, whom: Whom<'_>) -> Option<ConditionsMet> {
        if self.different.is_empty() {
            return None;
        }
        let mut met = [0; MAX_CONDITIONS / 64];
        for (index, Bound { condition, if_unknown }) in self.different.iter().enumerate() {
            if condition.holds(whom).unwrap_or(*if_unknown) {
                met[index / 64] |= 1 << (index % 64);
            }
        }
        Some(ConditionsMet(Arc::new(met)))
    }

    /// Gives back what growing took too much.
    pub(crate) fn shrink(&mut self) {
        self.different.shrink_to_fit();
        self.of_rules.shrink_to_fit();
    }

    /// The bytes that they take beside themselves.
    #[must_use]
    pub(crate) fn heap_bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = self.different.iter().map(|Bound { condition, .. }| {
            text(&condition.username) + text(&condition.client_id) + 2 * super::ALLOCATOR_BYTES
        });
        let numbers = self.of_rules.capacity() * size_of::<(u16, u16)>();
        self.different.capacity() * size_of::<Bound>() + texts.sum::<usize>() + numbers
    }
}

/// A rule's place in the order of rules, and the number of its condition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuleRef {
    pub position: u16,
    pub condition: u16,
}

impl RuleRef {
    /// Whether the rule is for a client that meets these; none: there are no conditions.
    #[must_use]
    pub(crate) fn counts(self, met: Option<&ConditionsMet>) -> bool {
        self.condition == 0 || met.is_some_and(|met| met.holds(self.condition))
    }
}

impl ConditionsMet {
    /// Whether the condition of this number holds.
    #[must_use]
    pub(crate) fn holds(&self, number: u16) -> bool {
        let Some(index) = usize::from(number).checked_sub(1) else { return true };
        self.0.get(index / 64).is_some_and(|bits| bits & 1 << (index % 64) != 0)
    }
}

#[cfg(any(test, fuzzing))]
impl super::Rule {
    /// Whether it is for this client.
    pub(crate) fn is_for(&self, whom: Whom<'_>) -> bool {
        self.condition.holds(whom).unwrap_or(self.permission == super::Permission::Deny)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Whom<'_> = Whom { address: None, username: "ann", client_id: "c1" };

    fn from(address: &str) -> Whom<'_> {
        Whom { address: Some(address.parse().unwrap()), ..ANN }
    }

    fn network(text: &str) -> Condition {
        Condition { network: Some(Network::read(text).unwrap()), ..Condition::NONE }
    }

    fn username(pattern: &str) -> Condition {
        Condition { username: Some(pattern.into()), ..Condition::NONE }
    }

    #[test]
    fn an_address_is_in_a_network() {
        for (text, address, is_in) in [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("192.0.2.7/24", "192.0.2.200", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("0.0.0.0/0", "192.0.2.7", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.7", false),
            ("2001:db8::/33", "2001:db8:7fff::", true),
            ("2001:db8::/33", "2001:db8:8000::", false),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("::ffff:192.0.2.0/120", "192.0.2.7", true),
            ("::ffff:192.0.2.7", "192.0.2.7", true),
            ("::ffff:192.0.2.7", "192.0.2.8", false),
        ] {
            assert_eq!(network(text).holds(from(address)), Some(is_in), "{text} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in [
            "",
            "a",
            "192.0.2",
            "192.0.2.7/33",
            "192.0.2.7/",
            "192.0.2.7/+8",
            "192.0.2.7/ 8",
            "::/129",
            "/8",
            "192.0.2.7/8/8",
            " 192.0.2.7",
            "192.0.2.7-192.0.2.9",
            "192.0.2.7/256",
            "localhost",
        ] {
            assert_eq!(Network::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_pattern_may_occur_anywhere_in_a_name() {
        for (pattern, occurs) in [
            ("nn", true),
            ("^ann$", true),
            ("^nn", false),
            ("A", false),
            ("(?i)A", true),
            ("[[:digit:]]|n{2}", true),
            (r"\d", false),
        ] {
            assert_eq!(username(pattern).holds(ANN), Some(occurs), "{pattern}");
        }
    }

    #[test]
    fn all_parts_must_hold() {
        let both = Condition { client_id: Some("^c".into()), ..username("^a") };
        assert_eq!(both.holds(ANN), Some(true));
        assert_eq!(both.holds(Whom { username: "ben", ..ANN }), Some(false));
        assert_eq!(both.holds(Whom { client_id: "d", ..ANN }), Some(false));
        let unknown = Condition { network: network("192.0.2.7").network, ..both };
        assert_eq!(unknown.holds(ANN), None);
        assert_eq!(unknown.holds(Whom { client_id: "d", ..ANN }), Some(false));
    }

    #[test]
    fn what_cannot_be_judged_denies_and_does_not_allow() {
        let mut conditions = Conditions::default();
        let allowing = conditions.add(0, &network("192.0.2.7"), false).unwrap();
        let denying = conditions.add(0, &network("192.0.2.7"), true).unwrap();
        let named = conditions.add(0, &username("x"), true).unwrap();
        let holds = |whom: Whom<'_>| {
            let met = conditions.met_by(whom).unwrap();
            [0, allowing, denying, named].map(|number| met.holds(number))
        };
        assert_eq!(holds(ANN), [true, false, true, false]);
        assert_eq!(holds(from("192.0.2.7")), [true, true, true, false]);
        assert_eq!(holds(from("192.0.2.8")), [true, false, false, false]);
        let long = "y".repeat(NAME_BYTES + 1);
        assert_eq!(holds(Whom { username: &long, ..ANN }), [true, false, true, true]);
        assert_eq!(holds(Whom { username: &long[1..], ..ANN }), [true, false, true, false]);
    }

    #[test]
    fn conditions_are_counted_once_and_bounded() {
        let mut conditions = Conditions::default();
        assert_eq!(conditions.met_by(ANN), None);
        for number in 0..MAX_CONDITIONS {
            let condition = username(&format!("^{number}$"));
            assert_eq!(conditions.add(0, &condition, false), Ok(number as u16 + 1));
            assert_eq!(conditions.add(0, &condition, false), Ok(number as u16 + 1));
        }
        assert!(conditions.add(0, &username("one too many"), false).is_err());
        assert_eq!(conditions.add(0, &Condition::NONE, false), Ok(0));
        let met = conditions.met_by(Whom { username: "255", ..ANN }).unwrap();
        let all: Vec<_> = (0..=256).filter(|number| met.holds(*number)).collect();
        assert_eq!(all, [0, 256]);
    }

    #[test]
    fn each_rule_has_its_own() {
        let mut conditions = Conditions::default();
        let (ann, ben) = (username("ann"), username("ben"));
        for (position, condition) in [(1, &ann), (2, &Condition::NONE), (3, &ben), (9, &ann)] {
            conditions.add(position, condition, false).unwrap();
        }
        let expected = [&Condition::NONE, &ann, &Condition::NONE, &ben, &Condition::NONE];
        assert_eq!([0, 1, 2, 3, 4].map(|position| conditions.of(position)), expected);
        assert_eq!(conditions.of(9), &ann);
    }

    #[test]
    fn a_bad_or_large_pattern_is_refused() {
        for pattern in ["(", "a{1000}{1000}", "(?=a)", r"(a)\1", "[", "*", "(?<=a)b"] {
            let problem = Conditions::default().add(0, &username(pattern), false).unwrap_err();
            assert!(problem.starts_with("the pattern \""), "{pattern}: {problem}");
        }
        let deep = "(".repeat(10_000) + &")".repeat(10_000);
        assert!(Conditions::default().add(0, &username(&deep), false).is_err());
    }

    #[test]
    fn no_pattern_takes_long() {
        // Whoever goes back and tries anew would still be at it.
        let name = "a".repeat(NAME_BYTES);
        let slow = username("(a*)*(a*)*(a|aa)+$b");
        assert_eq!(slow.holds(Whom { username: &name, ..ANN }), Some(false));
    }
}
