//! What `annals query` and `annals tail` take.

use std::net::IpAddr;

use annals_query_api::native::asked::Asked;
use annals_query_api::native::parameters;
use annals_schemas::Severity;
use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};

/// What `annals query` takes.
#[derive(Args, Debug)]
pub struct QueryArguments {
    /// Which events.
    #[command(flatten)]
    pub filters: EventFilters,
    /// Most events to print.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Which events come first.
    #[arg(long, value_enum, default_value_t = EventOrder::Newest)]
    pub order: EventOrder,
    /// How they are printed; json is an object per line.
    #[arg(long, value_enum, default_value_t = EventFormat::Table)]
    pub format: EventFormat,
    /// Also print how many events match, exactly: below a table, else to stderr.
    #[arg(long)]
    pub count: bool,
}

/// What `annals tail` takes.
#[derive(Args, Debug)]
pub struct TailArguments {
    /// Which events.
    #[command(flatten)]
    pub filters: EventFilters,
    /// Go on after this token, which an earlier `tail` printed at its end; an empty one is the beginning of the log
    /// [default: from now on].
    #[arg(long, value_name = "TOKEN")]
    pub after: Option<String>,
    /// How events are printed; json is an object per line.
    #[arg(long, value_enum, default_value_t = EventFormat::Table)]
    pub format: EventFormat,
}

/// Which events. An option that is repeated takes events with any of its values.
#[derive(Args, Debug)]
pub struct EventFilters {
    /// At this time or later (RFC 3339, with an offset).
    #[arg(long, value_name = "TIME", value_parser = start)]
    start: Option<DateTime<Utc>>,
    /// At this time or earlier.
    #[arg(long, value_name = "TIME", value_parser = end)]
    end: Option<DateTime<Utc>>,
    /// Customer, by name or id.
    #[arg(long, value_name = "NAME")]
    customer: Vec<String>,
    /// Account, in short or in full, without case.
    #[arg(long, value_name = "NAME")]
    account: Vec<String>,
    /// Address.
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<IpAddr>,
    /// Action, exactly as shown.
    #[arg(long, value_name = "NAME")]
    action: Vec<String>,
    /// Category, exactly as shown.
    #[arg(long, value_name = "NAME")]
    category: Vec<String>,
    /// Severity: INFO, WARNING or ERROR.
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    severity: Vec<Severity>,
    /// Type of the affected object, exactly as shown.
    #[arg(long, value_name = "NAME")]
    entity_type: Vec<String>,
    /// Id of the affected object, exactly as shown.
    #[arg(long, value_name = "ID")]
    entity: Vec<String>,
    /// Part of the account, the description or the address, without case.
    #[arg(long, value_name = "PART")]
    text: Vec<String>,
}

/// Which events come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventOrder {
    /// The newest.
    Newest,
    /// The oldest.
    Oldest,
}

/// How events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventFormat {
    /// For people.
    Table,
    /// An object per line.
    Json,
    /// As the API's downloads.
    Csv,
}

impl EventFilters {
    /// The same question as the API takes it.
    pub fn asked(&self) -> Asked {
        Asked {
            start: self.start,
            end: self.end,
            customers: self.customer.clone(),
            accounts: self.account.clone(),
            actors: Vec::new(),
            addresses: self.address.iter().map(IpAddr::to_canonical).collect(),
            actions: self.action.clone(),
            categories: self.category.clone(),
            severities: self.severity.clone(),
            entity_types: self.entity_type.clone(),
            entities: self.entity.clone(),
            descriptions: Vec::new(),
            texts: self.text.clone(),
            sign_ins: Vec::new(),
        }
    }
}

fn start(text: &str) -> Result<DateTime<Utc>, &'static str> {
    parameters::first_moment(text).ok_or("not a time such as 2026-01-31T12:00:00Z")
}

fn end(text: &str) -> Result<DateTime<Utc>, &'static str> {
    parameters::last_moment(text).ok_or("not a time such as 2026-01-31T12:00:00Z")
}

fn severity(text: &str) -> Result<Severity, &'static str> {
    parameters::severity(text).ok_or("not INFO, WARNING or ERROR")
}
