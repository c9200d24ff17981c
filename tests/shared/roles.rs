//! Processes with one role each: they find each other through log and store alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::support::home::PASSWORD;
use crate::support::{Home, Ledger, Load, Server, block_on, verify, views};

/// A role of the database, which goes away with everything that it owns.
struct DatabaseRole<'a> {
    home: &'a Home,
    name: String,
}

impl<'a> DatabaseRole<'a> {
    /// Makes a role that may log in and nothing else.
    fn new(home: &'a Home) -> Self {
        let name = format!("query_{}", home.database.name);
        home.execute(&format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"));
        Self { home, name }
    }

    /// The store's address for it.
    fn store(&self) -> String {
        let (_, place) = self.home.database.url.split_once('@').unwrap();
        format!("postgres://{}:{PASSWORD}@{place}", self.name)
    }
}

impl Drop for DatabaseRole<'_> {
    fn drop(&mut self) {
        self.home.execute(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.name));
    }
}

#[test]
fn a_query_process_waits_for_the_views_and_answers_as_soon_as_they_are_there() {
    let home = Home::with_account();
    let mut query = Server::start_command(&mut home.serve("query"));
    query.process.stderr_line(|line| line.contains("waiting for the view"));
    let waiting = query.get("/readyz");
    assert!(waiting.status == 503 && waiting.body.contains("waiting for a projector"), "{waiting:?}");
    assert_eq!(query.get("/healthz").status, 200, "it is alive");
    assert_eq!(query.get("/papi/login.json").status, 503);
    Server::start_command(&mut home.serve("query")).stop();
    let projector = Server::start_command(&mut home.serve("projector,relay"));
    let query = query.ready();
    let mut ledger = Ledger::default();
    Load::of(&home, 1, 200, &mut ledger);
    verify::everything(&home, &query, &ledger);
    // What a process does not do it does not claim to.
    assert_eq!(projector.get("/papi/login.json").status, 404);
    query.stop();
    projector.stop();
}

#[test]
fn a_query_process_with_a_role_of_its_own_answers_and_signs_in_and_cannot_write_views() {
    let home = Home::with_account();
    let role = DatabaseRole::new(&home);
    // Before the views are made, and for those of later generations.
    home.run(&["store", "grant-query", &role.name]).expect(0);
    let store = role.store();
    let projector = Server::start_command(&mut home.serve("projector,relay"));
    let query = Server::start_command(home.serve("query").env("ANNALS_STORE", &store)).ready();
    let mut ledger = Ledger::default();
    Load::of(&home, 1, 300, &mut ledger);
    verify::everything(&home, &query, &ledger);
    cannot_write(&home, &store, "annals_audit_log_1");
    home.run(&["rebuild", "audit_log"]).expect(0);
    verify::everything(&home, &query, &ledger);
    cannot_write(&home, &store, "annals_audit_log_2");
    cannot_write(&home, &store, "annals_logged_on_users_1");
    query.stop();
    projector.stop();
}

/// Every way to change a view must be refused, for want of rights.
fn cannot_write(home: &Home, store: &str, schema: &str) {
    let tables =
        views::query(home, &format!("SELECT tablename::text FROM pg_tables WHERE schemaname = '{schema}'"));
    assert!(tables.len() >= 5, "{tables:?}");
    let mut statements = vec![
        format!("CREATE TABLE {schema}.mine (a int)"),
        format!("DROP SCHEMA {schema} CASCADE"),
        "UPDATE annals._sqlx_migrations SET version = 7".to_owned(),
        "DROP TABLE annals.outbox".to_owned(),
        "CREATE SCHEMA mine".to_owned(),
    ];
    for table in &tables {
        statements.extend(
            [
                "INSERT INTO {} DEFAULT VALUES",
                "DELETE FROM {}",
                "TRUNCATE {}",
                "DROP TABLE {}",
                "ALTER TABLE {} ADD COLUMN mine int",
            ]
            .map(|statement| statement.replace("{}", &format!("{schema}.{table}"))),
        );
    }
    block_on(async {
        let mut connection = PgConnection::connect(store).await.unwrap();
        for statement in statements {
            let error = connection.execute(AssertSqlSafe(statement.clone())).await.expect_err(&statement);
            let code = error.as_database_error().and_then(|error| error.code().map(String::from));
            assert_eq!(code.as_deref(), Some("42501"), "{statement}: {error}");
        }
        for table in &tables {
            let statement = format!("SELECT count(*) FROM {schema}.{table}");
            connection.execute(AssertSqlSafe(statement)).await.unwrap();
        }
    });
}

/// Asks for events without a pause until it is stopped. Gives how often.
fn ask_until(stop: &AtomicBool, server: &Server) -> usize {
    let cookie = server.sign_in();
    let mut asked = 0;
    while !stop.load(Ordering::SeqCst) {
        // Answers with success or panics.
        server.events(&cookie, "orderby=ts+DESC&max_results=5");
        asked += 1;
    }
    asked
}

#[test]
fn a_rebuild_beside_projectors_and_queries_under_load_fails_no_request() {
    let home = Home::with_account();
    let projectors =
        ["projector", "projector,relay"].map(|roles| Server::start_command(&mut home.serve(roles)));
    let queries = [0; 2].map(|_| Server::start_command(&mut home.serve("query")));
    let load = Load::at_rate(&home, 1, 300);
    load.more(300);
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for query in &queries {
            scope.spawn(|| asked.fetch_add(ask_until(&stop, query), Ordering::SeqCst));
        }
        for (view, generation) in [("audit_log", 2), ("logged_on_users", 2), ("audit_log", 3)] {
            let said = home.run(&["rebuild", view]).expect(0).stdout;
            assert!(said.starts_with(&format!("rebuilt {view} as generation {generation} ")), "{said}");
            load.more(300);
        }
        stop.store(true, Ordering::SeqCst);
    });
    let asked = asked.into_inner();
    assert!(asked > 20, "{asked} requests were answered meanwhile");
    let mut ledger = Ledger::default();
    load.stop(&mut ledger);
    verify::everything(&home, &queries[0], &ledger);
    let status = home.status();
    shows_the_views(&status, &projectors);
    shows_the_processes(
        &status,
        &[
            (&projectors[0], "projector"),
            (&projectors[1], "projector,relay"),
            (&queries[0], "query"),
            (&queries[1], "query"),
        ],
    );
    queries.into_iter().chain(projectors).for_each(Server::stop);
    let processes = home.status()["processes"].as_array().unwrap().len();
    assert_eq!(processes, 0, "processes that ended are not listed");
}

/// Generations without lag, each partition with one of the projectors.
fn shows_the_views(status: &Value, projectors: &[Server]) {
    assert_eq!(status["outbox"], 0);
    let generations = status["generations"].as_array().unwrap();
    let active: BTreeMap<&str, &Value> = generations
        .iter()
        .filter(|generation| generation["state"] == "active")
        .map(|generation| (generation["view"].as_str().unwrap(), generation))
        .collect();
    assert_eq!(active.keys().copied().collect::<Vec<_>>(), ["audit_log", "logged_on_users"], "{status:#}");
    for (view, generation, count) in [("audit_log", 3, 8), ("logged_on_users", 2, 4)] {
        let shown = active[view];
        assert_eq!((&shown["generation"], &shown["dead_letters"]), (&generation.into(), &0.into()));
        let partitions = shown["partitions"].as_array().unwrap();
        assert_eq!(partitions.len(), count);
        assert!(partitions.iter().all(|at| at["lag"] == 0), "{shown:#}");
        let members = shown["members"].as_array().unwrap();
        let ids = projectors.iter().map(|projector| format!("-{}", projector.process.id()));
        assert!(ids.clone().count() == members.len(), "{shown:#}");
        assert!(
            ids.into_iter().all(|id| members.iter().any(|m| m["client_id"].as_str().unwrap().ends_with(&id)))
        );
        let read: Vec<&str> = members
            .iter()
            .flat_map(|member| member["partitions"].as_array().unwrap())
            .map(|p| p.as_str().unwrap())
            .collect();
        assert_eq!((read.len(), read.iter().collect::<BTreeSet<_>>().len()), (count, count), "{shown:#}");
    }
}

fn shows_the_processes(status: &Value, servers: &[(&Server, &str)]) {
    let processes = status["processes"].as_array().unwrap();
    assert_eq!(processes.len(), servers.len(), "{status:#}");
    for (server, roles) in servers {
        let shown = processes.iter().find(|process| process["process"] == server.process.id()).unwrap();
        assert_eq!(shown["roles"], *roles);
        let consumers = shown["consumers"].as_object().unwrap();
        assert!(consumers.values().all(|consumer| consumer["state"] == "running"), "{shown:#}");
    }
}
