//! The audit events of this crate. Pure.

use annals_schemas::limits::{MAX_NAME_BYTES, MAX_TEXT_BYTES, cut};
use annals_schemas::{
    ActionRecorded, Actor, ConfigurationChanged, Event, LoggedOut, LoginFailed, LoginSucceeded, Meta,
    Personal, PersonalData, Severity,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::author::{self, Author};
use crate::principal::{Client, Principal};

/// Category of what concerns annals itself, so that it never mixes with the names that importers use.
const CATEGORY: &str = "annals";

/// What was changed, by the names of the catalogue.
pub(crate) struct Told<'a> {
    pub(crate) action: &'static str,
    pub(crate) customer: Uuid,
    pub(crate) entity_type: &'static str,
    pub(crate) entity_id: &'a str,
    pub(crate) text: String,
}

/// Something that a client tried in vain, or was counted doing so.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) customer: Uuid,
    pub(crate) actor: Actor,
    pub(crate) account: Option<String>,
    pub(crate) reason: &'static str,
    pub(crate) client: Client,
    pub(crate) dialect: String,
}

/// A read of the audit log.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) principal: Principal,
    pub(crate) client: Client,
    pub(crate) dialect: &'static str,
}

pub(crate) fn configuration_changed(by: &Author, told: Told<'_>, now: DateTime<Utc>) -> Event {
    let personal = Personal {
        entity_id: Some(cut(told.entity_id, MAX_NAME_BYTES)),
        text: Some(cut(&told.text, MAX_TEXT_BYTES)),
        ..by.personal()
    };
    ConfigurationChanged {
        meta: meta(told.customer, by.actor_at(told.customer), by.source().to_owned(), now),
        action: told.action.to_owned(),
        category: Some(CATEGORY.to_owned()),
        severity: None,
        entity_type: Some(told.entity_type.to_owned()),
        personal: PersonalData::Personal(personal),
    }
    .into()
}

pub(crate) fn login_succeeded(
    principal: &Principal,
    client: &Client,
    dialect: &str,
    now: DateTime<Utc>,
) -> Event {
    LoginSucceeded {
        meta: meta_of(principal, dialect, now),
        account_number: Some(principal.number),
        personal: PersonalData::Personal(personal_of(principal, client)),
    }
    .into()
}

pub(crate) fn logged_out(principal: &Principal, client: &Client, dialect: &str, now: DateTime<Utc>) -> Event {
    LoggedOut {
        meta: meta_of(principal, dialect, now),
        account_number: Some(principal.number),
        personal: PersonalData::Personal(personal_of(principal, client)),
    }
    .into()
}

pub(crate) fn login_failed(failure: &Failure, attempts: u64, at: DateTime<Utc>) -> Event {
    let personal = Personal {
        account: failure.account.clone(),
        address: failure.client.address.map(|address| address.to_string()),
        user_agent: failure.client.user_agent.clone(),
        ..Personal::default()
    };
    LoginFailed {
        meta: meta(failure.customer, failure.actor.clone(), author::source(&failure.dialect), at),
        reason: failure.reason.to_owned(),
        attempts: i64::try_from(attempts).unwrap_or(i64::MAX),
        personal: PersonalData::Personal(personal),
    }
    .into()
}

pub(crate) fn audit_log_read(read: &Read, count: u64, at: DateTime<Utc>) -> Event {
    let email = &read.principal.email;
    let text = match count {
        1 => format!("{email} read the audit log."),
        count => format!("{email} read the audit log {count} times."),
    };
    let personal = Personal { text: Some(text), ..personal_of(&read.principal, &read.client) };
    ActionRecorded {
        meta: meta_of(&read.principal, read.dialect, at),
        action: "AUDIT_LOG_READ".to_owned(),
        category: CATEGORY.to_owned(),
        severity: Severity::Info,
        entity_type: None,
        count: i64::try_from(count).unwrap_or(i64::MAX),
        personal: PersonalData::Personal(personal),
    }
    .into()
}

fn meta_of(principal: &Principal, dialect: &str, now: DateTime<Utc>) -> Meta {
    let customer = principal.customer.id;
    meta(customer, principal.actor_at(customer), author::source(dialect), now)
}

fn meta(customer: Uuid, actor: Actor, source: String, occurred_at: DateTime<Utc>) -> Meta {
    Meta { event_id: Uuid::now_v7(), customer, occurred_at, source, actor }
}

fn personal_of(principal: &Principal, client: &Client) -> Personal {
    Author::principal(principal, "", client).personal()
}
