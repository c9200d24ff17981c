//! The client: registers our schemas and looks ids up.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::http::{Answer, Http, MAX_ANSWER_BYTES, Problem};
use super::{COMPATIBILITY, Known, RegisteredIds, RegistryError, subject};
use crate::codec::{self, WriterSchema};
use crate::foreign::{self, IdSchema};

/// How long an id that the registry does not have is not asked for again: it may be registered in the meantime.
const MISSING_FOR: Duration = Duration::from_secs(60);

/// Missing ids that are remembered. A stream of invented ones must not fill the memory.
const MISSING_AT_MOST: usize = 10_000;

/// Ids that are looked up at the same time.
const LOOK_UPS_AT_ONCE: usize = 8;

/// Attempts to change something. Two processes that make the same subject at the same time are in each other's way:
/// Apicurio answers one of them with 409, although it agrees with both.
const ATTEMPTS: u32 = 5;

/// The pause between them.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(200);

/// The registry's own number for "no such schema"; a 404 of anybody in between does not carry it.
const SCHEMA_NOT_FOUND: u32 = 40403;

/// A schema registry.
pub struct Registry {
    http: Http,
    known: RwLock<HashMap<u32, Known>>,
    missing: RwLock<HashMap<u32, Instant>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registry").field(&self.http.url()).finish()
    }
}

#[derive(Deserialize)]
struct SchemaOfId {
    schema: String,
    #[serde(default, rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

#[derive(Deserialize)]
struct SubjectConfig {
    #[serde(rename = "compatibilityLevel")]
    level: String,
}

impl Registry {
    /// Connects to the registry at this address, which may hold user and password, and sees whether it is one.
    ///
    /// # Errors
    /// When the address is none, or no registry answers there. The message names the setting `--registry`.
    pub async fn connect(url: &str) -> Result<Self, RegistryError> {
        let http = Http::new(url)?;
        // The shortest answer that every registry has, however many subjects there are.
        let _: serde_json::Map<String, serde_json::Value> = http.ask(Method::GET, "/config", None).await?;
        Ok(Self { http, known: RwLock::default(), missing: RwLock::default() })
    }

    /// Registers every version of every schema of ours, each under its [`subject`], and gives their ids. Registering
    /// again changes nothing.
    ///
    /// # Errors
    /// [`RegistryError::Incompatible`] when somebody else's schema under our subject is in the way, with the registry's
    /// words; when the registry does not keep what it was given; when it cannot be reached.
    pub async fn register(&self, topic_prefix: &str) -> Result<RegisteredIds, RegistryError> {
        let mut ids = Vec::new();
        let mut prepared = HashSet::new();
        // In order of versions: each is checked against those before it.
        for schema in codec::schemas() {
            let subject = subject(topic_prefix, schema.event_type);
            if prepared.insert(schema.event_type) {
                self.set_compatibility(&subject).await?;
            }
            ids.push((schema.fingerprint, self.register_schema(&subject, schema).await?));
        }
        Ok(ids.into_iter().collect())
    }

    async fn set_compatibility(&self, subject: &str) -> Result<(), RegistryError> {
        let path = format!("/config/{subject}");
        let wanted = json!({ "compatibility": COMPATIBILITY }).to_string();
        let _: serde_json::Value = self.insist(Method::PUT, &path, &wanted).await?;
        let SubjectConfig { level } = self.http.ask(Method::GET, &path, None).await?;
        if level == COMPATIBILITY {
            return Ok(());
        }
        Err(RegistryError::Compatibility { subject: subject.to_owned(), found: level })
    }

    async fn register_schema(&self, subject: &str, schema: &WriterSchema) -> Result<u32, RegistryError> {
        let path = format!("/subjects/{subject}/versions");
        let body = json!({ "schema": schema.text }).to_string();
        let Registered { id } =
            self.insist(Method::POST, &path, &body).await.map_err(|error| match error {
                RegistryError::Refused { status: 409 | 422, reason, .. } => RegistryError::Incompatible {
                    subject: subject.to_owned(),
                    version: schema.version,
                    reason,
                },
                other => other,
            })?;
        match self.fetch(id).await? {
            known @ Known::Schema(IdSchema::Ours(ours)) if ours.fingerprint == schema.fingerprint => {
                self.known.write().unwrap_or_else(PoisonError::into_inner).insert(id, known);
                Ok(id)
            }
            _ => Err(RegistryError::OtherSchema { subject: subject.to_owned(), version: schema.version, id }),
        }
    }

    /// Asks for a change, several times where somebody else may be making the same one.
    async fn insist<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<T, RegistryError> {
        let mut attempt = 1;
        loop {
            match self.http.ask(method.clone(), path, Some(body.to_owned())).await {
                Err(RegistryError::Refused { status: 409 | 500.., .. }) if attempt < ATTEMPTS => attempt += 1,
                answer => return answer,
            }
            tokio::time::sleep(ATTEMPT_PAUSE).await;
        }
    }

    /// What these ids stand for; every one of them is in the answer.
    pub(crate) async fn look_up(&self, ids: BTreeSet<u32>) -> Result<HashMap<u32, Known>, RegistryError> {
        let mut found = HashMap::with_capacity(ids.len());
        let mut unknown = Vec::new();
        for id in ids {
            match self.remembered(id) {
                Some(known) => {
                    found.insert(id, known);
                }
                None => unknown.push(id),
            }
        }
        let mut fetched = stream::iter(unknown)
            .map(|id| async move { self.fetch(id).await.map(|known| (id, known)) })
            .buffer_unordered(LOOK_UPS_AT_ONCE);
        while let Some((id, known)) = fetched.try_next().await? {
            self.remember(id, &known);
            found.insert(id, known);
        }
        Ok(found)
    }

    fn remembered(&self, id: u32) -> Option<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        known.or_else(|| {
            let missing = self.missing.read().unwrap_or_else(PoisonError::into_inner);
            missing.get(&id).filter(|since| since.elapsed() < MISSING_FOR).map(|_| Known::Missing)
        })
    }

    fn remember(&self, id: u32, known: &Known) {
        if !matches!(known, Known::Missing) {
            self.known.write().unwrap_or_else(PoisonError::into_inner).insert(id, known.clone());
            return;
        }
        let mut missing = self.missing.write().unwrap_or_else(PoisonError::into_inner);
        if missing.len() >= MISSING_AT_MOST {
            missing.clear();
        }
        missing.insert(id, Instant::now());
    }

    async fn fetch(&self, id: u32) -> Result<Known, RegistryError> {
        let path = format!("/schemas/ids/{id}");
        let action = format!("GET {path}");
        match self.http.send(Method::GET, &path, None).await? {
            Answer::Whole(StatusCode::OK, body) => {
                let answer: SchemaOfId =
                    serde_json::from_slice(&body).map_err(|_| self.http.not_a_registry(action))?;
                Ok(judge(&answer))
            }
            Answer::Whole(StatusCode::NOT_FOUND, body)
                if serde_json::from_slice::<Problem>(&body)
                    .is_ok_and(|problem| problem.error_code == SCHEMA_NOT_FOUND) =>
            {
                Ok(Known::Missing)
            }
            Answer::Whole(status, body) => Err(self.http.refused(action, status, &body)),
            Answer::TooLong => {
                Ok(Known::Unusable(format!("it is longer than the limit of {MAX_ANSWER_BYTES} bytes").into()))
            }
        }
    }
}

fn judge(answer: &SchemaOfId) -> Known {
    if let Some(other) = answer.schema_type.as_deref().filter(|kind| *kind != "AVRO") {
        return Known::Unusable(format!("it is of type {other}, not AVRO").into());
    }
    if !answer.references.is_empty() {
        return Known::Unusable("it refers to schemas of other subjects".into());
    }
    match foreign::recognise(&answer.schema) {
        Ok(schema) => Known::Schema(schema),
        Err(reason) => Known::Unusable(Arc::from(reason)),
    }
}
