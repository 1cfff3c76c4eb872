#![forbid(unsafe_code)]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::answer::Outcome;
use crate::fake;
use crate::rules::{Condition, Rule, Rules, Verb};

const ON_ERROR: [OnError; 3] = [OnError::Deny, OnError::Defer, OnError::Allow];

/// What a set of rules says of the topic that is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RulesSay {
    NotGiven,
    Nothing,
    Allow,
    Deny,
}

fn rules(say: RulesSay) -> Option<Arc<Rules>> {
    let (permission, topic) = match say {
        RulesSay::NotGiven => return None,
        RulesSay::Nothing => (Permission::Allow, "other"),
        RulesSay::Allow => (Permission::Allow, "own/${clientid}"),
        RulesSay::Deny => (Permission::Deny, "own/${clientid}"),
    };
    let first = Rule { permission: Permission::Deny, topic: "first".into(), ..EVERYTHING };
    let second = Rule { permission, topic: topic.into(), ..EVERYTHING };
    Some(Arc::new(Rules::compile(vec![first, second]).unwrap()))
}

const EVERYTHING: Rule = Rule {
    permission: Permission::Allow,
    verb: Verb::All,
    topic: String::new(),
    qos: None,
    retain: None,
    condition: Condition::NONE,
};

fn action(access: Access) -> Action<'static> {
    Action { access, topic: "own/c1", qos: 0, retain: false }
}

const SUBJECT: Subject<'_> =
    Subject { client_id: "c1", username: "ann", is_away: false, file_allows: None };

const BOTH: Policy = Policy { superuser_route: true, acl_route: true, on_error: OnError::Deny };
const ACL: Policy = Policy { superuser_route: false, ..BOTH };
const NEITHER: Policy = Policy { acl_route: false, ..ACL };
const SUPERUSER: Policy = Policy { superuser_route: true, ..NEITHER };

fn grants(rules_say: RulesSay, is_superuser: Option<bool>) -> Grants {
    Grants { rules: rules(rules_say), is_superuser, ..Grants::default() }
}

fn answers(superuser: Option<Outcome>, access: Option<Outcome>) -> AnswersSoFar {
    AnswersSoFar { superuser, access }
}

const REFUSED: Failure = Failure::Refused;

#[test]
fn every_reason_has_its_decision() {
    use Decision::{Allow, Defer, Deny, Unavailable};
    use RulesSay::{NotGiven, Nothing};
    let decided = |decision, reason| Step::Decided(decision, reason);
    let (yes, no, ignore) =
        (|| Some(Ok(Answer::ALLOW)), || Some(Ok(Answer::DENY)), || Some(Ok(Answer::IGNORE)));
    let failed = || Some(Err(REFUSED));
    let superuser_failed = Reason::Failure(Kind::Superuser, REFUSED);
    let acl_failed = Reason::Failure(Kind::Access, REFUSED);
    let (by_acl, by_superuser) =
        (Reason::Answer(Kind::Access, None), Reason::Answer(Kind::Superuser, None));
    let table = [
        // What is decided at once.
        (
            BOTH,
            grants(RulesSay::Deny, Some(true)),
            answers(None, None),
            decided(Allow, Reason::Superuser),
        ),
        (BOTH, grants(RulesSay::Allow, None), answers(None, None), decided(Allow, Reason::Rule(1))),
        (
            BOTH,
            grants(RulesSay::Deny, Some(false)),
            answers(None, None),
            decided(Deny, Reason::Rule(1)),
        ),
        (ACL, grants(RulesSay::Deny, None), answers(None, None), decided(Deny, Reason::Rule(1))),
        (NEITHER, grants(Nothing, None), answers(None, None), decided(Deny, Reason::NoRule)),
        (
            NEITHER,
            grants(NotGiven, None),
            answers(None, None),
            decided(Defer, Reason::NoAccessRoute),
        ),
        // What is asked.
        (BOTH, grants(RulesSay::Deny, None), answers(None, None), Step::AskSuperuser),
        (SUPERUSER, grants(Nothing, None), answers(None, None), Step::AskSuperuser),
        (BOTH, grants(NotGiven, None), answers(no(), None), Step::AskAcl),
        (BOTH, grants(Nothing, None), answers(failed(), None), Step::AskAcl),
        (BOTH, grants(Nothing, Some(false)), answers(None, None), Step::AskAcl),
        (ACL, grants(NotGiven, None), answers(None, None), Step::AskAcl),
        // What follows from answers.
        (BOTH, grants(RulesSay::Deny, None), answers(yes(), None), decided(Allow, by_superuser)),
        (BOTH, grants(RulesSay::Deny, None), answers(no(), None), decided(Deny, Reason::Rule(1))),
        (SUPERUSER, grants(Nothing, None), answers(no(), None), decided(Deny, Reason::NoRule)),
        (
            SUPERUSER,
            grants(NotGiven, None),
            answers(no(), None),
            decided(Defer, Reason::NoAccessRoute),
        ),
        (ACL, grants(NotGiven, None), answers(None, yes()), decided(Allow, by_acl.clone())),
        (ACL, grants(Nothing, None), answers(None, no()), decided(Deny, by_acl.clone())),
        (ACL, grants(Nothing, None), answers(None, ignore()), decided(Defer, by_acl.clone())),
        // What follows from failures.
        (ACL, grants(NotGiven, None), answers(None, failed()), decided(Unavailable, acl_failed)),
        (BOTH, grants(NotGiven, None), answers(failed(), yes()), decided(Allow, by_acl)),
        (
            BOTH,
            grants(NotGiven, None),
            answers(failed(), no()),
            decided(Unavailable, superuser_failed.clone()),
        ),
        (
            BOTH,
            grants(RulesSay::Deny, None),
            answers(failed(), None),
            decided(Unavailable, superuser_failed.clone()),
        ),
        (
            SUPERUSER,
            grants(NotGiven, None),
            answers(failed(), None),
            decided(Unavailable, superuser_failed),
        ),
    ];
    for access in [Access::Read, Access::Write, Access::Subscribe] {
        for (policy, grants, answers, expected) in &table {
            let step = decide(*policy, grants, SUBJECT, action(access), answers);
            assert_eq!(step, *expected, "{policy:?} {grants:?} {access:?}");
        }
    }
    let granted = grants(RulesSay::Deny, None);
    let step = decide(BOTH, &granted, SUBJECT, action(Access::Unsubscribe), &answers(None, None));
    assert_eq!(step, decided(Allow, Reason::Unsubscribe));
}

#[test]
fn what_is_queued_for_a_client_that_is_away_is_decided_when_it_comes_back() {
    let step = |rules_say, has_expired, is_away, access| {
        let grants = Grants { has_expired, ..grants(rules_say, None) };
        let client = Subject { is_away, ..SUBJECT };
        decide(NEITHER, &grants, client, action(access), &AnswersSoFar::default())
    };
    let decided = |decision, reason| Step::Decided(decision, reason);
    let allowed = decided(Decision::Allow, Reason::NoAccessRoute);
    let left = decided(Decision::Defer, Reason::NoAccessRoute);
    let denied = decided(Decision::Deny, Reason::NoRule);
    use RulesSay::{Allow, NotGiven, Nothing};
    assert_eq!(step(NotGiven, false, true, Access::Read), allowed);
    assert_eq!(step(NotGiven, false, false, Access::Read), left);
    assert_eq!(step(NotGiven, false, true, Access::Write), left); // its Will
    assert_eq!(step(Nothing, false, true, Access::Read), denied);
    // Rules that were given until a time that is over.
    assert_eq!(step(Allow, true, true, Access::Read), allowed);
    assert_eq!(step(Allow, true, true, Access::Write), denied); // none of them matches
}

#[test]
fn rules_that_deny_the_rest_leave_nothing_to_the_acl_route() {
    let closed = |say| {
        let rules = Arc::into_inner(rules(say).unwrap()).unwrap().and_nothing_else();
        Grants { rules: Some(Arc::new(rules)), ..grants(say, None) }
    };
    let step = |grants: &Grants, policy, answers: &AnswersSoFar| {
        decide(policy, grants, SUBJECT, action(Access::Write), answers)
    };
    let none = AnswersSoFar::default();
    let denied = Step::Decided(Decision::Deny, Reason::NoRule);
    assert_eq!(step(&closed(RulesSay::Nothing), ACL, &none), denied);
    assert_eq!(step(&closed(RulesSay::Nothing).expired(), ACL, &none), denied);
    assert_eq!(
        step(&closed(RulesSay::Allow), ACL, &none),
        Step::Decided(Decision::Allow, Reason::Rule(1))
    );
    // A superuser is one all the same.
    assert_eq!(step(&closed(RulesSay::Nothing), BOTH, &none), Step::AskSuperuser);
    assert_eq!(
        step(&closed(RulesSay::Nothing), BOTH, &answers(Some(Ok(Answer::DENY)), None)),
        denied
    );
}

/// The options for [`gate`], with a file of local users.
fn options(more: &[(&str, &str)]) -> Config {
    let given = [("http_host", "127.0.0.1"), ("http_user_route", "/user")];
    fake::config(&[&given, more].concat())
}

#[test]
fn the_gate_lets_nobody_pass_whom_a_name_decides() {
    type Row =
        (&'static [(&'static str, &'static str)], &'static str, Option<&'static str>, Passed);
    type Passed = Result<&'static str, (Decision, Reason)>;
    const FILE: (&str, &str) = ("local_users_file", "/names");
    let table: &[Row] = &[
        (&[], "c1", Some("ann"), Ok("ann")),
        (&[], "c+", Some("ann"), Err((Decision::Deny, Reason::SpecialChars))),
        (&[], "c1", Some("a#"), Err((Decision::Deny, Reason::SpecialChars))),
        (&[], "c#", None, Err((Decision::Deny, Reason::SpecialChars))),
        (&[], "c1", None, Err((Decision::Defer, Reason::NoUsername))),
        (&[("anonymous_username", "nobody")], "c1", None, Ok("nobody")),
        (&[FILE], "c1", Some("ann"), Ok("ann")),
        (&[FILE], "c1", Some("local"), Err((Decision::Allow, Reason::LocalUser))),
        (
            &[FILE, ("local_users_acl", "defer")],
            "c1",
            Some("local"),
            Err((Decision::Defer, Reason::LocalUser)),
        ),
        (&[], "c1", Some("local"), Ok("local")),
    ];
    for (given, client_id, username, expected) in table {
        let config = options(given);
        let passed = gate(&config, client_id, *username, |name| name == "local");
        assert_eq!(passed, *expected, "{given:?} {client_id} {username:?}");
    }
    let strict = Config { empty_credentials: EmptyCredentials::Deny, ..options(&[]) };
    let expected = Err((Decision::Deny, Reason::EmptyCredentials));
    assert_eq!(gate(&strict, "c1", None, |_| false), expected);
}

/// One answer after the other, as the broker's check and the command go about it.
fn one_by_one(
    policy: Policy,
    grants: &Grants,
    client: Subject<'_>,
    action: Action<'_>,
    api: &AnswersSoFar,
) -> (Step, Vec<Kind>) {
    let (mut answers, mut asked) = (AnswersSoFar::default(), Vec::new());
    loop {
        let step = decide(policy, grants, client, action, &answers);
        let Some(kind) = step.question() else { return (step, asked) };
        asked.push(kind);
        let outcome = if kind == Kind::Superuser { &api.superuser } else { &api.access };
        answers.note(kind, outcome.clone().unwrap());
    }
}

/// All that may be asked at once, as `checkAccess` goes about it.
fn at_once(
    policy: Policy,
    grants: &Grants,
    client: Subject<'_>,
    action: Action<'_>,
    api: &AnswersSoFar,
) -> Step {
    let mut answers = AnswersSoFar::default();
    for kind in questions(policy, grants, client, action) {
        let outcome = if kind == Kind::Superuser { &api.superuser } else { &api.access };
        answers.note(kind, outcome.clone().unwrap());
    }
    decide(policy, grants, client, action, &answers)
}

/// The same in plain words, as the documentation puts it.
fn as_documented(
    policy: Policy,
    grants: &Grants,
    client: Subject<'_>,
    action: Action<'_>,
    rules_say: RulesSay,
    api: &AnswersSoFar,
) -> Decision {
    let is_read = action.access == Access::Read;
    let in_force = if grants.has_expired { RulesSay::Nothing } else { rules_say };
    let superuser = match grants.is_superuser {
        Some(known) => Ok(known),
        None if policy.superuser_route => {
            api.superuser.clone().unwrap().map(|answer| answer.verdict == Verdict::Allow)
        }
        None => Ok(false),
    };
    if superuser == Ok(true) || in_force == RulesSay::Allow {
        return Decision::Allow;
    }
    let rest: Outcome = if in_force == RulesSay::Deny {
        Ok(Answer::DENY)
    } else if policy.acl_route {
        api.access.clone().unwrap()
    } else if rules_say != RulesSay::NotGiven && !(grants.has_expired && is_read) {
        Ok(Answer::DENY)
    } else if is_read && client.is_away {
        Ok(Answer::ALLOW)
    } else {
        Ok(Answer::IGNORE)
    };
    let on_error = match policy.on_error {
        OnError::Deny => Decision::Unavailable,
        OnError::Defer => Decision::Defer,
        OnError::Allow => Decision::Allow,
    };
    match (rest.map(|answer| answer.verdict), superuser.is_err(), policy.on_error) {
        (Ok(Verdict::Allow), _, _) => Decision::Allow,
        // A denial is not left to others, even if the user might have been a superuser.
        (Ok(Verdict::Deny), true, OnError::Defer) => Decision::Deny,
        (_, true, _) | (Err(_), _, _) => on_error,
        (Ok(Verdict::Deny), false, _) => Decision::Deny,
        (Ok(Verdict::Ignore), false, _) => Decision::Defer,
    }
}

fn outcome() -> impl Strategy<Value = Option<Outcome>> {
    let outcomes: [Outcome; 5] = [
        Ok(Answer::ALLOW),
        Ok(Answer::DENY),
        Ok(Answer::IGNORE),
        Err(Failure::TimedOut),
        Err(Failure::Status(500)),
    ];
    proptest::sample::select(outcomes.to_vec()).prop_map(Some)
}

fn granted() -> impl Strategy<Value = (RulesSay, Grants)> {
    use RulesSay::{Allow, Deny, NotGiven, Nothing};
    let says = proptest::sample::select(vec![NotGiven, Nothing, Allow, Deny]);
    (says, any::<Option<bool>>(), any::<bool>()).prop_map(|(says, is_superuser, has_expired)| {
        (says, Grants { has_expired, ..grants(says, is_superuser) })
    })
}

proptest! {
    #[test]
    fn all_who_ask_come_to_the_same_decision(
        (superuser_route, acl_route, on_error) in (any::<bool>(), any::<bool>(), 0..3_usize),
        (rules_say, grants) in granted(),
        is_away in any::<bool>(),
        access in proptest::sample::select(vec![Access::Read, Access::Write, Access::Subscribe]),
        (superuser, access_outcome) in (outcome(), outcome()),
    ) {
        let policy = Policy { superuser_route, acl_route, on_error: ON_ERROR[on_error] };
        let client = Subject { is_away, ..SUBJECT };
        let api = answers(superuser, access_outcome);
        let action = action(access);
        let (step, asked) = one_by_one(policy, &grants, client, action, &api);
        prop_assert_eq!(&at_once(policy, &grants, client, action, &api), &step);
        let Step::Decided(decision, reason) = step else { panic!() };
        let documented = as_documented(policy, &grants, client, action, rules_say, &api);
        prop_assert_eq!(decision, documented, "{:?}", reason);
        // Only what may be asked is asked ahead, and it is asked unless the user is a superuser.
        let expected = questions(policy, &grants, client, action);
        prop_assert!(expected.starts_with(&asked), "{:?} of {:?}", asked, expected);
        if reason != Reason::Answer(Kind::Superuser, None) {
            prop_assert_eq!(asked, expected);
        }
    }
}
