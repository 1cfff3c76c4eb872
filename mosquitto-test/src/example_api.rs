//! The built-in example API: what an HTTP API has to answer, as simply as it can be done.
//!
//! Users and rules come from a small TOML file (`example/users.toml`). `POST /user`, `/superuser` and `/acl` take the
//! plugin's JSON bodies; the status is the answer: 200 allows and 403 denies.
#![forbid(unsafe_code)]

mod http;
mod masked;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

pub use http::Running;
use http::{Request, Response};

const BUILT_IN: &str = include_str!("../example/users.toml");

/// The users and rules, ready to be served.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleApi {
    users: BTreeMap<String, User>,
    #[serde(skip)]
    closed: ClosedAccounts,
}

/// The users who may do nothing any more, whatever the file says. A clone is the same list.
#[derive(Clone, Default)]
pub struct ClosedAccounts(Arc<Mutex<BTreeSet<String>>>);

impl ClosedAccounts {
    /// From now on, every question about this user is answered with a denial.
    pub fn close(&self, user: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(user.to_owned());
    }

    pub fn has(&self, user: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(user)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    password: String,
    #[serde(default)]
    superuser: bool,
    /// Filters of the topics that the user may publish to.
    #[serde(default)]
    publish: Vec<String>,
    /// Filters of the topics that the user may subscribe to and receive.
    #[serde(default)]
    subscribe: Vec<String>,
}

/// One request and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub path: String,
    /// As it came, but never with a password in it.
    pub body: String,
    pub status: u16,
    /// What decided, in words.
    pub reason: String,
}

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

#[derive(Deserialize)]
struct Superuser {
    username: String,
}

#[derive(Deserialize)]
struct Access {
    username: String,
    topic: String,
    acc: u8,
}

/// A status and the reason for it.
type Verdict = (u16, String);

fn allowed(reason: String) -> Verdict {
    (200, reason)
}

fn denied(reason: String) -> Verdict {
    (403, reason)
}

fn closed(user: &str) -> Verdict {
    denied(format!("{user}'s account is closed"))
}

impl ExampleApi {
    /// The users of `example/users.toml`, as they were when this was compiled.
    pub fn built_in() -> Result<ExampleApi, String> {
        ExampleApi::parse(BUILT_IN).map_err(|error| format!("built-in users.toml: {error}"))
    }

    /// Reads a users file. The error is one line that names the file.
    pub fn load(path: impl AsRef<Path>) -> Result<ExampleApi, String> {
        let path = path.as_ref();
        let text = fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        ExampleApi::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<ExampleApi, String> {
        let api: ExampleApi = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
            format!("line {line}: {}", error.message().replace('\n', ", "))
        })?;
        for (name, user) in &api.users {
            for rule in user.publish.iter().chain(&user.subscribe) {
                topics::validate(rule).map_err(|error| {
                    format!("user {name}: {rule:?} is not a topic filter: {error}")
                })?;
            }
        }
        Ok(api)
    }

    /// The names of all users.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// The accounts that are closed while it is served.
    pub fn closed_accounts(&self) -> ClosedAccounts {
        self.closed.clone()
    }

    /// Listens on `addr` (`127.0.0.1:8080`; port 0 is any free one) until the result is dropped, and hands each request
    /// to `on_request` before it is answered.
    pub fn serve(
        self,
        addr: &str,
        on_request: impl Fn(&Served) + Send + Sync + 'static,
    ) -> Result<Running, String> {
        let answer = move |request: &Request| {
            let served = self.answer(request);
            on_request(&served);
            Response { status: served.status, text: served.reason }
        };
        http::serve(addr, answer).map_err(|error| format!("cannot listen on {addr}: {error}"))
    }

    fn answer(&self, request: &Request) -> Served {
        let (status, reason) = match (request.path.as_str(), request.method.as_str()) {
            ("/user", "POST") => {
                decide(&request.body, "username and password", |login| self.login(&login))
            }
            ("/superuser", "POST") => decide(&request.body, "username", |who| self.superuser(&who)),
            ("/acl", "POST") => {
                decide(&request.body, "username, topic and acc", |access| self.access(&access))
            }
            ("/user" | "/superuser" | "/acl", _) => (405, "only POST is answered here".to_owned()),
            _ => (404, "the paths are /user, /superuser and /acl".to_owned()),
        };
        Served { path: request.path.clone(), body: masked::body(&request.body), status, reason }
    }

    fn login(&self, Login { username, password }: &Login) -> Verdict {
        match self.users.get(username) {
            None => denied(format!("there is no user {username:?}")),
            Some(_) if self.closed.has(username) => closed(username),
            Some(user) if same(&user.password, password) => {
                allowed(format!("{username}'s password is right"))
            }
            Some(_) => denied(format!("{username}'s password is wrong")),
        }
    }

    fn superuser(&self, Superuser { username }: &Superuser) -> Verdict {
        match self.users.get(username) {
            Some(_) if self.closed.has(username) => closed(username),
            Some(User { superuser: true, .. }) => allowed(format!("{username} is a superuser")),
            _ => denied(format!("{username:?} is no superuser")),
        }
    }

    fn access(&self, access: &Access) -> Verdict {
        let Some(user) = self.users.get(&access.username) else {
            return denied(format!("there is no user {:?}", access.username));
        };
        if self.closed.has(&access.username) {
            return closed(&access.username);
        }
        if user.superuser {
            return allowed(format!("{} is a superuser", access.username));
        }
        let ruled = match access.acc {
            1 => user.may_read(&access.topic),
            2 => user.may_write(&access.topic),
            3 => user.may_read(&access.topic).and_then(|read| {
                let write = user.may_write(&access.topic)?;
                Ok(format!("{read}, {write}"))
            }),
            4 => user.may_subscribe(&access.topic),
            other => return (400, format!("acc is 1, 2, 3 or 4, not {other}")),
        };
        match ruled {
            Ok(rule) => allowed(format!("{}'s {rule}", access.username)),
            Err(missing) => denied(format!("{} has no {missing}", access.username)),
        }
    }
}

/// Each names the rule that decided, or the one that would be needed.
impl User {
    fn may_read(&self, topic: &str) -> Result<String, String> {
        let rule = self.subscribe.iter().find(|rule| topics::matches(rule, topic));
        rule.map(|rule| format!("subscribe rule {rule:?} matches"))
            .ok_or_else(|| format!("subscribe rule that matches {topic:?}"))
    }

    fn may_write(&self, topic: &str) -> Result<String, String> {
        let rule = self.publish.iter().find(|rule| topics::matches(rule, topic));
        rule.map(|rule| format!("publish rule {rule:?} matches"))
            .ok_or_else(|| format!("publish rule that matches {topic:?}"))
    }

    /// Allowed only as a whole: a filter that reaches beyond the rule would bring messages that the rule is to keep away.
    fn may_subscribe(&self, filter: &str) -> Result<String, String> {
        let wanted = topics::without_share(filter);
        let rule = self.subscribe.iter().find(|rule| topics::covers(rule, wanted));
        rule.map(|rule| format!("subscribe rule {rule:?} covers it"))
            .ok_or_else(|| format!("subscribe rule that covers all of {wanted:?}"))
    }
}

/// The reason must not quote a body that could not be read: there may be a password in it.
fn decide<Q>(body: &[u8], fields: &str, decide: impl FnOnce(Q) -> Verdict) -> Verdict
where
    Q: for<'de> Deserialize<'de>,
{
    match serde_json::from_slice(body) {
        Ok(question) => decide(question),
        Err(_) => (400, format!("the body must be a JSON object with {fields}")),
    }
}

/// Takes as long for a nearly right password as for a wrong one of that length, so that it cannot be found bit by bit.
fn same(stored: &str, given: &str) -> bool {
    let difference = stored.bytes().zip(given.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    stored.len() == given.len() && difference == 0
}

#[cfg(test)]
mod tests;
