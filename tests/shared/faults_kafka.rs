//! Brokers and the connections to them go away and come back.

use std::time::Duration;

use annals_testing::proxy::Proxy;
use annals_testing::servers::{self, Options, Server as Kind};

use crate::support::servers::own;
use crate::support::{Home, Ledger, Load, Server, health, verify};

/// The processes of an installation.
struct Processes {
    projectors: [Server; 2],
    query: Server,
}

impl Processes {
    fn start(home: &Home) -> Self {
        let projectors =
            ["projector", "projector,relay"].map(|roles| Server::start_command(&mut home.serve(roles)));
        Self { projectors, query: Server::start_command(&mut home.serve("query")).ready() }
    }

    fn all(&self) -> [&Server; 3] {
        [&self.projectors[0], &self.projectors[1], &self.query]
    }

    /// Every process says that the log is away, and the views can be asked all the same.
    #[track_caller]
    fn miss_the_log(&self) {
        for server in self.all() {
            health::says(server, "log", "waiting", "cannot be reached");
        }
        let cookie = self.query.sign_in();
        self.query.events(&cookie, "max_results=5");
    }

    fn stop(self) {
        self.projectors.into_iter().chain([self.query]).for_each(Server::stop);
    }
}

#[test]
fn a_broker_that_is_restarted_and_connections_that_break_delay_events_and_lose_none() {
    let own = own(Options { servers: vec![Kind::Kafka], ..Options::default() });
    let kafka = own.servers.kafka();
    let mut home = Home::at(&kafka.bootstrap, "", &servers::postgres());
    home.set_up();
    let between = Proxy::start(Some(kafka.proxied[0].advertised), kafka.proxied[0].behind).unwrap();
    home.bus = home.direct_bus.replace(&kafka.bootstrap, &between.address().to_string());
    let processes = Processes::start(&home);
    let load = Load::at_rate(&home, 1, 500);
    health::goes_on(&home, &processes.all(), &load);

    own.stop(Kind::Kafka);
    processes.miss_the_log();
    own.start(Kind::Kafka);
    health::goes_on(&home, &processes.all(), &load);

    own.kill(Kind::Kafka);
    processes.miss_the_log();
    own.start(Kind::Kafka);
    health::goes_on(&home, &processes.all(), &load);

    between.cut();
    processes.miss_the_log();
    load.more(300);
    between.restore();
    health::goes_on(&home, &processes.all(), &load);

    between.hold();
    for projector in &processes.projectors {
        health::says(projector, "log", "waiting", "cannot be reached");
    }
    load.more(300);
    between.restore();
    health::goes_on(&home, &processes.all(), &load);

    between.delay(Duration::from_millis(50));
    health::goes_on(&home, &processes.all(), &load);
    between.delay(Duration::ZERO);
    between.reset();
    health::goes_on(&home, &processes.all(), &load);

    let mut ledger = Ledger::default();
    load.stop(&mut ledger);
    verify::log_and_views(&home, &ledger);
    processes.stop();
}

#[test]
fn one_broker_of_three_is_lost_and_what_was_acknowledged_is_there() {
    let own = own(Options { servers: vec![Kind::Kafka], brokers: 3, ..Options::default() });
    let kafka = own.servers.kafka();
    let mut home = Home::at(&kafka.bootstrap, "&replication=3&min_insync=2", &servers::postgres());
    home.set_up();
    let processes = Processes::start(&home);
    let load = Load::at_rate(&home, 1, 300);
    health::goes_on(&home, &processes.all(), &load);
    for broker in [Kind::Broker(2), Kind::Broker(3)] {
        own.kill(broker);
        // Two of three are enough for everything.
        health::goes_on(&home, &processes.all(), &load);
        own.start(broker);
        health::goes_on(&home, &processes.all(), &load);
    }
    let mut ledger = Ledger::default();
    load.stop(&mut ledger);
    verify::log_and_views(&home, &ledger);
    processes.stop();
}
