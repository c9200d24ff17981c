//! The server: every role in one process, started and ended in order.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annals_access::Access;
use annals_consumers::{Projector, State, Status, Stop, StopSignal, for_each_view, rebuild, relay, sweep};
use annals_query_api::{ApiSettings, ApiState, Component, ComponentState};
use annals_schemas::TOPICS;
use annals_store::{DataDir, Followed, Role, RoleLock, StoreError};
use annals_views::View;
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;
use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::installation::Installation;
use crate::telemetry;

/// How often counted events whose minute is over are written.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// A running server.
pub struct Server {
    installation: Installation,
    _roles: Vec<RoleLock>,
    listener: TcpListener,
    router: axum::Router,
    stop: StopSignal,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Takes the roles, opens everything and begins to fold. Requests are answered by [`run`](Self::run).
    pub async fn start(config: &Config, directory: DataDir, listen: SocketAddr) -> anyhow::Result<Self> {
        // First of all, so that a second server on the directory does nothing before it hears so.
        let roles = vec![directory.take_role(Role::Projector)?, directory.take_role(Role::Relay)?];
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let metrics = telemetry::metrics()?;
        let installation = Installation::of(directory).await?;
        let audit_log = follow::<AuditLog>(&installation).await?;
        let logged_on_users = follow::<LoggedOnUsers>(&installation).await?;
        let (stop, stopped) = StopSignal::new();
        let (statuses, tasks) = spawn_tasks(&installation, &stopped);
        let state = ApiState {
            access: installation.access.clone(),
            audit_log,
            logged_on_users,
            bus: Arc::clone(&installation.bus),
            topics: &TOPICS,
            render_metrics: Arc::new(move || metrics.render()),
            components: Arc::new(move || statuses.iter().map(component).collect()),
            settings: ApiSettings {
                request_timeout: config.request_timeout,
                tls: config.secure_cookies,
                ..ApiSettings::default()
            },
        };
        let router = annals_query_api::router(state);
        Ok(Self { installation, _roles: roles, listener, router, stop, tasks })
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

async fn follow<V: View>(installation: &Installation) -> anyhow::Result<Followed> {
    rebuild::bring_to_version::<V>(&installation.engine()).await?;
    let Installation { control, directory, .. } = installation;
    match Followed::start(control, directory, V::NAME, V::VERSION, V::tables()).await {
        // The log is the truth: a view that cannot be read is folded from it again.
        Err(StoreError::Damaged(path)) => {
            tracing::error!(view = V::NAME, path = %path.display(), "the view is damaged; folding it again");
            rebuild::rebuild::<V>(&installation.engine(), None, &mut |_| {}).await?;
            Ok(Followed::start(control, directory, V::NAME, V::VERSION, V::tables()).await?)
        }
        followed => Ok(followed?),
    }
}

fn spawn_tasks(installation: &Installation, stop: &Stop) -> (Vec<Status>, Vec<JoinHandle<()>>) {
    let mut statuses = Vec::new();
    let mut tasks = Vec::new();
    macro_rules! project {
        ($view:ty) => {
            let (status, task) = Projector::<$view>::spawn(installation.engine(), stop.clone());
            statuses.push(status);
            tasks.push(task);
        };
    }
    for_each_view!(project);
    let Installation { access, control, bus, .. } = installation;
    let (status, task) = relay::spawn(access.clone(), control.clone(), Arc::clone(bus), stop.clone());
    statuses.push(status);
    tasks.push(task);
    tasks.push(tokio::spawn(sweep::run(installation.engine(), stop.clone())));
    tasks.push(tokio::spawn(flush(access.clone(), stop.clone())));
    (statuses, tasks)
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

/// Ready at SIGTERM or Ctrl-C.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
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
