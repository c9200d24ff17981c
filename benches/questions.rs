//! Questions to the audit log: pages with their exact totals, beside the same questions in SQL written by hand.
//!
//! `cargo bench --bench questions -- COMMAND [--dir DIR] [--rounds N] [--others N] [--only NAME]`
//! - `load embedded N`, `load postgres N`: folds a log of N invented events into the view of that store; prints the rate
//!   and the bytes per row. The log is made once, in DIR (without: in a directory of `target` named by N), and kept;
//! - `load peer N`: copies the rows of PostgreSQL's view into a flat table (`benches/peers/postgres`);
//! - `ask embedded N`, `ask postgres N`: every class of questions 200 times, or those whose name contains NAME; prints a
//!   table. Who is compared is asked at most as often as `--others` says; with `--alone yes` only the library is asked;
//! - `all N…` (without a command: all 1,000,000 and 5,000,000): all of that for each N, the growth from the first N to the
//!   last, and the file in `benches/results`.
//!
//! PostgreSQL is that of `ANNALS_POSTGRES`, as `deploy/dev/servers start` prints it. Where `ANNALS_OPENSEARCH` names an
//! OpenSearch with the same rows (`benches/peers/opensearch/run`), it is asked too. Questions, figures and what is compared
//! are said in `benches/peers/postgres/README.md`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "support/classes.rs"]
mod classes;
#[expect(dead_code, reason = "other benchmarks sign in")]
#[path = "support/client.rs"]
mod client;
#[path = "support/question.rs"]
mod question;
#[path = "support/site.rs"]
mod site;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use annals_store::GenerationReader;
use annals_store::sql::{Pool, sql};
use annals_views::audit_log::{CountedPage, Memory, counted_page};
use classes::{CLASSES, Class, FEW, Wanted, World};
use client::Client;
use question::{LIMIT, Question, Tables};
use site::{Server, Site, Store};
use uuid::Uuid;

/// Questions of a class that each side is asked before the clock runs.
const WARM_UP: usize = 10;
/// Of these, those that the others are asked: some of them take seconds.
const WARM_UP_OF_OTHERS: usize = 2;
/// SQL by hand is asked as often as the library until it has taken so long in a class, but so often at least.
const PATIENCE: Duration = Duration::from_secs(30);
const AT_LEAST: usize = 20;
/// A connection that was idle for longer is made anew, outside of the clock: the server closes such.
const IDLE: Duration = Duration::from_secs(1);
/// What the first page may take of what the query by hand takes.
const OF_BY_HAND: f64 = 1.2;
/// What a page of a counted class may take of what it took with fewer rows.
const GROWTH: f64 = 1.3;

/// The program's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // `cargo test --benches` only sees that it builds: the servers are not its business.
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if !std::env::args().any(|argument| argument == "--bench") && arguments.is_empty() {
        return;
    }
    let mut option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.drain(at..at + 2).nth(1).unwrap())
    };
    let directory = option("--dir").map(PathBuf::from);
    let rounds: usize = option("--rounds").map_or(200, |n| n.parse().unwrap());
    let others: usize = option("--others").map_or(rounds, |n| n.parse().unwrap());
    let only = option("--only").unwrap_or_default();
    let alone = option("--alone").is_some_and(|yes| yes == "yes");
    let effort = Effort { rounds, others, only, alone };
    let place = |events: usize| {
        let usual = || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("questions-{events}"));
        directory.clone().unwrap_or_else(usual)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let open = |events: &str| {
        let events = events.parse().unwrap();
        runtime.block_on(Site::open(&place(events), events))
    };
    match words.as_slice() {
        ["load", "peer", events] => print!("{}", load_peer(&open(events))),
        ["load", store, events] => {
            let store = Store::named(store).expect("the store is `embedded` or `postgres`");
            print!("{}", runtime.block_on(load(&open(events), store)));
        }
        ["ask", store, events] => {
            let store = Store::named(store).expect("the store is `embedded` or `postgres`");
            let asked = runtime.block_on(ask(&open(events), store, &effort));
            print!("{}", table(&asked));
        }
        ["all", counts @ ..] => all(&runtime, counts, &open, &effort),
        [] => all(&runtime, &["1000000", "5000000"], &open, &effort),
        _ => panic!("the commands are `load`, `ask` and `all`; see the head of benches/questions.rs"),
    }
}

/// How much is asked.
struct Effort {
    /// Questions of a class to the library.
    rounds: usize,
    /// At most, to the others.
    others: usize,
    /// A part of the names of the classes.
    only: String,
    /// Nobody else than the library is asked.
    alone: bool,
}

fn all(runtime: &tokio::runtime::Runtime, counts: &[&str], open: &dyn Fn(&str) -> Site, effort: &Effort) {
    let mut report = String::new();
    let mut tell = |text: String| {
        print!("{text}");
        report.push_str(&text);
    };
    let mut asked: Vec<Asked> = Vec::new();
    for events in counts {
        let site = open(events);
        tell(format!("{events} events, seed {}\n", site::SEED));
        for store in Store::ALL {
            tell(runtime.block_on(load(&site, store)));
        }
        tell(load_peer(&site));
        for store in Store::ALL {
            let answers = runtime.block_on(ask(&site, store, effort));
            tell(table(&answers));
            asked.push(answers);
        }
    }
    for store in Store::ALL {
        let mut of_store = asked.iter().filter(|asked| asked.store == store);
        if let (Some(least), Some(most)) = (of_store.next(), of_store.next_back()) {
            tell(growth(least, most));
        }
    }
    let name = format!("benches/results/{}-questions.txt", chrono::Utc::now().format("%Y-%m-%d"));
    std::fs::write(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name), report).unwrap();
}

async fn load(site: &Site, store: Store) -> String {
    let folded = site.fold(store).await;
    format!(
        "load {:<9} {:>9} rows, {:>7.0} rows/s, {:>5.0} bytes per row\n",
        store.name(),
        folded.rows,
        folded.rows as f64 / folded.elapsed.as_secs_f64(),
        folded.bytes as f64 / folded.rows as f64
    )
}

fn load_peer(site: &Site) -> String {
    let peer = site::load_peer(site);
    format!(
        "load {:<9} {:>9} rows, {:>7.0} rows/s by COPY, indexes in {:.0} s more, {:>5.0} bytes per row\n",
        "flat",
        peer.rows,
        peer.rows as f64 / peer.copied.as_secs_f64(),
        peer.indexed.as_secs_f64(),
        peer.bytes as f64 / peer.rows as f64
    )
}

/// The answers of one run.
struct Asked {
    store: Store,
    rows: u64,
    classes: Vec<Answers>,
}

/// What the questions of one class took, in milliseconds.
struct Answers {
    class: &'static Class,
    matches: Times,
    first: Times,
    next: Times,
    http: Times,
    by_hand: Times,
    /// Only `count(*)` by hand.
    count_by_hand: Times,
    flat: Times,
    opensearch: Times,
    /// First page divided by the query by hand, question by question.
    ratios: Times,
}

impl Answers {
    fn of(class: &'static Class) -> Self {
        let [matches, first, next, http, by_hand, count_by_hand, flat, opensearch, ratios] =
            Default::default();
        Self { class, matches, first, next, http, by_hand, count_by_hand, flat, opensearch, ratios }
    }
}

/// Figures that are sorted when they are read.
#[derive(Clone, Debug, Default)]
struct Times(Vec<f64>);

impl Times {
    fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Leaves out the rounds before the clock runs.
    fn push_from(&mut self, round: usize, value: f64) {
        if round >= WARM_UP {
            self.push(value);
        }
    }

    fn at(&self, share: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get((sorted.len().checked_sub(1)? as f64 * share) as usize).copied()
    }

    fn sum(&self) -> Duration {
        Duration::from_secs_f64(self.0.iter().sum::<f64>() / 1e3)
    }
}

/// Asks every class. SQL by hand has connections of its own; nothing is written meanwhile, so all see the same rows.
async fn ask(site: &Site, store: Store, effort: &Effort) -> Asked {
    let view = site.view(store).await;
    let mut world = World::read(&view.by_hand).await.unwrap();
    let flat = site.flat().await;
    let server = site.serve(store);
    let mut client = Client::connect(&server.address);
    while client.get("/readyz").0 != 200 {}
    let mut sides = Sides {
        customers: &site.note.customers,
        reader: &view.reader,
        by_hand: &view.by_hand,
        flat: flat.as_ref(),
        client,
        client_used: Instant::now(),
        server: &server,
        seen: HashSet::new(),
        opensearch: std::env::var("ANNALS_OPENSEARCH").ok(),
        effort,
    };
    let mut classes = Vec::new();
    for class in CLASSES.iter().filter(|class| class.name.contains(&effort.only)) {
        classes.push(sides.ask(class, &mut world).await);
    }
    view.close().await;
    if let Some(flat) = flat {
        flat.close().await;
    }
    Asked { store, rows: world.rows, classes }
}

/// All who are asked.
struct Sides<'s> {
    customers: &'s [Uuid],
    reader: &'s GenerationReader,
    by_hand: &'s Pool,
    flat: Option<&'s Pool>,
    client: Client,
    client_used: Instant,
    server: &'s Server,
    /// Filters that the server was asked for.
    seen: HashSet<String>,
    /// Host and port.
    opensearch: Option<String>,
    effort: &'s Effort,
}

impl Sides<'_> {
    /// One side after the other, over the same questions: connections to SQLite share their memory within a process, so that
    /// whoever is asked in between finds it taken by the others.
    async fn ask(&mut self, class: &'static Class, world: &mut World) -> Answers {
        let mut answers = Answers::of(class);
        let questions: Vec<Question> =
            (0..WARM_UP + self.effort.rounds).map(|_| (class.draw)(world)).collect();
        let mut found = Vec::new();
        for (round, question) in questions.iter().enumerate() {
            let memory = Memory::default();
            let (first, page) = self.library(question, &memory).await;
            let offset = question.offset + u64::from(LIMIT) * (1 + round as u64 % 5);
            let (next, _) = self.library(&Question { offset, ..question.clone() }, &memory).await;
            found.push(Found::of(&page));
            answers.matches.push_from(round, page.total as f64);
            answers.first.push_from(round, first);
            answers.next.push_from(round, next);
        }
        if self.effort.alone {
            eprintln!("{}", row(&answers));
            return answers;
        }
        let asked = || questions.iter().zip(&found).enumerate();
        let of_others =
            || asked().skip(WARM_UP - WARM_UP_OF_OTHERS).take(WARM_UP_OF_OTHERS + self.effort.others);
        for (round, (question, expected)) in of_others() {
            if !is_patient(&answers.by_hand) {
                break;
            }
            let (took, count, found) = in_sql(self.by_hand, question, Tables::View).await;
            assert_eq!(found, *expected, "{question:?}");
            answers.by_hand.push_from(round, took);
            answers.count_by_hand.push_from(round, count);
        }
        let ratios = answers.first.0.iter().zip(&answers.by_hand.0).map(|(first, by_hand)| first / by_hand);
        answers.ratios = Times(ratios.collect());
        for (round, (question, expected)) in of_others() {
            let Some(flat) = self.flat.filter(|_| is_patient(&answers.flat)) else { break };
            let (took, _, found) = in_sql(flat, question, Tables::Flat).await;
            assert_eq!(found, *expected, "{question:?}");
            answers.flat.push_from(round, took);
        }
        for (round, (question, expected)) in of_others() {
            let address = self.opensearch.as_ref().filter(|_| is_patient(&answers.opensearch));
            let Some(address) = address else { break };
            let (took, found) = in_opensearch(address, question);
            assert_eq!(found, *expected, "{question:?}");
            answers.opensearch.push_from(round, took);
        }
        for (round, (question, expected)) in asked() {
            if let Some(target) = question.santaba().filter(|_| self.is_new(class, question)) {
                answers.http.push_from(round, self.http(&target, expected.total));
            }
        }
        // Classes can take minutes; the table comes at the end.
        eprintln!("{}", row(&answers));
        answers
    }

    /// The server remembers what it counted row by row: with another order it is no first page either.
    fn is_new(&mut self, class: &Class, question: &Question) -> bool {
        matches!(class.wanted, Wanted::Counted | Wanted::Deep)
            || self.seen.insert(format!("{:?} {:?}", question.seconds, question.conditions))
    }

    async fn library(&self, question: &Question, memory: &Memory) -> (f64, CountedPage) {
        let query = question.audit_query(self.customers);
        let started = Instant::now();
        let page = counted_page(self.reader, memory, &query).await.unwrap();
        (milliseconds(started), page)
    }

    fn http(&mut self, target: &str, total: u64) -> f64 {
        if self.client_used.elapsed() > IDLE {
            self.client = Client::connect(&self.server.address);
        }
        let started = Instant::now();
        let (status, body) = self.client.get_with(&self.server.authorization, target);
        let took = milliseconds(started);
        self.client_used = Instant::now();
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, 200, "{target}: {text}");
        assert!(text.starts_with(&format!("{{\"total\":{total},")), "{target}: {text:.200}");
        took
    }
}

fn is_patient(times: &Times) -> bool {
    times.0.len() < AT_LEAST || times.sum() < PATIENCE
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// What must be the same on every side.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    total: u64,
    ids: Vec<Uuid>,
}

impl Found {
    fn of(page: &CountedPage) -> Self {
        Self { total: page.total, ids: page.events.iter().map(|event| event.event_id).collect() }
    }
}

/// Asks in SQL. Gives what all of it took and what the total took, and what was found.
async fn in_sql(pool: &Pool, question: &Question, tables: Tables) -> (f64, f64, Found) {
    let (count, page) = question.by_hand(tables);
    let mut snapshot = pool.snapshot().await.unwrap();
    if matches!(pool, Pool::Postgres(_)) {
        // The server's own settings, where the view's readers have others.
        for setting in ["join_collapse_limit = 8", "random_page_cost = 4"] {
            sql(format!("SET LOCAL {setting}")).execute(&mut snapshot).await.unwrap();
        }
    }
    let started = Instant::now();
    let total = count.fetch_scalar(&mut snapshot).await.unwrap();
    let counted = milliseconds(started);
    let rows = page.fetch_all(&mut snapshot).await.unwrap();
    drop(snapshot);
    let took = milliseconds(started);
    let ids = rows.iter().map(|row| row.get(0).unwrap()).collect();
    (took, counted, Found { total, ids })
}

/// Asks OpenSearch, over a connection that is made outside of the clock.
fn in_opensearch(address: &str, question: &Question) -> (f64, Found) {
    let target = question.opensearch();
    let mut client = Client::connect(address);
    let started = Instant::now();
    let (status, body) = client.get(&target);
    let took = milliseconds(started);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let hits = &answer["hits"];
    let ids =
        hits["hits"].as_array().unwrap().iter().map(|hit| hit["_id"].as_str().unwrap().parse().unwrap());
    (took, Found { total: hits["total"]["value"].as_u64().unwrap(), ids: ids.collect() })
}

/// The table of a run.
fn table(asked: &Asked) -> String {
    let mut text = format!(
        "\n{}, {} rows; milliseconds as p50/p99 of first page, next page, santaba, SQL by hand (its count(*) alone, p50),
the flat table by hand, OpenSearch; ratio: first page / SQL by hand, the median of the questions\n",
        asked.store.name(),
        asked.rows
    );
    text.push_str(&format!(
        "{:<50}{:>17}{:>16}{:>16}{:>16}{:>16}{:>8}{:>16}{:>16}{:>7}\n",
        "", "matches p50/max", "first", "next", "santaba", "by hand", "count", "flat", "opensearch", "ratio"
    ));
    for answers in &asked.classes {
        text.push_str(&row(answers));
        text.push('\n');
    }
    let missed = asked.classes.iter().filter(|answers| !missed(answers).is_empty()).count();
    text.push_str(&format!("{missed} of {} classes missed\n", asked.classes.len()));
    text
}

fn row(answers: &Answers) -> String {
    let pair = |times: &Times| match (times.at(0.5), times.at(0.99)) {
        (Some(middle), Some(high)) => format!("{}/{}", short(middle), short(high)),
        _ => "-".to_owned(),
    };
    let one = |value: Option<f64>| value.map_or("-".to_owned(), short);
    let matches = format!(
        "{:.0}/{:.0}",
        answers.matches.at(0.5).unwrap_or_default(),
        answers.matches.at(1.0).unwrap_or_default()
    );
    format!(
        "{:<50}{matches:>17}{:>16}{:>16}{:>16}{:>16}{:>8}{:>16}{:>16}{:>7}  {}",
        answers.class.name,
        pair(&answers.first),
        pair(&answers.next),
        pair(&answers.http),
        pair(&answers.by_hand),
        one(answers.count_by_hand.at(0.5)),
        pair(&answers.flat),
        pair(&answers.opensearch),
        answers.ratios.at(0.5).map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        missed(answers).join(", ")
    )
}

fn short(milliseconds: f64) -> String {
    if milliseconds < 100.0 { format!("{milliseconds:.1}") } else { format!("{milliseconds:.0}") }
}

/// What was wanted of a class and missed.
fn missed(answers: &Answers) -> Vec<String> {
    let within = |name: &str, times: &Times, limit: f64| {
        times.at(0.99).filter(|high| *high > limit).map(|_| format!("MISSED {name}: {limit} ms"))
    };
    let limit = match answers.class.wanted {
        Wanted::Counted => 15.0,
        Wanted::Deep | Wanted::Few | Wanted::Rest => 25.0,
    };
    let first = if answers.class.wanted == Wanted::Rest {
        let ratio = answers.ratios.at(0.5);
        ratio.filter(|ratio| *ratio > OF_BY_HAND).map(|_| format!("MISSED first: {OF_BY_HAND} of by hand"))
    } else {
        within("first", &answers.first, limit)
    };
    let many = answers.class.wanted == Wanted::Few && answers.matches.at(1.0) > Some(FEW as f64);
    let many = many.then(|| format!("VOID: more than {FEW} matches"));
    [first, within("next", &answers.next, limit), many].into_iter().flatten().collect()
}

/// How the counted classes grew from one number of rows to another.
fn growth(least: &Asked, most: &Asked) -> String {
    let mut text = format!(
        "\n{}: p99 with {} rows divided by that with {}, wanted {GROWTH}\n",
        least.store.name(),
        most.rows,
        least.rows
    );
    for (before, after) in least.classes.iter().zip(&most.classes) {
        if before.class.wanted != Wanted::Counted {
            continue;
        }
        let grown = |of: fn(&Answers) -> &Times| Some(of(after).at(0.99)? / of(before).at(0.99)?);
        let [first, next] = [grown(|a| &a.first), grown(|a| &a.next)].map(Option::unwrap_or_default);
        let verdict = if first.max(next) > GROWTH { "MISSED" } else { "" };
        text.push_str(&format!("{:<50} first {first:.2}, next {next:.2}  {verdict}\n", before.class.name));
    }
    text
}
