//! Servers that belong to one test. One set at a time: they need a processor each.

use std::sync::{Mutex, MutexGuard, PoisonError};

use annals_testing::servers::{Options, PrivateServers, Server, private};

use super::block_on;

static ONE: Mutex<()> = Mutex::new(());

/// Servers of a test's own.
pub struct Own {
    /// Where they are, and the way to stop and start them. Dropped before the next test has its turn.
    pub servers: PrivateServers,
    _turn: MutexGuard<'static, ()>,
}

/// Starts servers of a test's own, when no other test has some.
pub fn own(options: Options) -> Own {
    let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    Own { servers: block_on(private(options)), _turn: turn }
}

impl Own {
    /// Stops a server in order.
    pub fn stop(&self, server: Server) {
        block_on(self.servers.stop(server));
    }

    /// Kills a server.
    pub fn kill(&self, server: Server) {
        block_on(self.servers.kill(server));
    }

    /// Starts a stopped server again.
    pub fn start(&self, server: Server) {
        block_on(self.servers.start(server));
    }
}
