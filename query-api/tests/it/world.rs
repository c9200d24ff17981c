//! A server on databases and a log of its own. The projector and the relay are played by hand, so that a test says what
//! the views have seen.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};

use annals_access::{Access, Author, Client, Clock, Customer, Permission, Secret};
use annals_bus::{Bus, EmbeddedBus, ReadLimit, Record};
use annals_query_api::{ApiSettings, ApiState, ApiViews, Component, ComponentState, router, serve};
use annals_schemas::{Event, TOPICS, codec};
use annals_store::{Advance, ControlDb, Database, Followed, Partition, ViewStore};
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;
use annals_views::{LogEvent, View};
use chrono::{DateTime, Utc};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::engine::{Engine, Place};
use crate::http::{Ask, Reply, form};

/// Everybody's password.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// The recorder of this process.
pub(crate) static METRICS: LazyLock<PrometheusHandle> =
    LazyLock::new(|| PrometheusBuilder::new().install_recorder().unwrap());

pub(crate) struct World {
    pub(crate) server: SocketAddr,
    pub(crate) access: Access,
    pub(crate) clock: Clock,
    pub(crate) components: Arc<Mutex<Vec<Component>>>,
    state: ApiState,
    bus: EmbeddedBus,
    audit_log: Arc<dyn ViewStore>,
    logged_on_users: Arc<dyn ViewStore>,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<std::io::Result<()>>>,
    _place: Place,
}

impl World {
    pub(crate) async fn start(engine: Engine) -> Self {
        Self::start_with(engine, ApiSettings::default(), |_| {}).await
    }

    pub(crate) async fn start_with(
        engine: Engine,
        settings: ApiSettings,
        change: impl FnOnce(&mut ApiState),
    ) -> Self {
        let recorder = LazyLock::force(&METRICS).clone();
        let place = Place::new(engine).await;
        let control = place.database.control().await.unwrap();
        let clock = Clock::manual(Utc::now());
        let opened = Access::open_with_clock(control.clone(), &place.database, clock.clone()).await.unwrap();
        let topics: Vec<_> = TOPICS.iter().map(|topic| (topic.name, topic.partitions)).collect();
        let bus = EmbeddedBus::open(&place.directory, &topics).await.unwrap();
        let (audit_log, audit_store) = view::<AuditLog>(&control, &place.database, &bus).await;
        let (logged_on_users, users_store) = view::<LoggedOnUsers>(&control, &place.database, &bus).await;
        let running = Component { name: "relay".to_owned(), state: ComponentState::Running };
        let components = Arc::new(Mutex::new(vec![running]));
        let shown = Arc::clone(&components);
        let mut state = ApiState {
            access: opened.access.clone(),
            views: ApiViews { audit_log, logged_on_users }.into(),
            bus: Arc::new(bus.clone()),
            topics: &TOPICS,
            render_metrics: Arc::new(move || recorder.render()),
            components: Arc::new(move || shown.lock().unwrap().clone()),
            settings,
        };
        change(&mut state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, router(state.clone()), async { drop(stopped.await) }));
        Self {
            server,
            access: opened.access,
            clock,
            components,
            state,
            bus,
            audit_log: audit_store,
            logged_on_users: users_store,
            stop: Some(stop),
            serving: Some(serving),
            _place: place,
        }
    }

    /// Tells the server to stop.
    pub(crate) fn stop(&mut self) -> JoinHandle<std::io::Result<()>> {
        drop(self.stop.take());
        self.serving.take().unwrap()
    }

    pub(crate) async fn customer(&self, name: &str) -> Customer {
        self.access.add_customer(name, "UTC", &Author::command_line()).await.unwrap()
    }

    pub(crate) async fn account(
        &self,
        email: &str,
        customer: &Customer,
        permissions: &[Permission],
    ) -> uuid::Uuid {
        let by = Author::command_line();
        let password = Secret::new(PASSWORD);
        self.access.add_account(email, &customer.name, permissions, password, &by).await.unwrap().id
    }

    pub(crate) async fn grant(&self, email: &str, customer: &Customer, permissions: &[Permission]) {
        self.access.grant(email, &customer.name, permissions, &Author::command_line()).await.unwrap();
    }

    /// A cookie, without a request.
    pub(crate) async fn cookie(&self, email: &str) -> String {
        self.access.sign_in(email, PASSWORD, &Client::local(), "test").await.unwrap().cookie
    }

    pub(crate) async fn ask(&self, ask: &Ask) -> Reply {
        ask.send(self.server).await
    }

    /// Asks a papi function with a cookie.
    pub(crate) async fn papi(&self, function: &str, cookie: &str, parameters: &[(&str, &str)]) -> Reply {
        let ask = Ask::get(&format!("/papi/{function}?{}", form(parameters)));
        self.ask(&ask.cookie(cookie)).await
    }

    /// The events that `get_events` shows.
    pub(crate) async fn events(&self, cookie: &str, parameters: &[(&str, &str)]) -> Vec<Value> {
        let Value::Array(events) = self.papi("auditlog/get_events", cookie, parameters).await.data() else {
            panic!("a list");
        };
        events
    }

    /// Last digits of the event ids that `get_events` shows.
    pub(crate) async fn ids(&self, cookie: &str, parameters: &[(&str, &str)]) -> Vec<u64> {
        let events = self.events(cookie, parameters).await;
        events.iter().map(|event| number(&event["audit_event_id"])).collect()
    }

    /// Appends events to the log.
    pub(crate) async fn append(&self, events: &[Event]) {
        let mut by_topic: BTreeMap<&str, Vec<Record>> = BTreeMap::new();
        for event in events {
            let record = Record {
                key: Some(event.key().into()),
                value: codec::encode(event).unwrap().into(),
                headers: Vec::new(),
                recorded_at: Some(event.meta().occurred_at),
            };
            by_topic.entry(event.event_type().topic().name).or_default().push(record);
        }
        for (topic, records) in by_topic {
            self.bus.append(topic, records).await.unwrap();
        }
    }

    /// Appends an event at another time than its own, and lets the views see it.
    pub(crate) async fn append_at(&self, event: &Event, recorded_at: DateTime<Utc>) {
        let record = Record {
            key: Some(event.key().into()),
            value: codec::encode(event).unwrap().into(),
            headers: Vec::new(),
            recorded_at: Some(recorded_at),
        };
        self.bus.append(event.event_type().topic().name, vec![record]).await.unwrap();
        self.fold().await;
    }

    /// Appends events and lets the views see them.
    pub(crate) async fn publish(&self, events: &[Event]) {
        self.append(events).await;
        self.fold().await;
    }

    /// Lets the views see the whole log.
    pub(crate) async fn fold(&self) {
        self.fold_audit_log().await;
        fold::<LoggedOnUsers>(&self.bus, &*self.logged_on_users).await;
    }

    /// Lets one view see the whole log.
    pub(crate) async fn fold_audit_log(&self) {
        fold::<AuditLog>(&self.bus, &*self.audit_log).await;
    }

    /// Another server on the same directory, as after a restart of the process.
    pub(crate) async fn second_server(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, router(self.state.clone()), std::future::pending()));
        server
    }

    /// Events that wait in the outbox, oldest first.
    pub(crate) async fn outbox(&self) -> Vec<Event> {
        let entries = self.access.outbox(u32::MAX).await.unwrap();
        entries.iter().map(|entry| codec::decode(&entry.value, &codec::NoRegistry).unwrap()).collect()
    }

    /// Forgets what waits in the outbox.
    pub(crate) async fn empty_outbox(&self) {
        let entries = self.access.outbox(u32::MAX).await.unwrap();
        let sequences: Vec<i64> = entries.iter().map(|entry| entry.sequence).collect();
        self.access.outbox_done(&sequences).await.unwrap();
    }

    /// Appends what waits in the outbox, and lets the views see it.
    pub(crate) async fn relay(&self) {
        for entry in self.access.outbox(u32::MAX).await.unwrap() {
            let record =
                Record { key: Some(entry.key.into()), value: entry.value.into(), ..Record::default() };
            self.bus.append(&entry.topic, vec![record]).await.unwrap();
            self.access.outbox_done(&[entry.sequence]).await.unwrap();
        }
        self.fold().await;
    }
}

/// The number that an id of the tests ends with.
pub(crate) fn number(id: &Value) -> u64 {
    u64::from_str_radix(&id.as_str().unwrap()[16..], 16).unwrap()
}

/// Names of events in the order of writing.
pub(crate) fn names(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| annals_schemas::present(event).name).collect()
}

async fn view<V: View>(
    control: &ControlDb,
    database: &Database,
    bus: &EmbeddedBus,
) -> (Followed, Arc<dyn ViewStore>) {
    let tables = V::tables();
    let followed = Followed::start(control, database, V::NAME, V::VERSION, Some(tables)).await.unwrap();
    let generation = followed.current().generation.number;
    let store = database.view_store(V::NAME, generation, tables).await.unwrap();
    for topic in V::topics() {
        store.bind_incarnation(topic.name, bus.incarnation(topic.name).await.unwrap()).await.unwrap();
    }
    (followed, store)
}

async fn fold<V: View>(bus: &EmbeddedBus, store: &dyn ViewStore) {
    for topic in V::topics() {
        for partition in bus.partitions(topic.name).await.unwrap() {
            while fold_batch::<V>(bus, store, &partition).await {}
        }
    }
}

/// Folds the next records of a partition; says whether there were any.
async fn fold_batch<V: View>(bus: &EmbeddedBus, store: &dyn ViewStore, partition: &Partition) -> bool {
    let positions = store.positions().await.unwrap();
    let from = positions.iter().find(|at| at.partition == *partition).map_or(0, |at| at.next_offset);
    let records = bus.read(partition, from, ReadLimit::default()).await.unwrap();
    let Some(last) = records.last() else { return false };
    let to = last.offset + 1;
    let batch = records
        .iter()
        .map(|record| LogEvent {
            partition: partition.clone(),
            offset: record.offset,
            recorded_at: record.recorded_at,
            misplaced: false,
            event: codec::decode(&record.value, &codec::NoRegistry).unwrap(),
        })
        .collect();
    let prepared = V::prepare(store, V::fold(batch)).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[Advance { partition: partition.clone(), from, to, last_event_id: None }]).await.unwrap();
    V::apply(&mut *tx, prepared).await.unwrap();
    tx.commit().await.unwrap();
    true
}
