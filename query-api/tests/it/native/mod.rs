//! The native API: a module per topic.

mod any_query;
mod downloads;
mod feed;
mod isolation;
mod live;
mod logons;
mod parameters;
mod routing;
mod waiting;
mod walk;

use annals_access::{Customer, Permission};
use annals_query_api::ApiSettings;
use annals_schemas::{ActorKind, Event, PersonalData};
use serde_json::Value;
use uuid::Uuid;

use crate::engine::Engine;
use crate::events::Action;
use crate::http::{Ask, Reply, form};
use crate::world::World;

/// Who asks.
pub(super) const ADA: &str = "ada@acme.example";

/// A customer with somebody who may view its audit log.
pub(super) struct Native {
    pub(super) world: World,
    pub(super) acme: Customer,
    pub(super) cookie: String,
}

impl Native {
    pub(super) async fn start(engine: Engine) -> Self {
        Self::start_with(engine, ApiSettings::default()).await
    }

    pub(super) async fn start_with(engine: Engine, settings: ApiSettings) -> Self {
        let world = World::start_with(engine, settings, |_| {}).await;
        let acme = world.customer("acme").await;
        world.account(ADA, &acme, &[Permission::ViewAuditLog, Permission::ViewAppliances]).await;
        let cookie = world.cookie(ADA).await;
        world.empty_outbox().await;
        Self { world, acme, cookie }
    }

    /// Asks with ADA's cookie.
    pub(super) async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Reply {
        self.world.ask(&self.asking(path, parameters)).await
    }

    pub(super) fn asking(&self, path: &str, parameters: &[(&str, &str)]) -> Ask {
        Ask::get(&format!("/v1/{path}?{}", form(parameters))).cookie(&self.cookie)
    }

    /// Asks for what must be there.
    pub(super) async fn answer(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let reply = self.get(path, parameters).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// The numbers of the events of a page, smallest first.
    pub(super) async fn numbers(&self, parameters: &[(&str, &str)]) -> Vec<u64> {
        let mut numbers = numbers(&self.answer("audit-events", parameters).await);
        numbers.sort_unstable();
        numbers
    }

    /// An event of somebody, so that events are spread over the partitions.
    pub(super) fn event(&self, id: u128, at: &'static str) -> Event {
        Action {
            actor: (ActorKind::HostAccount, Uuid::from_u128(1_000 + id % 13)),
            ..Action::new(id, self.acme.id, at)
        }
        .event()
    }
}

/// The numbers that the ids of events end with, in their order.
pub(super) fn numbers(answer: &Value) -> Vec<u64> {
    answer["events"].as_array().unwrap().iter().map(number).collect()
}

/// The number that the id of an event ends with.
pub(super) fn number(event: &Value) -> u64 {
    let id: Uuid = event["id"].as_str().unwrap().parse().unwrap();
    u64::try_from(id.as_u128()).unwrap()
}

/// Status and code of a problem, which has every member of RFC 9457.
pub(super) fn problem(reply: &Reply) -> (u16, String) {
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{}", reply.text());
    let problem: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(problem["status"], reply.status, "{problem}");
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    let code = problem["code"].as_str().unwrap();
    assert_eq!(problem["type"], format!("urn:annals:problem:{code}"));
    (reply.status, code.to_owned())
}

/// The body of an answer that was sent in chunks, and whether its end came.
pub(super) fn dechunked(reply: &Reply) -> (String, bool) {
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    let mut bytes = Vec::new();
    let mut rest = &reply.body[..];
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return (String::from_utf8(bytes).unwrap(), true);
        }
        let chunk = &rest[end + 2..];
        if chunk.len() < size + 2 {
            bytes.extend_from_slice(&chunk[..size.min(chunk.len())]);
            break;
        }
        bytes.extend_from_slice(&chunk[..size]);
        rest = &chunk[size + 2..];
    }
    (String::from_utf8_lossy(&bytes).into_owned(), false)
}

/// An event with a text and a sign-in of its own.
pub(super) fn telling(event: Event, text: &str, sign_in: Option<&str>) -> Event {
    let Event::ActionRecorded(mut action) = event else { panic!("an action") };
    if let PersonalData::Personal(personal) = &mut action.personal {
        personal.text = Some(text.to_owned());
        personal.sign_in_id = sign_in.map(str::to_owned);
    }
    action.into()
}
