//! Somebody signed in, and what it sees. One place for all functions and streams.

use std::time::Duration;

use annals_access::{Access, Customer, Permission, Principal};
use annals_views::audit_log::Scope;
use tokio::time::Instant;

use super::DIALECT;
use super::authentication::Caller;
use super::problem::{Code, Problem};
use crate::observe::chain;
use crate::scope;

/// Somebody signed in, with what was granted to it at that moment.
#[derive(Clone)]
pub(super) struct Viewer {
    access: Access,
    caller: Caller,
    /// Who it is.
    pub(super) principal: Principal,
    /// Which events it sees.
    pub(super) scope: Scope,
    /// The customers of whom it sees anything, with their names.
    pub(super) customers: Vec<Customer>,
}

impl Viewer {
    /// Finds out who calls.
    pub(super) async fn sign_in(access: &Access, caller: Caller) -> Result<Self, Problem> {
        let principal = caller.authenticate(access).await?;
        let scope = scope::audit_log(&principal, Permission::ViewAuditLog);
        let customers = customers(access, &principal).await?;
        Ok(Self { access: access.clone(), caller, principal, scope, customers })
    }

    /// The read itself is an event. One that cannot be written now is counted and told later, so that nobody loses the
    /// sight of the audit log because the disk is full.
    pub(super) async fn record_read(&self) {
        let recorded = self.access.record_read(&self.principal, DIALECT, &self.caller.client).await;
        if let Err(error) = recorded {
            tracing::warn!(error = chain(&error), "a read of the audit log could not be recorded yet");
        }
    }
}

/// The viewer of an answer that takes long. What is granted to it is looked at again every so often.
pub(super) struct LongViewer {
    pub(super) now: Viewer,
    every: Duration,
    looked: Instant,
}

impl LongViewer {
    pub(super) fn new(viewer: Viewer, every: Duration) -> Self {
        Self { now: viewer, every, looked: Instant::now() }
    }

    /// Looks again when it is time. Says whether the viewer is another one now; an error when it may not call any more.
    pub(super) async fn renew(&mut self) -> Result<bool, Problem> {
        if self.looked.elapsed() < self.every {
            return Ok(false);
        }
        self.looked = Instant::now();
        match Viewer::sign_in(&self.now.access, self.now.caller.clone()).await {
            Ok(viewer) => {
                self.now = viewer;
                Ok(true)
            }
            // A store that is away for a moment revokes nothing: that is asked again after the next interval.
            Err(problem) if problem.code() == Code::Unavailable => Ok(false),
            Err(problem) => Err(problem),
        }
    }
}

async fn customers(access: &Access, principal: &Principal) -> Result<Vec<Customer>, Problem> {
    if principal.grants.customers().all(|customer| customer == principal.customer.id) {
        return Ok(vec![principal.customer.clone()]);
    }
    let mut customers = access.customers().await.map_err(|error| Problem::access(&error))?;
    customers.retain(|customer| principal.grants.customers().any(|granted| granted == customer.id));
    Ok(customers)
}
