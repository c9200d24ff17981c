//! The list of questions: classes, what is wanted of each, and how one of them is drawn.

use std::net::IpAddr;

use annals_store::sql::{Pool, sql};
use annals_views::audit_log::{Direction, SortKey};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::question::{Condition, Question};
use super::site::{DAYS, FIRST_SECOND, SEED};

/// Most matches of a question of which an answer within [`Wanted::Few`] is wanted.
pub const FEW: u64 = 20_000;
const BY_ACCOUNT: (SortKey, Direction) = (SortKey::Account, Direction::Ascending);
const OLDEST_FIRST: (SortKey, Direction) = (SortKey::Time, Direction::Ascending);

/// How fast a class should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A time range and at most one counted dimension: any page within 15 ms, however many rows there are.
    Counted,
    /// The same at offsets up to 500,000 in time order: 25 ms.
    Deep,
    /// At most [`FEW`] matches: any page within 25 ms.
    Few,
    /// The first page within 1.2 times what the query by hand takes, the next ones within 25 ms.
    Rest,
}

pub struct Class {
    pub name: &'static str,
    pub wanted: Wanted,
    pub draw: fn(&mut World) -> Question,
}

const fn class(name: &'static str, wanted: Wanted, draw: fn(&mut World) -> Question) -> Class {
    Class { name, wanted, draw }
}

pub const CLASSES: &[Class] = &[
    class("newest", Wanted::Counted, |_| Question::default()),
    class("newest, one customer", Wanted::Counted, |world| world.of_one_customer()),
    class("time range", Wanted::Counted, |world| world.in_range()),
    class("time range, one customer, oldest first", Wanted::Counted, |world| Question {
        order: OLDEST_FIRST,
        seconds: world.range(),
        ..world.of_one_customer()
    }),
    class("time range, any page", Wanted::Counted, |world| Question {
        offset: world.below(2_000),
        ..world.in_range()
    }),
    class("action, time range", Wanted::Counted, |world| world.in_range().with(world.action())),
    class("action, one customer", Wanted::Counted, |world| world.of_one_customer().with(world.action())),
    class("account", Wanted::Counted, |world| Question::default().with(world.account())),
    class("account, time range, oldest first", Wanted::Counted, |world| {
        Question { order: OLDEST_FIRST, ..world.in_range() }.with(world.account())
    }),
    class("offset to 500,000", Wanted::Deep, |world| Question {
        offset: world.below(world.rows.min(500_000)),
        ..Question::default()
    }),
    class("offset to 500,000, largest customer, oldest first", Wanted::Deep, |world| {
        let (customer, events) = world.customers[0];
        let offset = world.below(events.min(500_000));
        Question { customer: Some(customer), order: OLDEST_FIRST, offset, ..Question::default() }
    }),
    class("offset to 500,000, action", Wanted::Deep, |world| {
        let (action, events) = world.any_action();
        let offset = world.below(events.min(500_000));
        Question { offset, ..Question::default() }.with(Condition::Action(action))
    }),
    class("word of 100 matches", Wanted::Few, |world| world.word_of(100)),
    class("word of 5,000 matches", Wanted::Few, |world| world.word_of(5_000)),
    class("word of 18,000 matches", Wanted::Few, |world| world.word_of(18_000)),
    class("word of 5,000 matches, oldest first", Wanted::Few, |world| Question {
        order: OLDEST_FIRST,
        ..world.word_of(5_000)
    }),
    class("word of 5,000 matches, by account", Wanted::Few, |world| Question {
        order: BY_ACCOUNT,
        ..world.word_of(5_000)
    }),
    class("frequent word, small customer or range", Wanted::Few, |world| world.frequent_word_of_few()),
    class("address", Wanted::Few, |world| {
        Question::default().with(Condition::Address(world.person().address))
    }),
    class("account and action", Wanted::Few, |world| {
        Question::default().with(world.account()).with(world.action())
    }),
    class("entity", Wanted::Few, |world| {
        let at = world.below(world.entities.len() as u64) as usize;
        Question::default().with(Condition::Entity(world.entities[at].clone()))
    }),
    class("account, by account", Wanted::Few, |world| {
        Question { order: BY_ACCOUNT, ..Question::default() }.with(world.account())
    }),
    class("frequent word", Wanted::Rest, |world| {
        let (_, word) = frequent_word(&mut world.random);
        Question::default().with(Condition::Word(word))
    }),
    class("frequent word, oldest first, range", Wanted::Rest, |world| {
        let (_, word) = frequent_word(&mut world.random);
        Question { order: OLDEST_FIRST, ..world.in_range() }.with(Condition::Word(word))
    }),
    class("frequent word and action, largest customer", Wanted::Rest, |world| {
        let (_, word) = frequent_word(&mut world.random);
        let customer = Some(world.customers[0].0);
        Question { customer, ..Question::default() }.with(world.action()).with(Condition::Word(word))
    }),
    class("frequent word, by account", Wanted::Rest, |world| {
        let (_, word) = frequent_word(&mut world.random);
        Question { order: BY_ACCOUNT, ..Question::default() }.with(Condition::Word(word))
    }),
    class("all but an account", Wanted::Rest, |world| {
        let account = world.person().account.clone();
        Question::default().with(Condition::NotAccount(account))
    }),
    class("time range, by account", Wanted::Rest, |world| Question { order: BY_ACCOUNT, ..world.in_range() }),
];

impl Question {
    fn with(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }
}

/// What can be asked for, read from the view, and the draws: the same for the same seed.
pub struct World {
    random: StdRng,
    pub rows: u64,
    /// With the number of events, the largest first.
    customers: Vec<(Uuid, u64)>,
    people: Vec<Person>,
    /// With the number of events.
    actions: Vec<(String, u64)>,
    entities: Vec<String>,
}

struct Person {
    account: String,
    address: IpAddr,
}

impl World {
    pub async fn read(view: &Pool) -> Result<Self, sqlx::Error> {
        let customers = sql("SELECT c.customer, count(*) FROM events e JOIN customers c ON c.id = e.customer
             GROUP BY c.customer ORDER BY 2 DESC, 1")
        .fetch_all(view)
        .await?;
        // A person of the fleet has one account and one address, which others may have as well. Those with more events than
        // few come in no question.
        let people = sql("SELECT a.account, d.address FROM
             (SELECT actor, address FROM events WHERE address IS NOT NULL GROUP BY actor, address
              HAVING count(*) <= ?) e
             JOIN (SELECT address FROM events GROUP BY address HAVING count(*) <= ?) f ON f.address = e.address
             JOIN actors a ON a.id = e.actor JOIN addresses d ON d.id = e.address ORDER BY a.account")
        .bind(i64::try_from(FEW).unwrap())
        .bind(i64::try_from(FEW).unwrap())
        .fetch_all(view)
        .await?;
        let actions = sql("SELECT x.name, count(*) FROM events e JOIN actions x ON x.id = e.action
             GROUP BY x.name ORDER BY x.name")
        .fetch_all(view)
        .await?;
        let entities: Vec<String> =
            sql("SELECT entity FROM entities ORDER BY entity").fetch_scalars(view).await?;
        let customers: Vec<(Uuid, u64)> =
            customers.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect::<Result<_, sqlx::Error>>()?;
        Ok(Self {
            random: StdRng::seed_from_u64(SEED),
            rows: customers.iter().map(|(_, events)| events).sum(),
            customers,
            people: people
                .iter()
                .map(|row| Ok(Person { account: row.get(0)?, address: row.get(1)? }))
                .collect::<Result<_, sqlx::Error>>()?,
            actions: actions
                .iter()
                .map(|row| Ok((row.get(0)?, row.get(1)?)))
                .collect::<Result<_, sqlx::Error>>()?,
            entities: entities.into_iter().filter(|entity| entity.contains('-')).collect(),
        })
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.random_range(0..end.max(1))
    }

    /// An hour to all of the time.
    fn range(&mut self) -> Option<(i64, i64)> {
        let whole = DAYS * 86_400;
        let start = self.random.random_range(0..whole - 3_600);
        let end = self.random.random_range(start + 3_600..=whole);
        Some((FIRST_SECOND + start, FIRST_SECOND + end))
    }

    fn in_range(&mut self) -> Question {
        Question { seconds: self.range(), ..Question::default() }
    }

    fn of_one_customer(&mut self) -> Question {
        let at = self.below(self.customers.len() as u64) as usize;
        Question { customer: Some(self.customers[at].0), ..Question::default() }
    }

    fn any_action(&mut self) -> (String, u64) {
        let at = self.below(self.actions.len() as u64) as usize;
        self.actions[at].clone()
    }

    fn action(&mut self) -> Condition {
        Condition::Action(self.any_action().0)
    }

    fn person(&mut self) -> &Person {
        let at = self.below(self.people.len() as u64) as usize;
        &self.people[at]
    }

    fn account(&mut self) -> Condition {
        Condition::Account(self.person().account.clone())
    }

    /// A word that about so many events of all customers have; of the words at hand the nearest, when none is near.
    fn word_of(&mut self, matches: u64) -> Question {
        let words = words(&mut self.random);
        let times = |share: f64| share * self.rows as f64 / matches as f64;
        let near: Vec<_> = words.iter().filter(|(share, _)| (0.5..1.1).contains(&times(*share))).collect();
        let nearest = || {
            let distance = |share: f64| times(share).ln().abs();
            words.iter().min_by(|a, b| distance(a.0).total_cmp(&distance(b.0))).expect("there are words")
        };
        let word =
            if near.is_empty() { &nearest().1 } else { &near[self.random.random_range(0..near.len())].1 };
        Question::default().with(Condition::Word(word.clone()))
    }

    /// A frequent word, and a customer or a range of time that leaves few of its matches.
    fn frequent_word_of_few(&mut self) -> Question {
        let (share, word) = frequent_word(&mut self.random);
        let few = FEW as f64 * 0.9;
        let small: Vec<Uuid> = self
            .customers
            .iter()
            .filter(|(_, events)| *events as f64 * share <= few)
            .map(|(customer, _)| *customer)
            .collect();
        let question = if self.below(2) == 0 && !small.is_empty() {
            Question { customer: Some(small[self.below(small.len() as u64) as usize]), ..Question::default() }
        } else {
            let whole = DAYS * 86_400;
            let length = (few / (self.rows as f64 * share) * whole as f64) as i64;
            let length = length.min(whole - 1);
            let start = FIRST_SECOND + self.random.random_range(0..whole - length);
            Question { seconds: Some((start, start + length)), ..Question::default() }
        };
        question.with(Condition::Word(word))
    }
}

const CHANGES: [&str; 6] = ["create", "update", "delete", "enable", "disable", "assign"];
const ACTIONS: [&str; 6] = [
    "report downloaded",
    "config exported",
    "remote session opened",
    "remote session closed",
    "alert acknowledged",
    "firmware check failed",
];
/// The shares of changes and actions among the fleet's events. `producers/src/fleet.rs` has what they are about: ports
/// 1 to 48, vlans 2 to 3999, devices 00000 to 04999, tickets 0 to 99999.
const CHANGED: f64 = 0.35;
const ACTED: f64 = 0.25;

/// Pieces of descriptions, with the share of events that have them.
fn words(random: &mut StdRng) -> Vec<(f64, String)> {
    let mut number = |range: std::ops::Range<u32>| random.random_range(range);
    let change = CHANGES[number(0..6) as usize];
    let action = ACTIONS[number(0..6) as usize];
    let port = number(10..49);
    vec![
        (CHANGED / 3_998.0, format!("to vlan {} by", number(2..4_000))),
        // 4, 40 to 49, 400 to 499 and so on.
        (CHANGED * 111.0 / 3_998.0, format!("to vlan {}", number(4..10))),
        (CHANGED / 48.0 * 111.0 / 3_998.0, format!("port {port} to vlan {}", number(4..10))),
        (CHANGED / 48.0 * 11.0 / 3_998.0, format!("port {port} to vlan {}", number(40..100))),
        (CHANGED / 48.0, format!("port {port} to")),
        (CHANGED / 48.0 / 6.0, format!("{change} of port {port} to")),
        // 1 and 10 to 19.
        (CHANGED * 11.0 / 48.0 / 6.0, format!("{change} of port {}", number(1..4))),
        (ACTED / 5_000.0, format!("dev-0{:04}", number(0..5_000))),
        (ACTED / 500.0, format!("dev-0{:03}", number(0..500))),
        (ACTED / 50.0, format!("dev-0{:02}", number(0..50))),
        (ACTED / 5_000.0 / 6.0, format!("{action} on device dev-0{:04}", number(0..5_000))),
        (ACTED / 500.0 / 6.0, format!("{action} on device dev-0{:03}", number(0..500))),
        (ACTED / 50.0 / 6.0, format!("{action} on device dev-0{:02}", number(0..50))),
        (ACTED * 11.0 / 100_000.0, format!("ticket {}", number(1_000..10_000))),
        (ACTED * 111.0 / 100_000.0, format!("ticket {}", number(100..1_000))),
        (ACTED * 1_111.0 / 100_000.0, format!("ticket {}", number(10..100))),
    ]
}

/// A word that is in 4 % of the events or more, with its share.
fn frequent_word(random: &mut StdRng) -> (f64, String) {
    let change = CHANGES[random.random_range(0..6)];
    let action = ACTIONS[random.random_range(0..6)];
    let words = [
        (CHANGED, "request".to_owned()),
        (CHANGED, "vlan".to_owned()),
        (ACTED, "ticket".to_owned()),
        (ACTED, "on device".to_owned()),
        (CHANGED / 6.0, format!("{change} of port")),
        (ACTED / 6.0, action.to_owned()),
        (CHANGED * 11.0 / 48.0, format!("port {}", random.random_range(1..4))),
    ];
    words[random.random_range(0..words.len())].clone()
}
