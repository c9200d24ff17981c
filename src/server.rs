//! The server: the roles of one process, started and ended in order.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annals_access::{Access, Member};
use annals_bus::Bus;
use annals_consumers::{Engine, Projector, State, Status, Stop, StopSignal, for_each_view, rebuild, sweep};
use annals_query_api::{ApiSettings, ApiState, ApiViews, Component, ComponentState, LateViews};
use annals_schemas::TOPICS;
use annals_store::{Followed, Role, RoleGuard, StoreError};
use annals_views::View;
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;
use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::cli::ServerRole;
use crate::config::Config;
use crate::installation::{Engines, Installation};
use crate::{host_name, telemetry};

/// How often counted events whose minute is over are written.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// How often a process says that it is there, and what it does, for `annals status`.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How often a process that does not project looks whether a projector has made its views.
const LOOK_FOR_VIEWS: Duration = Duration::from_millis(500);

/// A running server.
pub struct Server {
    installation: Installation,
    _roles: Vec<RoleGuard>,
    listener: TcpListener,
    router: axum::Router,
    stop: StopSignal,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Takes the roles, opens everything and begins to work. Requests are answered by [`run`](Self::run).
    pub async fn start(config: &Config, listen: SocketAddr, roles: &[ServerRole]) -> anyhow::Result<Self> {
        let engines = Engines::create(config)?;
        // First of all, so that a second server on the directory does nothing before it hears so.
        let mut guards = Vec::new();
        for (role, lock) in [(ServerRole::Projector, Role::Projector), (ServerRole::Relay, Role::Relay)] {
            if roles.contains(&role) {
                guards.push(engines.take_role(lock).await?);
            }
        }
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let metrics = telemetry::metrics()?;
        let installation = engines.open(config).await?;
        let (stop, stopped) = StopSignal::new();
        let (views, waiting) = views(&installation, roles, &stopped).await?;
        let (statuses, mut tasks) = spawn_tasks(&installation, roles, &stopped);
        tasks.extend(waiting);
        let bus = Arc::clone(&installation.bus);
        let state = ApiState {
            access: installation.access.clone(),
            views,
            bus: Arc::clone(&installation.bus),
            topics: &TOPICS,
            render_metrics: Arc::new(move || metrics.render()),
            components: Arc::new(move || statuses.iter().map(component).chain(log(&*bus)).collect()),
            settings: api_settings(config, roles),
        };
        let router = annals_query_api::router(state);
        Ok(Self { installation, _roles: guards, listener, router, stop, tasks })
    }

    /// The installation that is served.
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Where it listens.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Answers requests until `shutdown` is ready, then ends everything in order: requests, what was counted, the
    /// outbox, the projectors, the databases.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let Self { installation, _roles, listener, router, stop, tasks } = self;
        let served = annals_query_api::serve(listener, router, shutdown).await;
        tracing::info!("stopping");
        if let Err(error) = installation.access.flush(true).await {
            tracing::warn!(%error, "counted events are lost");
        }
        stop.stop();
        for task in tasks {
            task.await?;
        }
        installation.close().await;
        tracing::info!("stopped");
        Ok(served?)
    }
}

/// Opens the views that this process reads. A projector has made them when this returns; a process that only queries
/// waits for one beside its work, and a relay alone needs none.
async fn views(
    installation: &Installation,
    roles: &[ServerRole],
    stop: &Stop,
) -> anyhow::Result<(LateViews, Option<JoinHandle<()>>)> {
    let views = LateViews::default();
    if roles.contains(&ServerRole::Projector) {
        let audit_log = follow::<AuditLog>(installation).await?;
        let logged_on_users = follow::<LoggedOnUsers>(installation).await?;
        views.set(ApiViews { audit_log, logged_on_users });
        return Ok((views, None));
    }
    if !roles.contains(&ServerRole::Query) {
        return Ok((views, None));
    }
    let (engine, late, mut stop) = (installation.engine(), views.clone(), stop.clone());
    let waiting = tokio::spawn(async move {
        let both = async {
            let audit_log = wait_for_view::<AuditLog>(&engine).await;
            let logged_on_users = wait_for_view::<LoggedOnUsers>(&engine).await;
            late.set(ApiViews { audit_log, logged_on_users });
        };
        tokio::select! {
            () = both => {}
            () = stop.wait() => {}
        }
    });
    Ok((views, Some(waiting)))
}

async fn follow<V: View>(installation: &Installation) -> anyhow::Result<Followed> {
    let Installation { control, database, .. } = installation;
    rebuild::bring_to_version::<V>(&installation.engine()).await?;
    let start = || Followed::start(control, database, V::NAME, V::VERSION, Some(V::tables()));
    match start().await {
        // The log is the truth: a view that cannot be read is folded from it again.
        Err(StoreError::Damaged(place)) => {
            tracing::error!(view = V::NAME, %place, "the view is damaged; folding it again");
            rebuild::rebuild::<V>(&installation.engine(), None, &mut |_| {}).await?;
            Ok(start().await?)
        }
        followed => Ok(followed?),
    }
}

/// Waits until a projector has made a view of this program's version.
async fn wait_for_view<V: View>(engine: &Engine) -> Followed {
    let mut told = None;
    loop {
        let error = match Followed::start(&engine.control, &engine.database, V::NAME, V::VERSION, None).await
        {
            Ok(followed) => return followed,
            Err(StoreError::Gone(_)) => "no projector has made it yet".to_owned(),
            Err(error) => error.to_string(),
        };
        if told.as_ref() != Some(&error) {
            tracing::info!(view = V::NAME, reason = error, "waiting for the view");
            told = Some(error);
        }
        tokio::time::sleep(LOOK_FOR_VIEWS).await;
    }
}

fn spawn_tasks(
    installation: &Installation,
    roles: &[ServerRole],
    stop: &Stop,
) -> (Vec<Status>, Vec<JoinHandle<()>>) {
    let mut statuses = Vec::new();
    let mut tasks = Vec::new();
    if roles.contains(&ServerRole::Projector) {
        macro_rules! project {
            ($view:ty) => {
                let (status, task) = Projector::<$view>::spawn(installation.engine(), stop.clone());
                statuses.push(status);
                tasks.push(task);
            };
        }
        for_each_view!(project);
        tasks.push(tokio::spawn(sweep::run(installation.engine(), stop.clone())));
    }
    if roles.contains(&ServerRole::Relay) {
        let (status, task) = installation.relay().spawn(stop.clone());
        statuses.push(status);
        tasks.push(task);
    }
    let access = installation.access.clone();
    tasks.push(tokio::spawn(flush(access.clone(), stop.clone())));
    tasks.push(tokio::spawn(tell_that_it_is_here(access, roles.to_vec(), statuses.clone(), stop.clone())));
    (statuses, tasks)
}

/// Keeps this process in the list of members, and takes it out at the end.
async fn tell_that_it_is_here(access: Access, roles: Vec<ServerRole>, statuses: Vec<Status>, mut stop: Stop) {
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let member = Member::this_process(&names.join(","), &host_name(), env!("CARGO_PKG_VERSION"));
    loop {
        let detail: serde_json::Map<String, serde_json::Value> =
            statuses.iter().map(|status| (status.name().to_owned(), status.shown())).collect();
        let detail = serde_json::Value::Object(detail).to_string();
        let told = match access.heartbeat(member.id, &detail).await {
            Ok(false) => access.register_member(&Member { detail, ..member.clone() }).await,
            told => told.map(drop),
        };
        if let Err(error) = told {
            tracing::warn!(%error, "this process cannot tell that it is here");
        }
        tokio::select! {
            () = stop.wait() => break,
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
    }
    if let Err(error) = access.remove_member(member.id).await {
        tracing::debug!(%error, "this process stays in the list of members for a while");
    }
}

async fn flush(access: Access, mut stop: Stop) {
    loop {
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(FLUSH_INTERVAL) => {}
        }
        if let Err(error) = access.flush(false).await {
            tracing::warn!(%error, "counted events wait for the next try");
        }
    }
}

fn component(status: &Status) -> Component {
    let state = match status.state() {
        State::Running => ComponentState::Running,
        State::Starting => ComponentState::Waiting("starting".to_owned()),
        State::Waiting(reason) => ComponentState::Waiting(reason),
        State::Stopped(reason) => ComponentState::Stopped(reason),
        State::Ended => ComponentState::Stopped("ended".to_owned()),
    };
    Component { name: status.name().to_owned(), state }
}

/// The log itself, where it can be out of reach.
fn log(bus: &dyn Bus) -> Option<Component> {
    let state = ComponentState::Waiting(bus.trouble()?);
    Some(Component { name: "log".to_owned(), state })
}

/// Ready at SIGTERM or Ctrl-C, from this call on: a signal that comes before the first poll is not lost, and does not end the
/// process.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        match signals {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            // Without handlers the signals' own effect stays: they end the process.
            _ => std::future::pending().await,
        }
    }
}

fn api_settings(config: &Config, roles: &[ServerRole]) -> ApiSettings {
    let usual = ApiSettings::default();
    ApiSettings {
        request_timeout: config.request_timeout,
        tls: config.secure_cookies,
        dialects: roles.contains(&ServerRole::Query),
        rate_limit: config.rate_limit.unwrap_or(usual.rate_limit),
        audit_page_limit: config.audit_page_limit.unwrap_or(usual.audit_page_limit),
        ..usual
    }
}
