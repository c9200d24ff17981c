//! `annals demo`: everything at once, in a directory that goes away.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use annals_access::{Author, Permission, Secret};
use annals_producers::Publisher;
use annals_producers::fleet::Fleet;
use anyhow::Context;
use chrono::{TimeDelta, Utc};
use uuid::Uuid;

use crate::cli::ServerRole;
use crate::config::Config;
use crate::installation::Installation;
use crate::output;
use crate::server::{Server, shutdown_signal};

/// Customer and account of the demo.
const CUSTOMER: &str = "demo.example";
const ACCOUNT: &str = "ada@demo.example";

/// Events that are there before the first one is published live, over the past day.
const BACKLOG: u32 = 5_000;

/// Runs the command.
pub async fn run(config: &Config, listen: SocketAddr, rate: u32) -> anyhow::Result<ExitCode> {
    // From here on there is something to remove.
    let shutdown = shutdown_signal();
    let folder =
        tempfile::Builder::new().prefix("annals-demo-").tempdir().context("no temporary directory")?;
    let config = config.embedded_in(folder.path());
    let server = Server::start(&config, listen, &ServerRole::ALL).await?;
    let password = Uuid::new_v4().simple().to_string();
    let customer = set_up(server.installation(), &password).await?;
    let publisher = server.installation().publisher();
    let mut fleet = Fleet::of_customers(Utc::now().timestamp_micros().cast_unsigned(), vec![customer], true);
    publish_backlog(&publisher, &mut fleet).await?;
    explain(&format!("http://{}", server.address()?), &password)?;
    let live = tokio::spawn(publish_live(publisher, fleet, rate));
    // The fleet falls silent first: nothing is published into a log that is being closed.
    let shutdown = async move {
        shutdown.await;
        live.abort();
        let _ = live.await;
    };
    server.run(shutdown).await?;
    output::line(format!("removed {}", folder.path().display()))?;
    folder.close().context("the temporary directory cannot be removed")?;
    Ok(ExitCode::SUCCESS)
}

async fn set_up(installation: &Installation, password: &str) -> anyhow::Result<Uuid> {
    let author = Author::command_line();
    let access = &installation.access;
    let customer = access.add_customer(CUSTOMER, "UTC", &author).await?;
    let permissions = [Permission::ViewAppliances, Permission::ManageUsers, Permission::ViewAuditLog];
    access.add_account(ACCOUNT, CUSTOMER, &permissions, Secret::new(password), &author).await?;
    Ok(customer.id)
}

async fn publish_backlog(publisher: &Publisher, fleet: &mut Fleet) -> anyhow::Result<()> {
    let start = Utc::now() - TimeDelta::days(1);
    let step = TimeDelta::days(1) / BACKLOG.cast_signed();
    let events: Vec<_> = (0..BACKLOG).map(|n| fleet.next(start + step * n.cast_signed())).collect();
    publisher.publish(&events).await?;
    Ok(())
}

/// Publishes at the given rate, a few at a time.
async fn publish_live(publisher: Publisher, mut fleet: Fleet, rate: u32) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.min(100));
    loop {
        ticks.tick().await;
        let events: Vec<_> = (0..rate.div_ceil(100)).map(|_| fleet.next(Utc::now())).collect();
        if let Err(error) = publisher.publish(&events).await {
            tracing::warn!(%error, "the fleet cannot publish");
        }
    }
}

fn explain(url: &str, password: &str) -> anyhow::Result<()> {
    let login = format!("username={ACCOUNT}&password={password}");
    output::line(format!(
        "annals is ready at {url}, with an invented fleet that publishes live. Ctrl-C ends it and removes its data.

  account   {ACCOUNT}
  password  {password}

The newest events, as Lastline's documentation shows it:
  curl '{url}/papi/auditlog/get_events.xml?{login}&max_results=3'

Failed logins, as JSON:
  curl '{url}/papi/auditlog/get_events.json?{login}&action_types=FAILED_LOGIN&max_results=3'

With a cookie instead of the password:
  curl -c cookies.txt -d '{login}' '{url}/papi/login.json'
  curl -b cookies.txt '{url}/papi/auditlog/get_events.json?orderby=account&max_results=3'

Who logged on from an address (take one from the answer to the first):
  curl -b cookies.txt '{url}/papi/auditlog/get_events.json?action_types=HOST_LOGON&max_results=1'
  curl -b cookies.txt '{url}/papi/session/get_users_logged_on.json?ip_address=ADDRESS'

The same log as LogicMonitor's clients see it, and through annals' own API:
  curl -u '{ACCOUNT}:{password}' '{url}/santaba/rest/setting/accesslogs?size=3'
  curl -u '{ACCOUNT}:{password}' '{url}/v1/audit-events?action=HOST_LOGON&limit=3'

For operators:
  curl '{url}/readyz'
  curl '{url}/metrics'"
    ))?;
    Ok(())
}
