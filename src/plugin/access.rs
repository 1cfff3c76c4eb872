//! What a client may do with a topic.

#![forbid(unsafe_code)]

use super::Plugin;
use crate::answer::{Answer, Decision, Outcome};
use crate::config::LocalUsersAcl;
use crate::policy;
use crate::question::{About, Access, Action, Client, Kind, Question};

impl Plugin {
    /// May this client do this? `username` is none where the client has none.
    pub fn access(
        &self,
        client: &dyn Client,
        username: Option<&str>,
        action: Action<'_>,
    ) -> Decision {
        if action.access == Access::Unsubscribe {
            return Decision::Allow;
        }
        if action.access == Access::Write && is_will_of_nobody(client, username) {
            return Decision::Deny;
        }
        match username {
            Some(name) if self.logins.is_placeholder(name) => match self.logins.entering(name) {
                Some(entering) => self.access_of(client, Some(&entering.username), action),
                // It waits, or waited in vain; either way nobody has let it in.
                None => Decision::Deny,
            },
            _ => self.access_of(client, username, action),
        }
    }

    fn access_of(
        &self,
        client: &dyn Client,
        username: Option<&str>,
        action: Action<'_>,
    ) -> Decision {
        if self.config.deny_special_chars && is_special(client.id(), username) {
            return Decision::Deny;
        }
        let Some(username) = username.or(self.config.anonymous_username.as_deref()) else {
            return Decision::Defer;
        };
        match &self.config.local_users {
            Some(local) if self.is_local(username) => match local.acl {
                LocalUsersAcl::Allow => Decision::Allow,
                LocalUsersAcl::Defer => Decision::Defer,
            },
            _ => self.ask_access(client, username, action),
        }
    }

    /// A superuser may do everything; of anyone else the ACL route is asked. A yes of either is
    /// final. Without one, a superuser route that failed is a failure: it might have said yes.
    fn ask_access(&self, client: &dyn Client, username: &str, action: Action<'_>) -> Decision {
        let ask = |about| -> Outcome {
            let question = Question { client, username, about };
            self.ask(self.engine.key(&question), &question)
        };
        let superuser =
            if self.has_route(Kind::Superuser) { ask(About::Superuser) } else { Ok(Answer::Deny) };
        if superuser == Ok(Answer::Allow) {
            return Decision::Allow;
        }
        if !self.has_route(Kind::Access) {
            return match superuser {
                Ok(_) => Decision::Defer,
                Err(_) => policy::decide(Kind::Superuser, &superuser, self.config.on_error),
            };
        }
        let outcome = match (ask(About::Access(action)), superuser) {
            (Ok(Answer::Deny), Err(failure)) => Err(failure),
            (outcome, _) => outcome,
        };
        policy::decide(Kind::Access, &outcome, self.config.on_error)
    }
}

/// A name with a wildcard in it could pass for a topic filter where the API builds one from it.
fn is_special(id: &str, username: Option<&str>) -> bool {
    let special = |name: &str| name.contains(['+', '#']);
    special(id) || username.is_some_and(special)
}

/// Whether this is the Will of a client that left while its login still waited: the broker
/// publishes it all the same, of a client without a name and an address. (Version 0 is the broker's
/// own stand-in for whoever published a retained message.)
fn is_will_of_nobody(client: &dyn Client, username: Option<&str>) -> bool {
    username.is_none() && client.address().is_none() && client.protocol_version() != 0
}
