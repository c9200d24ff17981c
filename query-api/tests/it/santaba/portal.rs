//! A site with records, and its callers.

use annals_access::{Access, Author, CredentialKind, Customer, Permission, Secret, Vault};
use annals_query_api::ApiSettings;
use annals_schemas::{ActionRecorded, Actor, ActorKind, Event, Meta, Personal, PersonalData, Severity};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use uuid::Uuid;

use crate::engine::Engine;
use crate::http::{Ask, Reply};
use crate::world::World;

pub(super) const LIST: &str = "/santaba/rest/setting/accesslogs";

/// What LMv1 signs of it.
pub(super) const SIGNED: &str = "/setting/accesslogs";

/// Sees the records of acme.
pub(super) const SARAH: &str = "sarah@acme.example";

/// Has no permission.
pub(super) const NOBODY: &str = "nobody@acme.example";

/// The zone of the seed's samples.
pub(super) const ZONE: &str = "America/Los_Angeles";

pub(super) const VERSIONS: [u8; 3] = [1, 2, 3];

/// A record, with defaults for whatever a test does not care for.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: u128,
    pub(super) customer: Uuid,
    pub(super) at: DateTime<Utc>,
    pub(super) username: &'static str,
    pub(super) ip: Option<&'static str>,
    pub(super) session: Option<&'static str>,
    pub(super) description: &'static str,
}

impl Record {
    pub(super) fn new(id: u128, customer: &Customer, seconds: i64) -> Self {
        Self {
            id,
            customer: customer.id,
            at: DateTime::from_timestamp(seconds, 0).unwrap(),
            username: "sarah",
            ip: Some("174.76.130.131"),
            session: None,
            description: "Something was done",
        }
    }

    pub(super) fn event(self) -> Event {
        ActionRecorded {
            meta: Meta {
                event_id: Uuid::from_u128(self.id),
                customer: self.customer,
                occurred_at: self.at,
                source: "urn:test".to_owned(),
                actor: Actor::new(ActorKind::HostAccount, Uuid::from_u128(77)),
            },
            action: "THING_DONE".to_owned(),
            category: "things".to_owned(),
            severity: Severity::Info,
            entity_type: None,
            count: 1,
            personal: PersonalData::Personal(Personal {
                account: Some(self.username.to_owned()).filter(|name| !name.is_empty()),
                address: self.ip.map(str::to_owned),
                sign_in_id: self.session.map(str::to_owned),
                text: Some(self.description.to_owned()),
                ..Personal::default()
            }),
        }
        .into()
    }
}

/// An access id and its key.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) access_id: String,
    pub(super) key: String,
}

impl Pair {
    /// The header of a request that is signed at this time.
    pub(super) fn header_at(&self, method: &str, path: &str, body: &[u8], at: DateTime<Utc>) -> String {
        let epoch = at.timestamp_millis().to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()).unwrap();
        for part in [method.as_bytes(), epoch.as_bytes(), body, path.as_bytes()] {
            mac.update(part);
        }
        let signature = STANDARD.encode(hex::encode(mac.finalize().into_bytes()));
        format!("LMv1 {}:{signature}:{epoch}", self.access_id)
    }

    /// The header of a GET without a body.
    pub(super) fn header(&self, path: &str) -> String {
        self.header_at("GET", path, b"", Utc::now())
    }
}

pub(super) fn basic(email: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{email}:{password}")))
}

/// Two customers; Sarah sees the records of the first, by a token unless a test says otherwise.
pub(super) struct Portal {
    pub(super) world: World,
    pub(super) acme: Customer,
    pub(super) other: Customer,
    /// With the master key that the server has, too.
    pub(super) access: Access,
    pub(super) token: String,
}

impl Portal {
    pub(super) async fn start(engine: Engine) -> Self {
        Self::start_with(engine, ApiSettings::default()).await
    }

    pub(super) async fn start_with(engine: Engine, settings: ApiSettings) -> Self {
        let key = Vault::of_text(&Secret::new("07".repeat(32)), "the key of the tests").unwrap();
        let vault = key.clone();
        let world = World::start_with(engine, settings, |state| {
            state.access = state.access.clone().with_vault(vault);
        })
        .await;
        let access = world.access.clone().with_vault(key);
        let acme = access.add_customer("acme", ZONE, &Author::command_line()).await.unwrap();
        let other = world.customer("other").await;
        world.account(SARAH, &acme, &[Permission::ViewAuditLog]).await;
        world.account(NOBODY, &acme, &[]).await;
        let mut portal = Self { world, acme, other, access, token: String::new() };
        portal.token = portal.token_of(SARAH, "token-of-the-tests").await;
        portal.world.empty_outbox().await;
        portal
    }

    pub(super) async fn token_of(&self, email: &str, name: &str) -> String {
        self.credential(email, CredentialKind::Bearer, name).await.1
    }

    pub(super) async fn pair_of(&self, email: &str, name: &str) -> Pair {
        let (access_id, key) = self.credential(email, CredentialKind::Lmv1, name).await;
        Pair { access_id: access_id.unwrap(), key }
    }

    async fn credential(&self, email: &str, kind: CredentialKind, name: &str) -> (Option<String>, String) {
        let by = Author::command_line();
        let issued = self.access.add_credential(email, kind, name, None, &by).await.unwrap();
        (issued.access_id, issued.secret.expose().to_owned())
    }

    /// A request for the list, by Sarah's token.
    pub(super) fn get(&self, version: u8, query: &str) -> Ask {
        self.get_path(version, &format!("{LIST}?{query}"))
    }

    /// A request for any target, by Sarah's token.
    pub(super) fn get_path(&self, version: u8, target: &str) -> Ask {
        Ask::get(target)
            .header("X-Version", version.to_string())
            .header("Authorization", format!("Bearer {}", self.token))
    }

    /// The answer to a request in a version, whose envelope was looked at.
    pub(super) async fn ask(&self, version: u8, ask: &Ask) -> Answer {
        let answer = Answer { version, reply: self.world.ask(ask).await };
        answer.check();
        answer
    }

    /// Total and items of a page in version 3.
    pub(super) async fn page(&self, query: &str) -> (u64, Vec<Value>) {
        self.ask(3, &self.get(3, query)).await.page()
    }

    /// Last digits of the ids that version 3 lists, oldest id first.
    pub(super) async fn ids(&self, query: &str) -> Vec<u64> {
        let (total, items) = self.page(&format!("size=1000&sort=id&{query}")).await;
        assert_eq!(total, u64::try_from(items.len()).unwrap(), "{query}");
        items.iter().map(|item| crate::world::number(&item["id"])).collect()
    }

    /// What the list says to a query that is refused, in version 3.
    pub(super) async fn refusal(&self, query: &str) -> Refusal {
        self.ask(3, &self.get(3, query)).await.refusal()
    }
}

/// Status, code and text.
pub(super) type Refusal = (u16, u64, String);

/// An answer with the version that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) version: u8,
    pub(super) reply: Reply,
}

impl Answer {
    /// What holds for every answer.
    pub(super) fn check(&self) {
        let reply = &self.reply;
        let number = |name| -> u32 { reply.header(name).unwrap().parse().unwrap() };
        assert!(number("x-rate-limit-remaining") <= number("x-rate-limit-limit"));
        assert_eq!(number("x-rate-limit-window"), 60);
        assert_eq!(reply.header("retry-after"), None);
        assert_eq!(reply.header("set-cookie"), None);
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        if reply.body.is_empty() {
            return;
        }
        let body = reply.json();
        let names: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        if self.version == 1 {
            assert_eq!(names, ["data", "errmsg", "status"], "{body}");
            assert_eq!(body["status"] == 200, !body["data"].is_null(), "{body}");
        } else if reply.status == 200 {
            for name in ["status", "errmsg", "data", "errorMessage", "errorCode"] {
                assert!(!names.contains(&name), "{body}");
            }
        } else {
            assert_eq!(names, ["errorCode", "errorDetail", "errorMessage"], "{body}");
            assert!(body["errorDetail"].is_null(), "{body}");
        }
    }

    /// What a good answer holds.
    pub(super) fn content(&self) -> Value {
        let mut body = self.reply.json();
        assert_eq!(self.reply.status, 200, "{body}");
        if self.version > 1 {
            return body;
        }
        assert_eq!((&body["status"], &body["errmsg"]), (&200.into(), &"OK".into()), "{body}");
        body["data"].take()
    }

    /// Total and items.
    pub(super) fn page(&self) -> (u64, Vec<Value>) {
        let mut content = self.content();
        assert_eq!(content.as_object().unwrap().len(), 3, "{content}");
        assert!(content["searchId"].is_null() && content.get("searchId").is_some(), "{content}");
        let Value::Array(items) = content["items"].take() else { panic!("{content}") };
        (content["total"].as_u64().unwrap(), items)
    }

    pub(super) fn refusal(&self) -> Refusal {
        let body = self.reply.json();
        let names = if self.version == 1 { ["status", "errmsg"] } else { ["errorCode", "errorMessage"] };
        let [code, text] = names.map(|name| &body[name]);
        assert!(self.version == 1 && code != 200 || self.reply.status != 200, "{body}");
        (self.reply.status, code.as_u64().unwrap(), text.as_str().unwrap().to_owned())
    }
}
