//! Who makes a change, as its audit event tells it.

use annals_schemas::ids::OPERATOR_CUSTOMER;
use annals_schemas::{Actor, Event, Personal};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::audit::{self, Told};
use crate::principal::{Client, Principal};

/// The author of a change.
#[derive(Clone, Debug)]
pub struct Author {
    actor: Actor,
    home: Option<Uuid>,
    source: String,
    account: Option<String>,
    sign_in_id: Option<String>,
    client: Client,
}

impl Author {
    /// The command line. Whoever can write the data directory or the database can use it; there is no sign-in, so the actor is the
    /// system.
    #[must_use]
    pub fn command_line() -> Self {
        Self::system("cli")
    }

    /// The first opening of an installation.
    pub(crate) fn setup() -> Self {
        Self::system("setup")
    }

    /// Somebody signed in, through one of the dialects.
    #[must_use]
    pub fn principal(principal: &Principal, dialect: &str, client: &Client) -> Self {
        Self {
            actor: principal.actor_at(principal.customer.id),
            home: Some(principal.customer.id),
            source: source(dialect),
            account: Some(principal.email.clone()),
            sign_in_id: principal.sign_in_id.clone(),
            client: client.clone(),
        }
    }

    fn system(name: &str) -> Self {
        Self {
            actor: Actor::system(),
            home: None,
            source: source(name),
            account: None,
            sign_in_id: None,
            client: Client::local(),
        }
    }

    /// The audit event of something done to the installation itself, for [`Access::tell_within`](crate::Access).
    #[must_use]
    pub fn operation(
        &self,
        action: &'static str,
        entity_type: &'static str,
        entity_id: &str,
        text: String,
        now: DateTime<Utc>,
    ) -> Event {
        let told = Told { action, customer: OPERATOR_CUSTOMER, entity_type, entity_id, text };
        audit::configuration_changed(self, told, now)
    }

    /// The actor of an event of `customer`.
    pub(crate) fn actor_at(&self, customer: Uuid) -> Actor {
        Actor { home_customer: self.home.filter(|home| *home != customer), ..self.actor.clone() }
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Names and addresses of the author.
    pub(crate) fn personal(&self) -> Personal {
        Personal {
            account: self.account.clone(),
            address: self.client.address.map(|address| address.to_string()),
            user_agent: self.client.user_agent.clone(),
            sign_in_id: self.sign_in_id.clone(),
            ..Personal::default()
        }
    }
}

/// The source URI of events that come through `dialect`.
pub(crate) fn source(dialect: &str) -> String {
    format!("annals:{dialect}")
}
